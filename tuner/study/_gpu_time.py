"""Define GPU-hours: how the training time of a run counts when several runs share a GPU."""


def gpu_seconds(seconds: float, gpu_share: float) -> float:
    """Return the GPU-seconds of a run on one device: a second on a GPU that N trials share counts as 1/N.

    A second in which all trials of a GPU train is then one GPU-second in total, however many there are. A slot on the
    CPU counts as a GPU.

    Args:
        seconds: Training time in seconds.
        gpu_share: Share of the GPU that the run had, above 0 and up to 1.
    """
    return seconds * gpu_share
