"""The roles of a run's models: their descriptions by a user, and their servers with keys."""
