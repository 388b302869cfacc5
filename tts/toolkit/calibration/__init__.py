"""Scores turned into chances to be right: fitted to labelled scores, kept as data."""
