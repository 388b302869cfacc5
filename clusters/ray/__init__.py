"""Ray actors, the routing of actions to them, and their books."""
