"""Check a data set: decode images, read labels, report findings with their remedies."""
