"""Pictures of reports, with Vega-Lite (extra `report`)."""
