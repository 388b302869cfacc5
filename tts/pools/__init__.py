"""Pools of recorded samples."""
