"""Show the progress of a study: a snapshot of a run in memory or of its record, and its text for a terminal."""
