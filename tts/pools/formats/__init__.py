"""Importers of other programs' records of samples."""
