"""Describe the progress of a study at one moment; pure data, so that its text depends on nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.contract import ParamValue


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseBar:
    """Phase of a run, with its progress."""

    name: str
    share: float
    """Finished share of its work, 0..1."""
    text: str = ""
    """What has ended and what is left, in the units of the phase."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """Run that is training."""

    label: str
    """Trial number, with the seed if it matters."""
    epoch: int
    """Number of trained epochs."""
    epochs: int
    """Length of the run, in epochs."""
    slot: int | None = None
    """Number of its slot, 0-based."""
    within: float | None = None
    """Finished share of the running epoch, 0..1; None if it is not known."""
    metric: float | None = None
    """Metric at the last validated epoch."""
    loss: float | None = None
    """Training loss of the last epoch: the sum of its parts."""
    epoch_s: float | None = None
    """Mean time of an epoch, in seconds."""
    memory_gib: float | None = None
    device: str = ""
    changes: str = ""
    """Parameters that differ from the default configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Progress of a study at one moment."""

    phases: tuple[PhaseBar, ...] = ()
    """All phases of the run, in their order."""
    current: int = 0
    """Position of the current phase."""
    metric: str = "metric"
    """Name of the metric that is maximised."""
    runs: tuple[RunRow, ...] = ()
    best: str = ""
    """Best result so far against the default configuration."""
    events: tuple[str, ...] = ()
    """Last events, the oldest first."""
    notice: str = ""
    """What is being prepared, or a problem that the user must know."""
    elapsed_s: float | None = None
    """Time since the start, in seconds; None if it is not known."""
    left_s: float | None = None
    """Forecast of the time to the end of the last phase, in seconds; None before it is known."""


def changed_parameters(
    params: Mapping[str, ParamValue], default: Mapping[str, ParamValue] | None
) -> dict[str, ParamValue]:
    """Return the parameters that differ from the default configuration; all of them if it is not known."""
    return {name: value for name, value in params.items() if default is None or default.get(name) != value}


def parameters_text(params: Mapping[str, ParamValue]) -> str:
    """Format parameters on one line, with four significant digits."""
    return ", ".join(
        f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in params.items()
    )
