"""Strategies that take what ends first."""
