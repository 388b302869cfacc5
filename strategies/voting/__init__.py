"""Strategies that vote."""
