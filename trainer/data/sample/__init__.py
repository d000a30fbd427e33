"""Bundled sample data set."""
