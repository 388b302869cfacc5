"""Strategies that search trees of steps or of answers."""
