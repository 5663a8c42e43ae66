"""Nightly runs: what to measure, in which order, and what of the results to report."""
