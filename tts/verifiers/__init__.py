"""Verifiers score candidates at inference time and never see the reference answer (that is a Grader's job)."""
