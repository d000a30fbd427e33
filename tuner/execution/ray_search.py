"""Train a workload with Ray Tune as the scheduler, through two thin adapters.

The searcher gives requests to Tune. The scheduler passes the trainers' records to the workload, and its decisions to
Tune. None of our state is pickled or restored: a restart is a new start (see `tuner.search.search`).
"""

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial
from ray.tune.experiment.trial import _TrialInfo
from ray.tune.registry import TRAINABLE_CLASS, _global_registry
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tuner.contract import EndRecord, EpochRecord, StartedRecord, TrainRequest, decode, encode
from tuner.exceptions import MachineError, TunerError
from tuner.execution.allotment import Allotment
from tuner.execution.cluster import Slots
from tuner.execution.slot_health import Place, SlotHealth
from tuner.execution.trial_actor import (
    COMMAND_KEY,
    HANG_TIMEOUTS_KEY,
    HEARTBEAT_KEY,
    NODE_IP_KEY,
    PLACE_KEY,
    RECORDS_KEY,
    REQUEST_KEY,
    RESOURCES_KEY,
    TrialActor,
    left_out,
)
from tuner.execution.watchdog import HangTimeouts
from tuner.study import DECIDED, INTERRUPTED, LOST, OpenSpan, Timeline
from tuner.system.disk_space import shortage
from tuner.trials.retry_policy import Failure, failure_of
from tuner.trials.workload import Decision, Workload

logger = logging.getLogger("tuner")

_DISK_CHECK_S = 5.0

_WANTED_S = 1.0
"""Interval between two reports of how many devices the run could use, in seconds."""

_HEARTBEATS_PER_S = 64
"""Maximum number of times per second that actors return without an epoch. Each takes the driver a millisecond, and this
many take a tenth of its time. More slots return less often than once a second, so they take longer to stop."""

_EVENT_S = 0.1
"""Time to wait for one event of Tune's actors, in seconds; as long as Tune itself waits."""

_MOST_PENDING = 4096
"""Maximum number of actors that start at once, more than a driver has slots. By default, Tune starts one at a time. All
slots can start at once, because `suggest` never runs ahead."""


class _Driver:
    """Shared state of the two adapters: the workload, and the run of each Ray trial.

    Tune must never see our exceptions: an exception in a hook ends every trial without notifying the searcher. So the
    first one is stored, the workload is stopped cleanly, and `train_on_ray` raises the exception at the end.
    """

    def __init__(self, workload: Workload, slots: Slots, terms: "Terms", at_start: Callable[[], object]) -> None:
        self.workload = workload
        self.slots = slots
        self.terms = terms
        self.at_start: Callable[[], object] | None = at_start
        self.next_disk_check_s = 0.0
        self.next_want_s = 0.0
        self.looked_s = time.monotonic()
        self.controller: Any = None
        """Tune's controller, once there is a trial."""
        self.numbers: dict[str, int] = {}
        self.parked: set[str] = set()
        """Ray trials without a run, which continue only to keep their slot, because nothing should start on it."""
        self.spans: dict[str, OpenSpan] = {}
        self.failure: Exception | None = None

    def guarded(self, action: Callable[[], Any], default: Any) -> Any:
        try:
            return action()
        except Exception as error:
            if self.failure is None:
                self.failure = error
                logger.error("an error stops the run: %s", error, exc_info=not isinstance(error, TunerError))
            told = str(error) if isinstance(error, TunerError) else f"internal error, please report: {error!r}"
            self.workload.stop(told)
            return default

    @property
    def room(self) -> int:
        """Number of runs that may train now."""
        room = self.terms.allotment.devices() * self.slots.trials_per_gpu
        return room if self.terms.parallel is None else min(room, self.terms.parallel)

    @property
    def runs(self) -> int:
        """Number of slots that are taken."""
        return len(self.numbers) + len(self.parked)

    def report_wanted(self) -> None:
        """Report how many devices could train now, so that other runs get the rest."""
        if time.monotonic() >= self.next_want_s:
            self.next_want_s = time.monotonic() + _WANTED_S
            more = self.guarded(lambda: self.workload.has_next, False)
            used = max(1, math.ceil(self.runs / self.slots.trials_per_gpu))
            self.terms.allotment.want(None if more else used)

    def wait_for_room(self) -> None:
        """Give up all trainers while nothing may train; this time is none of the search's.

        Tune handles no events while it waits for a trial, so the events of the trainers that end are handled here.
        """
        self.looked_s = time.monotonic()
        if self.controller is not None:
            self.release_idle_trainers()
            while self.controller._actor_manager.next(timeout=_EVENT_S):
                pass

    def release_idle_trainers(self) -> None:
        """Give up the trainers that Tune keeps for the next trials; it would do so only at the end."""
        if self.controller is not None:
            self.controller._cleanup_cached_actors(force_all=True)

    def begin_span(self, trial_id: str, request: TrainRequest) -> None:
        """Record that the lowest free slot starts this run."""
        taken = {span.slot for span in self.spans.values()}
        slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        self.workload.live[self.numbers[trial_id]].slot = slot
        self.spans[trial_id] = self.terms.timeline.begin(self.terms.phase, request.trial, request.seed, slot)

    def judge_slot(self, place: Place, number: int, record: object, result: Mapping[str, Any]) -> None:
        """Learn from a record whether its slot works."""
        if isinstance(record, StartedRecord):
            self.terms.health.note_run(place, number)
        if isinstance(record, EpochRecord) and self._is_new(number, record):
            self.terms.health.note_epoch(place)
        if isinstance(record, EndRecord) and failure_of(record) in (Failure.INFRASTRUCTURE, Failure.HUNG):
            health = self.terms.health
            held_any, was_held = health.holds_any, health.is_held(place)
            health.note_failure(place, number)
            if held_any and not health.holds_any:
                self.terms.on_event("every GPU has failed twice in a row, so all of them are used again")
            if health.is_held(place) and not was_held:  # a neighbour on the same GPU may fail later
                self.terms.on_event(
                    f"GPU {','.join(place.gpus)} of {result[NODE_IP_KEY]} is no longer used: two attempts in a row "
                    f"failed on it, the last one with: {record.message}; the next run tries it again"
                )

    def _is_new(self, number: int, record: EpochRecord) -> bool:
        """Check whether this slot has trained an epoch: a run that resumes sends those of earlier attempts again."""
        live = self.workload.live.get(number)
        return live is not None and record.epoch > max(live.attempts.reached, live.earlier_epochs)

    def parks(self, trial_id: str, place: Place) -> bool:
        """Check whether a Ray trial without a run must continue, and if so, take its run from it."""
        if self.workload.finished or not self.terms.health.is_held(place):
            self.parked.discard(trial_id)
            return False
        self.parked.add(trial_id)
        self.numbers.pop(trial_id, None)
        self.spans.pop(trial_id, None)
        return True

    def look_around(self, *, attempt_failed: bool = False) -> None:
        """Stop if continuing would lose data: the lease is lost, or the disk is nearly full.

        Args:
            attempt_failed: An attempt has failed, perhaps because the disk is full, so check the disk now. Retries on a
                full disk fail faster than the regular check detects it.
        """
        now_s = time.monotonic()
        self.workload.pass_time(now_s - self.looked_s)
        self.looked_s = now_s
        if attempt_failed or now_s >= self.next_disk_check_s:
            self.next_disk_check_s = now_s + _DISK_CHECK_S
            missing = shortage(self.terms.folder, self.terms.reserve_bytes)
            if missing is not None:
                problem = MachineError(f"The run stopped cleanly: {missing}, then run the same command to resume.")
                self.workload.stop(missing, problem)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Driver":
        return self  # Tune copies its arguments, but there must be only one driver

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()  # Tune pickles its arguments to disk; ours are never read again


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Searcher that gives Tune the requests, one for each free slot."""

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
        driver.report_wanted()
        if (
            driver.runs >= driver.room
        ):  # a suggestion ahead of a free slot would miss the results that arrive until then
            if not driver.runs:
                driver.wait_for_room()
            return None
        request = driver.guarded(self._next_request, None)
        if request is None:
            return str(Searcher.FINISHED) if driver.workload.finished else None
        driver.numbers[trial_id] = driver.workload.number_of(request)
        driver.begin_span(trial_id, request)
        hang_timeouts = replace(driver.terms.hang_timeouts, epoch_s=driver.workload.epoch_seconds())
        return {
            REQUEST_KEY: encode(request),
            COMMAND_KEY: list(driver.terms.command),
            HANG_TIMEOUTS_KEY: asdict(hang_timeouts),
            HEARTBEAT_KEY: max(1.0, driver.slots.number / _HEARTBEATS_PER_S),
            RESOURCES_KEY: driver.slots.resources,
        }

    def _next_request(self) -> TrainRequest | None:
        self._driver.look_around()
        return self._driver.workload.suggest(self._driver.terms.health.avoided)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._driver.parked.discard(trial_id)
        number = self._driver.numbers.pop(trial_id, None)
        if number is None:
            return
        self._driver.spans.pop(trial_id).end(LOST if error else INTERRUPTED)
        if error:
            self._driver.guarded(lambda: self._lose(number), None)
        else:
            self._driver.guarded(lambda: self._driver.workload.requeue(number), None)

    def _lose(self, number: int) -> None:
        self._driver.look_around(attempt_failed=True)
        self._driver.workload.on_lost(number, "its process or machine was lost")

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study stores the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study stores the state."""


class SearchScheduler(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """Scheduler that passes the trainers' records to the workload and executes its decisions."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        driver = self._driver
        place = Place(*result[PLACE_KEY])
        number = driver.numbers.get(trial.trial_id)
        if number is not None:
            span = driver.spans[trial.trial_id]
            decision = driver.guarded(lambda: self._decide(number, place, result, span), Decision.STOP)
            if decision == Decision.CONTINUE:
                return str(self.STOP if self._is_preempted(result) else self.CONTINUE)
            span.end(DECIDED)
        return str(self.CONTINUE if driver.parks(trial.trial_id, place) else self.STOP)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Keep the controller, to which Tune gives schedulers a restricted view."""
        self._driver.controller = tune_controller._tune_controller
        super().on_trial_add(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Release the trainer that Tune keeps for the next trial if its device is needed elsewhere."""
        is_pending = any(trial.status == Trial.PENDING for trial in tune_controller.get_live_trials())
        if not is_pending and self._driver.runs >= self._driver.room:
            self._driver.release_idle_trainers()
        return super().choose_trial_to_run(tune_controller)

    def _is_preempted(self, result: Mapping[str, Any]) -> bool:
        """Check whether a run must give up its device: right after an epoch, so that it loses next to nothing."""
        driver = self._driver
        if driver.runs <= driver.room or driver.workload.finished:
            return False
        return any(isinstance(decode(line), EpochRecord) for line in result.get(RECORDS_KEY, []))

    def _decide(self, number: int, place: Place, result: dict[str, Any], span: OpenSpan) -> Decision:
        workload = self._driver.workload
        records = [decode(line) for line in result.get(RECORDS_KEY, [])]
        for record in records:
            self._driver.judge_slot(place, number, record, result)
        self._driver.look_around(attempt_failed=any(_is_infrastructure_failure(record) for record in records))
        for record in records:
            span.note(record)  # type: ignore[arg-type]  # trainers send records only
            decision = workload.report(number, record)  # type: ignore[arg-type]
            if decision == Decision.STOP:
                return decision
        return Decision.STOP if workload.finished else Decision.CONTINUE


def _is_infrastructure_failure(record: object) -> bool:
    return isinstance(record, EndRecord) and failure_of(record) == Failure.INFRASTRUCTURE


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Conditions for training the requests."""

    command: tuple[str, ...]
    """Command that starts a trainer with the protocol of `tuner.contract`."""
    hang_timeouts: HangTimeouts
    folder: Path
    """Folder below which the trials write."""
    reserve_bytes: int
    """Space in bytes that must stay free there."""
    timeline: Timeline
    phase: str
    """Phase of the study, for its timeline."""
    health: SlotHealth
    """Failures of the slots in all phases of this run."""
    allotment: Allotment
    """Number of devices that the run may use at a time."""
    parallel: int | None
    """Maximum number of trials at a time, as the user has set it; None for as many as the devices take."""
    on_event: Callable[[str], None]
    """Function that receives each line for the user."""


def _registered_actor() -> str:
    """Register our actor with Tune and return its name there.

    It is no `tune.Trainable` (see `TrialActor`), which Tune's own functions for this insist on. The objects that Tune
    adds to the arguments of an actor would make it import Tune, too, so they are left out.
    """
    for cls in (StorageContext, _TrialInfo):
        ray.util.register_serializer(cls, serializer=left_out, deserializer=left_out)
    _global_registry.register(TRAINABLE_CLASS, TrialActor.__name__, TrialActor)
    return TrialActor.__name__


def train_on_ray(workload: Workload, slots: Slots, terms: Terms, at_start: Callable[[], object]) -> None:
    """Train until the workload is finished or stopped; no trial runs afterwards.

    Args:
        workload: Trials to train.
        slots: Number of parallel trials and resources of each.
        terms: Command, limits and folder of the trainers.
        at_start: Called once when Tune has started; by then, Tune has replaced the handler of SIGUSR1.

    Raises:
        TunerError: The error that ended the training, if any.
    """
    driver = _Driver(workload, slots, terms, at_start)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(_MOST_PENDING)
    with tempfile.TemporaryDirectory(prefix="tune-ray-") as scratch:
        tuner = tune.Tuner(
            _registered_actor(),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(driver),
                scheduler=SearchScheduler(driver),
                num_samples=-1,  # the searcher reports when it is finished
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                # Trainers write their own checkpoints and resume from them. The workload decides about retries, so
                # for Tune, a lost actor ends its trial.
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        try:
            tuner.fit()
        finally:
            for span in driver.spans.values():
                span.end(INTERRUPTED)
            for number in list(workload.live):
                driver.guarded(partial(workload.requeue, number), None)
            driver.guarded(workload.close, None)
    problem = driver.failure or workload.problem
    if problem is not None:
        raise problem
