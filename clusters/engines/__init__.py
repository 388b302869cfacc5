"""Engines inside actors."""
