"""Environments of agents: the tools of each, as a model is told of them, and the functions that answer their calls."""
