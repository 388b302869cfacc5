"""What a program calls: `solve`, `sweep`, `replay`, and a client that stays open."""
