"""Judges over recorded candidates, and how far each can be trusted."""
