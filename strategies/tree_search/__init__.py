"""Strategies that build an answer step by step, led by a verifier of steps."""
