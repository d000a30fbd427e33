"""Describe trials that train now, and decide which failures are worth another attempt."""
