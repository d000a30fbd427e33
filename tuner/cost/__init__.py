"""Estimate the cost of a run, and report its actual cost."""
