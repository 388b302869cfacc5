"""What recorded samples say about more of them. Pure."""
