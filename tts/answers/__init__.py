"""Answers in texts: extraction, normal form and equivalence. Pure."""
