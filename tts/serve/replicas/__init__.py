"""Several servers behind Ray Serve, which share the accounts of their keys."""
