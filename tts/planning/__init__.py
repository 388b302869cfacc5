"""Plans and advice: the expected worth of a budget, before it is spent."""
