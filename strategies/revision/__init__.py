"""Strategies that revise."""
