"""Small programs: a short specification in English, and one Python function that does what it says."""
