"""Judges made of other verifiers and judges."""
