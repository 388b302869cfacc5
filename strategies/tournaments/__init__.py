"""Strategies in which answers meet before a judge."""
