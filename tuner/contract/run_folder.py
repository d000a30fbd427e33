"""Name the files in a request's directory that both the tuner and the trainer know.

A trainer must keep its checkpoints in `WEIGHTS`. The other files are optional. Where a trainer writes them,
`tune export --curves`, `tune diagnose` and `tune train` read them. All but the log and the lock are written whole or
not at all.
"""

WEIGHTS = "weights"
"""The folder that holds all checkpoints of a run, and nothing that must outlive them."""

BEST_WEIGHTS = "best.pt"
"""In `WEIGHTS`: the validated epoch with the best metrics."""

LAST_WEIGHTS = "last.pt"
"""In `WEIGHTS`: the last epoch."""

REQUEST = "request.json"
"""What the checkpoints belong to: `params`, `epochs`, `seed`, `model` and `data` of the `TrainRequest`, and more."""

RECORDS = "records.jsonl"
"""The encoded `EpochRecord`s of a run, one a line, in the order of the epochs. A crash may cut the last line short."""

END = "end.json"
"""The encoded `EndRecord` of a run that has ended. It is removed when the run continues, and missing after a kill."""

LOG = "trainer.log"
"""What training printed, all attempts one after the other."""

LOCK = "trainer.lock"
"""Held by the process that trains, so that the next one waits for it."""

RESULTS = "results.csv"
"""The table of epochs, as ultralytics writes it."""

ARGUMENTS = "args.yaml"
"""The training arguments, as ultralytics writes them."""

DATA_REPORT = "data-report.json"
"""What a check of the data set has found: an encoded `DataReport`, in the directory of the request that checks."""


def log_of(request_type: str) -> str:
    """Return the name of the log for requests of a type: that of training is `LOG`."""
    return LOG if request_type == "train" else f"{request_type}.log"
