"""Prompts that several methods share, a short file a family: templates, and strict readers of the replies."""
