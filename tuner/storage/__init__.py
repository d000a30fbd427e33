"""Keep studies in a database: connect, hold the lease of a study, copy, check and tidy up."""
