"""Write learning curves to a table, and read them back."""
