"""Verifiers that read a model's own confidence."""
