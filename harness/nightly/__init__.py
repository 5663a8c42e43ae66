"""Nightly runs: what to measure, in which order, and which results to report."""
