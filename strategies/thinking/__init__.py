"""Strategies that decide how long a model thinks."""
