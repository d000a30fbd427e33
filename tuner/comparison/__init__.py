"""Compare the best configurations with the baseline on fresh seeds, and reach a verdict."""
