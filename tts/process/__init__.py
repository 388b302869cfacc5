"""This process: its standard streams, its terminal, its memory, and what goes on beside its work."""
