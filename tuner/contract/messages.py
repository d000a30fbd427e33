"""Define the messages that every trainer must know: to check data set and model, and to train."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

ParamValue = bool | int | float | str
Params = Mapping[str, ParamValue]

METRICS = ("mAP50-95", "mAP50", "precision", "recall")

FULL_RUN_DEFAULTS: Mapping[str, int] = {"patience": 50, "save_period": 10}
"""Early stopping and kept checkpoints of a full run, in epochs. A trial has neither."""


class Outcome(StrEnum):
    """Outcome of a request."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_DATA = "bad_data"
    BAD_MODEL = "bad_model"
    HUNG = "hung"
    """Outcome set by the tuner after it killed a trainer that had sent no record for too long."""
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    """Outcome of a request whose type the trainer does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareRequest:
    """Check a data set and a model once, before the first trial, and build the caches that trials share."""

    type: ClassVar[str] = "prepare"
    data: str
    """Path of a data set in any form that the trainer reads (ours: a YAML, COCO JSON or a folder with COCO JSON), or
    "sample" or "sample:N" for the data set that the trainer ships."""
    model: str
    """Model name (mamba-yolo-t), path of a model YAML that the trainer knows, or path of a .pt to start from."""
    directory: str
    """Absolute path of an existing folder for files that the trainer keeps for the study."""
    gpus: bool = False
    """True if trials will use the visible GPUs of this machine; a trainer may compile for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Part of a run with its own image size and batch."""

    last_epoch: int
    """Last epoch of the stage, 1-based; that of the last stage is the last epoch of the run."""
    imgsz: int
    batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """Train one configuration."""

    type: ClassVar[str] = "train"
    study: str
    trial: int
    params: Params
    """Native Python values of all hyper-parameters by ultralytics' names, including imgsz and batch."""
    model: str
    data: str
    """Model and data set, as in the `PreparedRecord`."""
    epochs: int
    """Length of the learning-rate schedule."""
    stop_epoch: int
    """Last epoch to train, 1-based, at most `epochs`."""
    validation_epochs: tuple[int, ...]
    """Epochs (1-based) whose records have metrics; the last epoch always has them."""
    seed: int
    devices: tuple[int, ...]
    """GPU indices inside CUDA_VISIBLE_DEVICES; empty for the CPU."""
    threads: int
    """CPU threads and data-loading processes that this run may use."""
    directory: str
    """Absolute path of the folder for everything that the run writes."""
    full: bool = False
    """Train in full: keep best.pt, draw plots, evaluate best.pt at the end. Parameters that are missing are those of
    `FULL_RUN_DEFAULTS`."""
    backup: str = ""
    """Folder, as path or URL, for copies of the best and last weights of a full run, made during the run."""
    stages: tuple[Stage, ...] = ()
    """Sizes and batches that replace those of `params`, in order, on the single schedule of `epochs`; the best epoch is
    that of the last stage. Empty for one size throughout."""
    max_images: int = 0
    """Train and validate on at most this many images of each split, those with the most boxes, to measure memory; 0 for
    all. A trainer that ignores it measures the same, after a longer epoch."""
    image_cache_bytes: int = 0
    """Maximum size of all decoded images that the runs on a machine share, of this study and others; 0 to share none.
    A trainer that ignores it trains the same, and decodes each image in each epoch."""
    data_sha256: str = ""
    model_sha256: str = ""
    """Hashes from the `PreparedRecord`. `data` and `model` are only the current paths: a checkpoint belongs to the
    request with the same hashes, whatever the paths were when it was written."""
    gpu_share: float = 1.0
    """Share of the memory of its device that the run may use, 0..1; below 1 if other trials train on the same GPU. A
    trainer that ignores it may take the memory of its neighbours."""
    shares_files: bool = True
    """False if the trainer's machine may share no folder with the tuner's. `data` and `model` are then as the user
    named them, and the trainer prepares them on its machine. It keeps the run's files in a folder of its own, and
    reports paths below `directory`, where the tuner puts the files that it fetches."""
    artifacts: str = ""
    """URL of the run's folder in a store, where the trainer looks for an earlier attempt and pushes the run's files
    (see `tuner.contract.artifacts`); "" for none."""
    attempt: int = 0
    """Number of this attempt in the store. Of two attempts at one run, also from different drivers, the later one has
    the higher number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageCache:
    """Describe the cache of decoded images on the machine that prepared a data set."""

    folder: str
    """Absolute path; it may not exist yet."""
    used_bytes: int
    """Size of what it holds now, of any data set."""
    num_images: int
    """Training and validation images of the data set."""
    bytes_per_square: float
    """Size of all these images, decoded and resized, divided by the square of `imgsz`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRecord:
    """Report the properties of the data set and the model."""

    type: ClassVar[str] = "prepared"
    data: str
    """Absolute path of the data set YAML for the trials."""
    data_sha256: str
    """Hash of the training data: names and sizes of the images, content of the labels."""
    num_classes: int
    num_images: Mapping[str, int]
    """Images per split (train, val, test)."""
    model: str
    """Model for the trials."""
    portable_model: str
    """Model for a stock `yolo` command: a file or name that works without registering anything first."""
    num_parameters: int
    checkpoint_bytes: int
    """Maximum size of a trial's checkpoint on disk."""
    versions: Mapping[str, str]
    """Versions of the packages used for training, by package name."""
    notes: tuple[str, ...] = ()
    """Notes for the user that do not stop the run, one line each."""
    model_sha256: str = ""
    """Hash of the model, independent of its path: layers as parsed, or content of the weights. Empty from a trainer
    that compares models by `model` alone."""
    sources: tuple[str, ...] = ()
    """Absolute paths of some files that trials read, at least one of each folder. If one is missing, the location is
    to blame, not the trial."""
    image_cache: ImageCache | None = None
    """Cache of decoded images that runs on a machine share; None from a trainer that shares none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedRecord:
    """Report that the training process has started."""

    type: ClassVar[str] = "started"
    pid: int
    """Leader of the process group that trains."""
    device: str
    """Name of the GPU or the CPU, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """Report that an epoch has ended and its checkpoint is on disk."""

    type: ClassVar[str] = "epoch"
    epoch: int
    """Number of the epoch, 1-based."""
    losses: Mapping[str, float]
    """Mean training losses of the epoch (box, cls, dfl)."""
    metrics: Mapping[str, float] | None
    """METRICS on the validation split, 0..1; None if this epoch was not validated."""
    seconds: float
    """Wall time of the epoch in seconds, including validation."""
    memory_gib: float
    """Peak memory in GiB: of the GPU if there is one, otherwise of the process."""
    learning_rate: float
    batch: int
    """Batch size that was trained; any other than the requested one is an error."""
    checkpoint: str
    scan: str = ""
    """Implementation of the selective scan; empty for a model without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndRecord:
    """Report the end of a request."""

    type: ClassVar[str] = "end"
    outcome: Outcome
    message: str = ""
    """Message for the user on one line: what happened, and where."""
    retryable: bool = False
    """True if the same request could succeed when sent again."""
    log: str = ""
    checkpoint: str = ""
    """Path of best.pt of a full run."""
    metrics: Mapping[str, float] | None = None
    """METRICS of this best.pt."""
