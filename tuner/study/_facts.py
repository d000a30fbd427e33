"""Type the facts that a study records besides its specification and its trials' configurations and curves.

The database stores them as Optuna's user attributes, plain JSON. Each record here has one `encode` and one `decode`,
and knows the names in the database. Some of them are older than the names in the code. The record of a re-evaluation
is in `tuner.comparison.record`, with the classes that it consists of.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tuner.exceptions import StorageError
from tuner.study._gpu_time import gpu_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedAttempt:
    """A failed attempt at a trial."""

    failure: str
    """Kind of the failure: a value of `tuner.trials.retry_policy.Failure`."""
    epoch: int
    """Last epoch that the trial had trained, in this attempt or before; 0 if none."""
    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialFacts:
    """Facts about a trial; None means not recorded."""

    origin: str | None = None
    """Starting point that the configuration comes from: its name and source; None for a proposal."""
    device: str | None = None
    """Device that trained last, as trainers name it."""
    attempts: int | None = None
    """Number of times that a trainer has started the trial."""
    directory: str | None = None
    log: str | None = None
    checkpoint: str | None = None
    epochs: int | None = None
    """Number of trained epochs."""
    seconds: float | None = None
    """Training time, in seconds."""
    gpu_share: float | None = None
    """Share of a GPU that the trial had, 0..1, on average over its training time; None for a whole GPU."""
    memory_gib: float | None = None
    """Peak memory of one device."""
    batch: int | None = None
    """Batch size that was trained with, in images."""
    scan: str | None = None
    """Implementation of the selective scan that trained last; None for a model without one."""
    metrics: Mapping[str, float] | None = None
    """Metrics of the last validated epoch."""
    losses: Mapping[int, float] | None = None
    """Sum of the training losses of the first and of each validated epoch, by epoch."""
    failure: str | None = None
    """Kind of the failure that ended the trial."""
    failed_attempts: tuple[FailedAttempt, ...] | None = None
    """The oldest first."""
    judged: int | None = None
    """Number of trials that had ended or been paused when this one ended, including itself; None for failed trials."""
    paused_at: int | None = None
    """Epoch after which the trial waits until the strategy resumes it; 0 if it is not paused."""

    @property
    def gpu_seconds(self) -> float:
        """Training time in GPU-seconds; 0 if it is not recorded."""
        return gpu_seconds(self.seconds or 0.0, 1.0 if self.gpu_share is None else self.gpu_share)

    def encode(self) -> dict[str, Any]:
        """Return the recorded facts by their names in the database."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.losses is not None:
            values["losses"] = {str(epoch): loss for epoch, loss in self.losses.items()}
        if self.failed_attempts is not None:
            values["failed_attempts"] = [asdict(attempt) for attempt in self.failed_attempts]
        return {_STORED.get(name, name): value for name, value in values.items() if value is not None}

    @classmethod
    def decode(cls, stored: Mapping[str, Any]) -> "TrialFacts":
        """Read facts by their names in the database.

        Facts that are unknown or of another type are left out: trainers may report times that are no numbers, and
        users may add attributes of their own.
        """
        known = {_NAMES[name]: value for name, value in stored.items() if name in _NAMES}
        typed = {name: value for name, value in known.items() if _is_of(value, _TYPES[name])}
        for name, convert in (("metrics", _metrics), ("losses", _losses), ("failed_attempts", _failed_attempts)):
            if name in typed:
                typed[name] = convert(typed[name])
        return cls(**typed)


NO_FACTS = TrialFacts()

_STORED = {"failed_attempts": "setbacks", "origin": "start_point"}
"""Names in the database that differ from those in the code."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("origin", "device", "directory", "log", "checkpoint", "scan", "failure"), (str,)),
    **dict.fromkeys(("attempts", "epochs", "batch", "judged", "paused_at"), (int,)),
    **dict.fromkeys(("seconds", "gpu_share", "memory_gib"), (int, float)),
    **dict.fromkeys(("metrics", "losses"), (Mapping,)),
    "failed_attempts": (list, tuple),
}

_NAMES = {_STORED.get(name, name): name for name in _TYPES}
"""Names of the facts by those in the database."""


def other_attributes(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user attributes of a trial that tune did not write."""
    own = {"params", "reason", *_NAMES}
    return {name: value for name, value in stored.items() if name not in own}


def _metrics(stored: Mapping[str, Any]) -> dict[str, float] | None:
    """Read metrics, with NaN and infinities, which are stored as text; None if one is not a number."""
    try:
        return {name: float(value) for name, value in stored.items()}
    except (TypeError, ValueError):
        return None


def _losses(stored: Mapping[str, Any]) -> dict[int, float] | None:
    """Read losses by epoch; None if one is not a number."""
    try:
        return {int(epoch): float(loss) for epoch, loss in stored.items()}
    except (TypeError, ValueError):
        return None


def _failed_attempts(stored: list[Any]) -> tuple[FailedAttempt, ...] | None:
    try:
        return tuple(FailedAttempt(**attempt) for attempt in stored)
    except TypeError:
        return None


def _is_of(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalRunFacts:
    """Facts about the final run."""

    trial: int
    """Trial whose configuration is trained."""
    epochs: int
    directory: str
    state: str
    """Name of a `TrialState`."""
    gpus: int = 0
    """Number of GPUs; 0 for the CPU."""
    deterministic: bool | None = None
    """Value of `deterministic` if it is not that of the trials."""
    metrics: Mapping[str, float] | None = None
    """Metrics of best.pt, once the run is complete."""
    checkpoint: str = ""
    """Path of best.pt, once the run is complete."""
    log: str = ""
    reason: str = ""
    """Cause of a failure."""

    def encode(self) -> dict[str, Any]:
        """Return the facts as they are stored, without those that say nothing."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def decode(cls, stored: Mapping[str, Any]) -> "FinalRunFacts":
        """Read the facts as they are stored.

        Raises:
            StorageError: The record is incomplete.
        """
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        if isinstance(values.get("metrics"), Mapping):
            values["metrics"] = _metrics(values["metrics"])
        try:
            return cls(**values)
        except TypeError as error:
            raise StorageError(
                f"The study's record of its final run is incomplete ({error}); restore the database from a backup."
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryFacts:
    """Sizes that ran out of memory before the search began (see `tuner.memory`)."""

    device: str
    """Device, as trainers name it."""
    too_large: tuple[tuple[int, int], ...]
    """Pairs (batch, imgsz) that do not fit."""
    gpu_share: float = 1.0
    """Share of the device's memory that they do not fit into, 0..1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharingFacts:
    """Number of trials per GPU that measurements before the search have chosen (see `tuner.memory.sharing`)."""

    trials_per_gpu: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimateFacts:
    """Parts of the cost estimate that are compared with the actual cost (see `tuner.cost`)."""

    trials: int
    slots: int
    trained: tuple[float, float]
    """Epochs of all trials: lowest and highest."""
    wall: tuple[float, float]
    """Wall time of the search, in epochs: lowest and highest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfilingFacts:
    """Results of profiling before the search; None means that there are none."""

    memory: MemoryFacts | None = None
    estimate: EstimateFacts | None = None
    sharing: SharingFacts | None = None

    def encode(self) -> dict[str, Any]:
        """Return the results as they are stored."""
        stored: dict[str, Any] = {}
        if self.memory is not None:
            stored["memory"] = {"device": self.memory.device, "limits": {"too_large": self.memory.too_large}}
            if self.memory.gpu_share < 1:
                stored["memory"]["gpu_share"] = self.memory.gpu_share
        if self.estimate is not None:
            ranges = {name: _range(getattr(self.estimate, name)) for name in ("trained", "wall")}
            stored["quotation"] = {"trials": self.estimate.trials, "slots": self.estimate.slots, **ranges}
        if self.sharing is not None:
            stored["sharing"] = {"trials_per_gpu": self.sharing.trials_per_gpu}
        return stored

    @classmethod
    def decode(cls, stored: Mapping[str, Any]) -> "ProfilingFacts":
        """Read the results as they are stored.

        Raises:
            StorageError: The record is incomplete.
        """
        try:
            return cls(
                memory=_memory(stored.get("memory")),
                estimate=_estimate(stored.get("quotation")),
                sharing=_sharing(stored.get("sharing")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"The study's record of its profiling is incomplete ({error!r}); restore the database from a backup."
            ) from error


def _range(ends: tuple[float, float]) -> dict[str, float]:
    return {"low": ends[0], "high": ends[1]}


def _memory(stored: Mapping[str, Any] | None) -> MemoryFacts | None:
    if stored is None:
        return None
    pairs = tuple((batch, imgsz) for batch, imgsz in stored["limits"]["too_large"])
    return MemoryFacts(device=stored["device"], too_large=pairs, gpu_share=float(stored.get("gpu_share", 1.0)))


def _sharing(stored: Mapping[str, Any] | None) -> SharingFacts | None:
    return None if stored is None else SharingFacts(trials_per_gpu=int(stored["trials_per_gpu"]))


def _estimate(stored: Mapping[str, Any] | None) -> EstimateFacts | None:
    if stored is None:
        return None
    trained, wall = ((stored[name]["low"], stored[name]["high"]) for name in ("trained", "wall"))
    return EstimateFacts(trials=stored["trials"], slots=stored["slots"], trained=trained, wall=wall)


def jsonable(value: Any) -> Any:
    """Convert a value to what Optuna can store: tuples to lists, NaN and infinities to text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    return [jsonable(item) for item in value] if isinstance(value, list | tuple) else value
