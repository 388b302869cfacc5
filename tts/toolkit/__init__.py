"""What strategies are written with: loops of sampling, votes, revisions, difficulty, agreement, pairs. Public."""
