"""Other programs' records of samples."""
