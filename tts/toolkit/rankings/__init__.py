"""Rankings from contests: strengths of candidates, strategies or models, and how sure they are."""
