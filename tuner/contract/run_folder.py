"""Name the files in a request's directory that both the tuner and the trainer know.

A trainer must keep its checkpoints in `WEIGHTS`. The other files are optional. Where a trainer writes them,
`tune export --curves`, `tune diagnose` and `tune train` read them. All but the log and the lock are written whole or
not at all.
"""

WEIGHTS = "weights"
"""Folder for all checkpoints of a run, and for nothing that must outlive them."""

BEST_WEIGHTS = "best.pt"
"""File in `WEIGHTS` with the validated epoch that has the best metrics."""

LAST_WEIGHTS = "last.pt"
"""File in `WEIGHTS` with the last epoch."""

REQUEST = "request.json"
"""Request of the checkpoints: `params`, `epochs`, `seed`, `model` and `data` of the `TrainRequest`, and more."""

RECORDS = "records.jsonl"
"""Encoded `EpochRecord`s of a run, one per line, in the order of the epochs. A crash may cut the last line short."""

END = "end.json"
"""Encoded `EndRecord` of a run that has ended. It is removed when the run continues, and missing after a kill."""

LOG = "trainer.log"
"""Output of training, all attempts one after the other."""

LOCK = "trainer.lock"
"""Lock held by the process that trains, so that the next one waits for it."""

RESULTS = "results.csv"
"""Table of epochs, as ultralytics writes it."""

CLASS_METRICS = "class-metrics.csv"
"""Metrics of best.pt of a full run on the validation split, one row for each class, with a header."""

ARGUMENTS = "args.yaml"
"""Training arguments, as ultralytics writes them."""

DATA_REPORT = "data-report.json"
"""Result of a data check: an encoded `DataReport`, in the directory of the request."""


def log_of(request_type: str) -> str:
    """Return the name of the log for requests of a type; for training it is `LOG`."""
    return LOG if request_type == "train" else f"{request_type}.log"
