"""Define the options of a run and the machines that it uses."""

from dataclasses import dataclass

from tuner.decisions.stopping import Budget
from tuner.execution.watchdog import HangTimeouts
from tuner.search.warm_start import Start
from tuner.space import Space
from tuner.study import StudyPaths

MOST_PER_GPU = 48
"""Maximum trials on one GPU: so many processes can share one through CUDA's multi-process service on all GPUs that have
it since Volta (https://docs.nvidia.com/deploy/mps)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Machines and processes that train."""

    gpus: int | None
    """Number of GPUs to use; 0 for the CPU; None for all."""
    parallel: int | None
    """Trials to run at once; None for as many as the GPUs take, or one per CPU core."""
    address: str | None
    """Address of a running Ray cluster; None to start Ray on this machine."""
    trainer: tuple[str, ...]
    """Command that starts a trainer (see `tuner.contract`)."""
    hang_timeouts: HangTimeouts
    """Limits for the silence of a trainer."""
    trials_per_gpu: int | None = 1
    """Maximum number of trials that share a GPU; None for as many as pay, by a measurement before the search."""
    image_cache_bytes: int | None = None
    """Maximum size of the decoded images that all runs on a machine share; 0 to share none, None to choose."""
    artifacts: str = ""
    """URL or absolute path of the store for the files of runs, if the machines share no folder; "" for the place that
    the study has recorded, if any."""


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
