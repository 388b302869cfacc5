"""Strategies that score samples and choose."""
