"""Train one trial, on one device or several, and back up its weights."""
