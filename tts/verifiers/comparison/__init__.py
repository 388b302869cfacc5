"""Judges that compare solutions with one another: in pairs, or in lists."""
