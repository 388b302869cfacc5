"""The Python API: `solve`, `sweep`, `replay`, and a client that stays open."""
