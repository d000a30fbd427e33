"""Keep studies in a database: connect, hold a study's lease, back up, check and upgrade."""
