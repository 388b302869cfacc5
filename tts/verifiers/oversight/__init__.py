"""Verifiers in which others argue for answers before a judge who may know less than they do."""
