"""`tune run` against ultralytics' own tuners, on real training with the same wall time; see docs/end-to-end.md."""
