"""Keep the files of a run in a store, for machines that share no folder (see `tuner.contract.artifacts`)."""
