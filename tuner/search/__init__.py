"""Search: propose configurations, follow trials, and say what the results amount to."""
