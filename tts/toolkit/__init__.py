"""Building blocks of strategies: loops of sampling, votes, revisions, difficulty, agreement, pairs. Public."""
