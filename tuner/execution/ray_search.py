"""Ray Tune as the scheduler of a search: two thin adapters, and the run.

The searcher hands the search's requests to Tune; the scheduler hands the trainers' records to the search, and its
decisions to Tune. No state of ours is pickled or restored: a restart is a start (see `tuner.search`).
"""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tuner.contract import decode, encode
from tuner.exceptions import TunerError
from tuner.execution.cluster import Slots
from tuner.execution.trial_actor import COMMAND_KEY, RECORDS_KEY, REQUEST_KEY, TrialActor
from tuner.search import Decision, Search

logger = logging.getLogger("tuner")

_MAX_ACTOR_LOSSES = 2
"""How often Tune places a trial again after its actor or node died; the trainer goes on from its checkpoint."""


class _Driver:
    """What the two adapters share: the search, and which Ray trial trains which of our trials.

    Tune must never see an exception of ours: one that leaves a hook ends every trial without a word to the
    searcher. So the first one is kept, the search is stopped in order, and `run_search` raises it at the end.
    """

    def __init__(self, search: Search, slots: Slots, command: Sequence[str]) -> None:
        self.search = search
        self.slots = slots
        self.command = list(command)
        self.numbers: dict[str, int] = {}
        self.failure: Exception | None = None

    def guarded(self, action: Callable[[], Any], default: Any) -> Any:
        try:
            return action()
        except Exception as error:
            if self.failure is None:
                self.failure = error
                logger.exception("the search stops")
            self.search.stop(str(error) if isinstance(error, TunerError) else f"an internal error: {error!r}")
            return default

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Driver":
        return self  # Tune copies what it is given; there is one search

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()  # Tune pickles its arguments to disk; nothing of ours is ever read back


class StudySearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Gives Tune the search's requests, one for each free slot."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        driver = self._driver
        if driver.search.finished:
            return str(Searcher.FINISHED)
        if len(driver.numbers) >= driver.slots.number:
            return None  # asked ahead of a free slot, a proposal would not know the results still to come
        request = driver.guarded(driver.search.propose, None)
        if request is None:
            return None
        driver.numbers[trial_id] = request.trial
        return {REQUEST_KEY: encode(request), COMMAND_KEY: driver.command}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._driver.numbers.pop(trial_id, None)
        if number is None:
            return
        if error:
            cause = "infrastructure: the trial's actor or node was lost too often"
            self._driver.guarded(lambda: self._driver.search.fail(number, cause), None)
        else:
            self._driver.guarded(lambda: self._driver.search.release(number), None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class SearchScheduler(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """Passes on what the trainers said, and carries out what the search decides."""

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
        search = self._driver.search
        for line in result.get(RECORDS_KEY, []):
            record = decode(line)
            decision = search.hear(number, record)  # type: ignore[arg-type]  # trainers send records only
            if decision == Decision.STOP:
                return decision
        return Decision.STOP if search.stop_reason else Decision.CONTINUE


def run_search(search: Search, slots: Slots, command: Sequence[str]) -> None:
    """Train until the search is finished or stopped; afterwards no trial of it is RUNNING.

    Args:
        command: Starts a trainer that speaks `tuner.contract`.

    Raises:
        TunerError: what ended the search, if that was an error.
    """
    driver = _Driver(search, slots, command)
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
                # The trainers keep their own checkpoints, and go on from them by themselves.
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=_MAX_ACTOR_LOSSES),
            ),
        )
        try:
            tuner.fit()
        finally:
            for number in list(search.live):
                driver.guarded(partial(search.release, number), None)
    if driver.failure is not None:
        raise driver.failure
