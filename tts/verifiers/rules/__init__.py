"""Verifiers that compute."""
