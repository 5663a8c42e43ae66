"""Nights: what to measure, in which order, and what of it is news."""
