"""Propose configurations, follow trials, and summarise the results."""
