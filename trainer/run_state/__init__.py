"""Keep and read the state of a run: epoch log, checkpoints, failures."""
