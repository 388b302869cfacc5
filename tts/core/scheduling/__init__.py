"""Many trials under one ledger: the order of spending, the state of each action, the sharing of samples."""
