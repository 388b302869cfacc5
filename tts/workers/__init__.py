"""Worker processes for functions that are slow, hang, or may take a process down."""
