"""Strategies that choose among strategies."""
