"""Estimates from recorded samples: frontiers, races, studies of pools. Pure."""
