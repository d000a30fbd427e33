"""Draw the sample data set."""
