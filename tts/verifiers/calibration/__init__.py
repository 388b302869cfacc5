"""Verifiers whose scores are turned into chances to be right."""
