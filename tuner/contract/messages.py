"""The contract between tuner and trainer: plain records, JSON lines on a pipe.

A trainer is a process that the tuner starts with the command it is given (`python -m trainer serve` by
default). It reads one request a line from its standard input and writes records, one a line, to its
standard output; anything for humans goes to standard error. For each request:

    request  ──>  trainer
    trainer  ──>  started, epoch, epoch, …, end         (TrainRequest)
    trainer  ──>  prepared, end                         (PrepareRequest)

Rules. Exactly one `end` closes each request, and nothing follows it until the next request. `started`
carries the pid of the process that trains, the leader of its own process group: to stop a trial the tuner
sends SIGTERM to that group (the trainer then ends with the outcome `stopped`), and SIGKILL when it does not.
Before it kills one that hangs it sends SIGUSR1: write the stacks of all threads to the log. That is optional: the
default action, dying, is as good.
Training never waits for the tuner. The process ends when its standard input closes, taking its children
with it; it may also end after any `end`, and is started again for the next request.

A request is idempotent: sent again after a crash, with the same directory, it goes on from the last checkpoint
in that directory, and sends the records of the epochs already trained once more before the new ones. The tuner
ignores what it has heard before, so no epoch is lost and none counted twice. Between two starts the directory, the data
set and the model may have been moved: their content says whether it is the same request. Checkpoints lie in the folder
`weights` of that directory, which the tuner removes when the trial will never go on.

This module imports nothing but the standard library and `tuner.exceptions`, so both sides, and trainers written by
users, can import it without pulling in the other.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar

from tuner.exceptions import TunerError

CONTRACT_VERSION = 1

ParamValue = bool | int | float | str
Params = Mapping[str, ParamValue]

METRICS = ("mAP50-95", "mAP50", "precision", "recall")

WEIGHTS = "weights"
"""The folder below a request's directory that holds all its checkpoints, and nothing that must outlive them."""


class ContractError(TunerError):
    """A line on the pipe is not a record of this contract."""


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
    """A part of a run at a picture size and batch of its own."""

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
    """A promoted run: keeps best.pt, draws plots, evaluates best.pt at the end."""
    backup: str = ""
    """Folder, by path or URL, for copies of best and last weights of a full run, made while it goes on."""
    stages: tuple[Stage, ...] = ()
    """Sizes and batches that replace those of `params`, one after the other on the one schedule of `epochs`; the best
    epoch is that of the last. Empty: one size throughout."""
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
    """Pictures per split (train, val, test)."""
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


Request = PrepareRequest | TrainRequest
Record = PreparedRecord | StartedRecord | EpochRecord | EndRecord
_KINDS: dict[str, type[Any]] = {
    kind.type: kind for kind in (PrepareRequest, TrainRequest, PreparedRecord, StartedRecord, EpochRecord, EndRecord)
}


def encode(message: Request | Record) -> str:
    """One line of JSON, without the newline; NaN and infinities as the strings "nan", "inf", "-inf"."""
    body = {"version": CONTRACT_VERSION, "type": message.type, **asdict(message)}
    return json.dumps(_jsonable(body), allow_nan=False, separators=(",", ":"))


def decode(line: str) -> Request | Record:
    """The message on one line.

    Raises:
        ContractError: the line is no JSON object, of another contract version, of an unknown type, or lacks fields.
            Unknown extra fields are ignored, so that a newer trainer can say more.
    """
    try:
        body = json.loads(line)
    except json.JSONDecodeError as error:
        raise ContractError(f"A record must be one line of JSON, but got {line[:200]!r}.") from error
    if not isinstance(body, dict) or body.get("version") != CONTRACT_VERSION:
        raise ContractError(f"A record must carry version {CONTRACT_VERSION}, but got {line[:200]!r}.")
    kind = _KINDS.get(str(body.get("type")))
    if kind is None:
        raise ContractError(f"A record's type must be one of {sorted(_KINDS)}, but got {body.get('type')!r}.")
    known = {f.name for f in fields(kind)}
    try:
        message: Request | Record = kind(**{k: _restored(kind, k, v) for k, v in body.items() if k in known})
    except (TypeError, ValueError) as error:
        raise ContractError(f"Not a complete {kind.type} record ({error}): {line[:200]!r}.") from error
    return message


_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MAPS_OF_FLOATS = {"losses", "metrics"}
_TUPLES = {"validation_epochs", "devices", "notes", "sources"}


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a figure must be a number, not {value!r}")
    return value


def _restored(kind: type[Any], name: str, value: Any) -> Any:
    if name == "outcome":
        return Outcome(value)
    if name in _MAPS_OF_FLOATS and isinstance(value, dict):
        return {k: _number(_NON_FINITE.get(v, v)) for k, v in value.items()}
    if name == "stages":
        return tuple(Stage(**stage) for stage in value)
    if name in _TUPLES:
        return tuple(value)
    return _NON_FINITE[value] if name in {"seconds", "learning_rate"} and value in _NON_FINITE else value
