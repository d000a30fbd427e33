"""Tools of the tests: a scripted trainer, whole runs to break, a PostgreSQL server, dirty data."""
