"""Estimate what a run will cost, and account for what it has cost."""
