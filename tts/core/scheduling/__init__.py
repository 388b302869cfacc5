"""Many trials under one ledger: who may spend next, where each action is, which samples are shared."""
