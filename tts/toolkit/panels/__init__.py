"""Panels of judges: one score for each candidate of many judges' scores, of which some may be wrong on purpose."""
