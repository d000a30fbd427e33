"""Train a workload with Ray Tune as the scheduler: two thin adapters, and the run.

The searcher hands requests to Tune; the scheduler passes the trainers' records on, and the decisions back to Tune. No
state of ours is pickled or restored: a restart is a start (see `tuner.search.search`).
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tuner.contract import EndRecord, TrainRequest, decode, encode
from tuner.exceptions import MachineError, TunerError
from tuner.execution.cluster import Slots
from tuner.execution.trial_actor import COMMAND_KEY, HANG_TIMEOUTS_KEY, RECORDS_KEY, REQUEST_KEY, TrialActor
from tuner.execution.watchdog import HangTimeouts
from tuner.system.disk_space import shortage
from tuner.trials.retry_policy import Failure, failure_of
from tuner.trials.workload import Decision, Workload

logger = logging.getLogger("tuner")

_DISK_CHECK_S = 5.0


class _Driver:
    """The state that the two adapters share: the workload, and which Ray trial trains which run.

    Tune must never see an exception of ours: one that leaves a hook ends every trial without a word to the searcher. So
    the first one is kept, the workload is stopped in order, and `train_on_ray` raises the exception at the end.
    """

    def __init__(self, workload: Workload, slots: Slots, terms: "Terms", at_start: Callable[[], object]) -> None:
        self.workload = workload
        self.slots = slots
        self.terms = terms
        self.at_start: Callable[[], object] | None = at_start
        self.next_disk_check_s = 0.0
        self.looked_s = time.monotonic()
        self.numbers: dict[str, int] = {}
        self.failure: Exception | None = None

    def guarded(self, action: Callable[[], Any], default: Any) -> Any:
        try:
            return action()
        except Exception as error:
            if self.failure is None:
                self.failure = error
                logger.error("stopping all trials: %s", error, exc_info=not isinstance(error, TunerError))
            self.workload.stop(str(error) if isinstance(error, TunerError) else f"an internal error: {error!r}")
            return default

    def look_around(self, *, attempt_failed: bool = False) -> None:
        """Stop if continuing would lose something: the lease is gone, or the disk is nearly full.

        Args:
            attempt_failed: a trial has ended, perhaps because the disk is full: check the disk in any case. Trials that
                find it full are retried, and fail, faster than the clock would have it checked.
        """
        now_s = time.monotonic()
        self.workload.pass_time(now_s - self.looked_s)
        self.looked_s = now_s
        if attempt_failed or now_s >= self.next_disk_check_s:
            self.next_disk_check_s = now_s + _DISK_CHECK_S
            missing = shortage(self.terms.folder, self.terms.reserve_bytes)
            if missing is not None:
                problem = MachineError(f"The run was ended in order: {missing}, then the same command goes on.")
                self.workload.stop(missing, problem)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Driver":
        return self  # Tune copies what it is given; there is one

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()  # Tune pickles its arguments to disk; nothing of ours is ever read back


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Gives Tune the requests, one for each free slot."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        driver = self._driver
        if driver.at_start is not None:
            driver.at_start()
            driver.at_start = None
        if driver.workload.finished:
            return str(Searcher.FINISHED)
        if len(driver.numbers) >= driver.slots.number:
            return None  # asked ahead of a free slot, a suggestion would not know the results still to come
        request = driver.guarded(self._next_request, None)
        if request is None:
            return str(Searcher.FINISHED) if driver.workload.finished else None
        driver.numbers[trial_id] = driver.workload.number_of(request)
        hang_timeouts = replace(driver.terms.hang_timeouts, epoch_s=driver.workload.epoch_seconds())
        return {
            REQUEST_KEY: encode(request),
            COMMAND_KEY: list(driver.terms.command),
            HANG_TIMEOUTS_KEY: asdict(hang_timeouts),
        }

    def _next_request(self) -> TrainRequest | None:
        self._driver.look_around()
        return self._driver.workload.suggest()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._driver.numbers.pop(trial_id, None)
        if number is None:
            return
        if error:
            self._driver.guarded(lambda: self._lose(number), None)
        else:
            self._driver.guarded(lambda: self._driver.workload.requeue(number), None)

    def _lose(self, number: int) -> None:
        self._driver.look_around(attempt_failed=True)
        self._driver.workload.on_lost(number, "its process or its machine was lost")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class SearchScheduler(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """Passes the trainers' records on, and carries out the decisions."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = self._driver.numbers.get(trial.trial_id)
        if number is None:
            return str(self.STOP)
        decision = self._driver.guarded(lambda: self._decide(number, result), Decision.STOP)
        return str(self.STOP if decision == Decision.STOP else self.CONTINUE)

    def _decide(self, number: int, result: dict[str, Any]) -> Decision:
        workload = self._driver.workload
        records = [decode(line) for line in result.get(RECORDS_KEY, [])]
        self._driver.look_around(attempt_failed=any(_is_infrastructure_failure(record) for record in records))
        for record in records:
            decision = workload.report(number, record)  # type: ignore[arg-type]  # trainers send records only
            if decision == Decision.STOP:
                return decision
        return Decision.STOP if workload.finished else Decision.CONTINUE


def _is_infrastructure_failure(record: object) -> bool:
    return isinstance(record, EndRecord) and failure_of(record) == Failure.INFRASTRUCTURE


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How to carry out requests."""

    command: tuple[str, ...]
    """Starts a trainer that speaks `tuner.contract`."""
    hang_timeouts: HangTimeouts
    folder: Path
    """The trials write below it."""
    reserve_bytes: int
    """Space that must stay free there."""


def train_on_ray(workload: Workload, slots: Slots, terms: Terms, at_start: Callable[[], object]) -> None:
    """Train until the workload is finished or stopped; afterwards none of it is live.

    Args:
        at_start: called once when Tune is up, which has taken SIGUSR1 for itself by then.

    Raises:
        TunerError: the error that ended it, if one did.
    """
    driver = _Driver(workload, slots, terms, at_start)
    # Tune would start one actor at a time; all slots may start at once, and `suggest` never asks ahead.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots.number)
    with tempfile.TemporaryDirectory(prefix="tune-ray-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(TrialActor, slots.resources),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(driver),
                scheduler=SearchScheduler(driver),
                num_samples=-1,  # the searcher says when it is finished
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                # Trainers keep their own checkpoints and resume from them. The workload decides about retries: to
                # Tune, a lost actor is the end of its trial.
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        try:
            tuner.fit()
        finally:
            for number in list(workload.live):
                driver.guarded(partial(workload.requeue, number), None)
            driver.guarded(workload.close, None)
    problem = driver.failure or workload.problem
    if problem is not None:
        raise problem
