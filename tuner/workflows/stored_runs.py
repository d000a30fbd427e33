"""Connect a study to the store of its runs, if its machines share no folder."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from optuna.trial import TrialState

from tuner.artifacts.runs import StoredRuns
from tuner.artifacts.store import Store
from tuner.artifacts.stored_workload import StoredWorkload
from tuner.comparison.reevaluation import Reevaluation
from tuner.exceptions import UsageError
from tuner.search.search import Search
from tuner.study import StudyPaths, StudySession
from tuner.trials.workload import Workload
from tuner.workflows.options import Machines

_TRIALS, _REEVALUATION = "trials", "reevaluation"


def require_store(place: str) -> None:
    """Check at the start of a run that a store can be read and written; "" for no store.

    Raises:
        MachineError: It cannot.
    """
    if place:
        Store(place, "")


def stored_runs(
    study: StudySession, machines: Machines, paths: StudyPaths, on_event: Callable[[str], None]
) -> StoredRuns | None:
    """Return the runs of a study in its store; None if it has none.

    The study records the place, so that later commands find its runs. Another place takes its turn if the user names
    one, for example after the runs were copied there.

    Raises:
        MachineError: The store cannot be read or written.
        UsageError: Trials of the study wait to resume from another place.
    """
    known = study.artifacts
    place = machines.artifacts or known.get("place", "")
    if not place:
        return None
    # Names of studies are used again, and a new study must not find the runs of an old one.
    folder = known.get("folder") or f"{study.name}-{secrets.token_hex(4)}"
    store = Store(place, folder)
    if not known and any(trial.state == TrialState.WAITING for trial in study.trials()):
        raise UsageError(
            f"--artifacts must be given from the start of a study, but trials of '{study.name}' wait to resume from "
            "its folder; leave it out, or start another study with --study NAME."
        )
    if place != known.get("place"):
        study.record_artifacts(place, folder)
    on_event(f"files of runs are in {store.url}")
    return StoredRuns(store, paths.root, store.claim(), on_event)


@contextlib.contextmanager
def search_in(runs: StoredRuns | None, search: Search, paths: StudyPaths) -> Iterator[Workload]:
    """Return a search whose trials keep their files in a store; the search itself without one."""

    def over() -> set[str]:
        return {_run(paths, paths.trial(trial.number)) for trial in search.trials if search.never_resumes(trial)}

    with _stored(runs, search, search.study, _TRIALS, over) as workload:
        yield workload


@contextlib.contextmanager
def reevaluation_in(runs: StoredRuns | None, reevaluation: Reevaluation, paths: StudyPaths) -> Iterator[Workload]:
    """Return a comparison whose runs keep their files in a store; the comparison itself without one."""

    def over() -> set[str]:
        return {_run(paths, paths.reevaluated(run.trial, run.seed)) for run in reevaluation.over}

    with _stored(runs, reevaluation, reevaluation.study, _REEVALUATION, over) as workload:
        yield workload


@contextlib.contextmanager
def _stored(
    runs: StoredRuns | None, workload: Workload, study: StudySession, group: str, over: Callable[[], set[str]]
) -> Iterator[Workload]:
    if runs is None:
        yield workload
        return
    runs.over = over
    with runs.fetching(group, is_ending=lambda: workload.stop_reason is not None):
        yield StoredWorkload(workload, runs, data=study.spec.data, model=study.spec.model)


def _run(paths: StudyPaths, directory: Path) -> str:
    return str(directory.relative_to(paths.root))
