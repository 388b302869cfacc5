"""This process: its standard streams, its terminal, its memory, its signals, and tasks beside its work."""
