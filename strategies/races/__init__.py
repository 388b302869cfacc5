"""Strategies that take the samples which end first."""
