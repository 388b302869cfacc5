"""Verifiers of the steps of a solution: process rewards."""
