"""What `tune run` is asked to do, and where."""

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.contract import ParamValue
from tuner.decisions.stopping import Budget
from tuner.execution.watchdog import HangTimeouts
from tuner.space import Space
from tuner.study import StudyPaths


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Where to train."""

    gpus: int | None
    """GPUs to use, one a trial; 0 for the CPU; none for all that there are."""
    parallel: int | None
    """Trials at once, when not one a GPU."""
    address: str | None
    """A running Ray cluster, or none to start Ray on this machine."""
    trainer: tuple[str, ...]
    """The command that starts a trainer (see `tuner.contract`)."""
    hang_timeouts: HangTimeouts
    """How long a trainer may be silent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What `tune run` was asked to do."""

    space: Space
    data: str
    model: str
    name: str
    paths: StudyPaths
    storage: str
    machines: Machines
    warm_start: tuple[Mapping[str, ParamValue], ...]
    """Configurations of the space, by label, that a study which begins now tries right after the baseline."""
    promote: bool
    validate_every_epoch: bool
    bounds: Budget
    """When the search ends before its last trial."""
