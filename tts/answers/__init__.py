"""Answers in texts: where one stands, one spelling for it, and whether two mean the same. Pure."""
