"""Describe a workload and the trials that train now, build their requests, and decide which failures are retried."""
