"""Models and their servers: targets, endpoints, completions, prices."""
