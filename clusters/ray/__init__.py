"""Ray actors, their placement and their books."""
