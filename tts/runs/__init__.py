"""One run: its configuration, its plan, its folder and its results."""
