"""The engine without I/O: trials of strategies, the scheduler that shares a budget among them, the journal's
records."""
