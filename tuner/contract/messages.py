"""Define the messages that every trainer must know: to check data set and model, and to train."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

ParamValue = bool | int | float | str
Params = Mapping[str, ParamValue]

METRICS = ("mAP50-95", "mAP50", "precision", "recall")


class Outcome(StrEnum):
    """How a request ended."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_DATA = "bad_data"
    BAD_MODEL = "bad_model"
    HUNG = "hung"
    """No record came for too long; said by the tuner, which then killed the trainer."""
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    """The trainer does not know requests of this type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareRequest:
    """Check a data set and a model once, before the first trial, and build the caches that trials share."""

    type: ClassVar[str] = "prepare"
    data: str
    """Path of a data set YAML, or "sample" or "sample:N" for the data set that the trainer ships."""
    model: str
    """Model name (mamba-yolo-t), path of a model YAML that the trainer knows, or of a .pt to start from."""
    directory: str
    """Absolute path of an existing folder for what the trainer wants to keep for the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A part of a run at an image size and batch of its own."""

    last_epoch: int
    """1-based; the last stage's is that of the run."""
    imgsz: int
    batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRequest:
    """Train one configuration."""

    type: ClassVar[str] = "train"
    study: str
    trial: int
    params: Params
    """Every hyper-parameter by the name that ultralytics uses, native Python values; imgsz and batch included."""
    model: str
    data: str
    """As the prepared record gave them."""
    epochs: int
    """Length of the learning-rate schedule."""
    stop_epoch: int
    """Last epoch to train, 1-based, at most `epochs`."""
    validation_epochs: tuple[int, ...]
    """Epochs (1-based) whose record carries metrics; the last epoch always does."""
    seed: int
    devices: tuple[int, ...]
    """GPU indices inside CUDA_VISIBLE_DEVICES; empty for the CPU."""
    threads: int
    """CPU threads and data-loading processes that this run may use."""
    directory: str
    """Absolute path; everything that the run writes goes below it."""
    full: bool = False
    """A final run: keeps best.pt, draws plots, evaluates best.pt at the end."""
    backup: str = ""
    """Folder, by path or URL, for copies of best and last weights of a full run, made while it goes on."""
    stages: tuple[Stage, ...] = ()
    """Sizes and batches that replace those of `params`, one after the other on the one schedule of `epochs`; the best
    epoch is that of the last. Empty: one size throughout."""
    max_images: int = 0
    """Train and validate on at most this many images of each split, to measure memory; 0 for all. A trainer that
    ignores it measures the same, after a longer epoch."""
    data_sha256: str = ""
    model_sha256: str = ""
    """As the prepared record gave them. `data` and `model` only say where these lie now: a checkpoint belongs to the
    request whose hashes are the same, wherever they lay when it was written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRecord:
    """What the trainer found out about data set and model."""

    type: ClassVar[str] = "prepared"
    data: str
    """Absolute path of the data set YAML that trials are to be given."""
    data_sha256: str
    """Hash of what is trained on: names and sizes of the images, content of the labels."""
    num_classes: int
    num_images: Mapping[str, int]
    """Images per split (train, val, test)."""
    model: str
    """What trials are to be given as model."""
    portable_model: str
    """What a stock `yolo` command can be given instead: a file or name that needs nothing registered first."""
    num_parameters: int
    checkpoint_bytes: int
    """The most that one checkpoint of a trial takes on disk."""
    versions: Mapping[str, str]
    """Versions of what trains, by package name."""
    notes: tuple[str, ...] = ()
    """What the user should know and nothing stops for, one line each."""
    model_sha256: str = ""
    """Hash of the model, wherever it lies: layers as they are parsed, or content of the weights. Empty from a trainer
    that compares models by `model` alone."""
    sources: tuple[str, ...] = ()
    """Absolute paths of some files that trials read, at least one of each folder. Where one is missing, the place is
    at fault, and no trial is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedRecord:
    """The training process stands."""

    type: ClassVar[str] = "started"
    pid: int
    """Leader of the process group that trains."""
    device: str
    """For humans: the GPU's name, or the CPU's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One epoch is over and its checkpoint is on disk."""

    type: ClassVar[str] = "epoch"
    epoch: int
    """1-based."""
    losses: Mapping[str, float]
    """Mean training losses of the epoch (box, cls, dfl)."""
    metrics: Mapping[str, float] | None
    """METRICS on the validation split, 0..1, or none where this epoch was not validated."""
    seconds: float
    """Wall time of the epoch, validation included."""
    memory_gib: float
    """Peak memory: of the GPU where there is one, of the process otherwise."""
    learning_rate: float
    batch: int
    """The batch size that ran, which is the one asked for or a fault."""
    checkpoint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EndRecord:
    """A request is over."""

    type: ClassVar[str] = "end"
    outcome: Outcome
    message: str = ""
    """One line for the user: what happened, and where."""
    retryable: bool = False
    """Whether the same request could succeed when sent again."""
    log: str = ""
    checkpoint: str = ""
    """best.pt of a full run."""
    metrics: Mapping[str, float] | None = None
    """METRICS of that best.pt."""
