"""Define the options of a run and the machines that it uses."""

from dataclasses import dataclass

from tuner.decisions.stopping import Budget
from tuner.execution.watchdog import HangTimeouts
from tuner.search.warm_start import Start
from tuner.space import Space
from tuner.study import StudyPaths


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Machines and processes that train."""

    gpus: int | None
    """Number of GPUs to use, one per trial; 0 for the CPU; None for all."""
    parallel: int | None
    """Trials to run at once; None for one per GPU or CPU core."""
    address: str | None
    """Address of a running Ray cluster; None to start Ray on this machine."""
    trainer: tuple[str, ...]
    """Command that starts a trainer (see `tuner.contract`)."""
    hang_timeouts: HangTimeouts
    """Limits for the silence of a trainer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Options of `tune run`."""

    space: Space
    data: str
    model: str
    name: str
    paths: StudyPaths
    storage: str
    machines: Machines
    warm_start: tuple[Start, ...]
    """Configurations that a new study tries right after the baseline, before the starting points of the space."""
    promote: bool
    validate_every_epoch: bool
    bounds: Budget
    """Limits that end the search before its last trial."""
    command: tuple[str, ...] = ()
    """Arguments of the command line, without secrets, for the report; empty if there is none."""
    trackers: tuple[str, ...] = ()
    """Trackers that log the study (see `tuner.trackers`)."""
