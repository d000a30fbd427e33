"""Read and clean the store of a study whose machines share no folder (see `tuner.contract.artifacts`)."""
