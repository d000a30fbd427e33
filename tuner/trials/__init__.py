"""Define workloads and running trials, build training requests, and decide which failures are retried."""
