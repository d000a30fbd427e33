"""Follow a driven study and log it: one thread and one process per tracker, and the search waits for none of them."""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.exceptions import TunerError
from tuner.study import ReadableStudy, StudyPaths
from tuner.system.atomic_files import write_whole
from tuner.system.masking import without_secrets
from tuner.system.signals import Interrupted
from tuner.trackers.messages import CLOSE_S, LoggedRun, Subject, news
from tuner.trackers.places import place_of
from tuner.trackers.process import TrackerProcess
from tuner.trackers.runs import runs_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Times of logging, in seconds."""

    look_s: float = 5.0
    """Time between two looks at the study."""
    answer_s: float = 60.0
    """Time that a tracker has to log one run."""
    retry_s: float = 30.0
    """Time until a tracker that failed is tried again; it doubles with each failure."""
    longest_retry_s: float = 300.0
    repeat_s: float = 3600.0
    """Time until a warning about a tracker that still fails is repeated."""
    close_s: float = CLOSE_S
    """Time that all trackers have at the end of a run, together."""


class Tracking:
    """Logging of one run of a driver; it starts when the study is known."""

    def __init__(self, trackers: Sequence[str], paths: StudyPaths, tell: Callable[[str], None], pace: Pace) -> None:
        self._trackers = trackers
        self._paths = paths
        self._tell = tell
        self._pace = pace
        self._followers: list[_Follower] = []

    def follow(self, study: ReadableStudy) -> None:
        """Log this study from now on; it stays readable in memory after its database is closed."""
        if not self._trackers:
            return
        try:
            subject = subject_of(study.name, self._paths)
        except OSError as error:
            self._tell(f"warning: nothing is logged, because the study's folder is not writable ({error.strerror})")
            return
        for tracker in self._trackers:
            self._tell(f"log    {tracker}: {place_of(tracker, subject)}")
            follower = _Follower(tracker, subject, study, self._paths, self._tell, self._pace)
            self._followers.append(follower)
            follower.start()

    def close(self, state: str, reason: str = "") -> None:
        """Log the end of the run, and wait for the trackers, no longer than `close_s` in total.

        Args:
            state: Name of the study's `TrialState` after this run.
            reason: Reason for the state.
        """
        deadline = time.monotonic() + self._pace.close_s
        try:
            for follower in self._followers:
                follower.end(state, reason)
            for follower in self._followers:
                follower.join(max(deadline - time.monotonic(), 0.0))
        finally:  # a signal may end the waiting
            for follower in self._followers:
                follower.abandon()


@contextlib.contextmanager
def tracked(
    trackers: Sequence[str], paths: StudyPaths, tell: Callable[[str], None], pace: Pace = Pace()
) -> Iterator[Tracking]:
    """Log the study that is named within the block, and how the block ends.

    Args:
        trackers: Names of the trackers, checked by `chosen_trackers`; empty to log nothing.
        paths: Paths of the study.
        tell: Receives one-line messages for the user; other threads call it too.
        pace: Times of logging.
    """
    tracking = Tracking(trackers, paths, tell, pace)
    try:
        yield tracking
    except (Interrupted, KeyboardInterrupt) as stopped:
        tracking.close(TrialState.WAITING.name, str(stopped))
        raise
    except TunerError as error:
        tracking.close(TrialState.FAIL.name, without_secrets(str(error), os.environ))
        raise
    except BaseException as error:
        tracking.close(TrialState.FAIL.name, f"internal error: {type(error).__name__}")
        raise
    else:
        tracking.close(TrialState.COMPLETE.name)


class _Follower(threading.Thread):
    """Thread that logs a study to one tracker."""

    def __init__(
        self,
        tracker: str,
        subject: Subject,
        study: ReadableStudy,
        paths: StudyPaths,
        tell: Callable[[str], None],
        pace: Pace,
    ) -> None:
        super().__init__(name=f"log-{tracker}", daemon=True)
        self._tracker = tracker
        self._subject = subject
        self._study = study
        self._paths = paths
        self._tell = tell
        self._pace = pace
        self._ended = threading.Event()
        self._is_abandoned = False
        self._state, self._reason = TrialState.RUNNING.name, ""
        self._process: TrackerProcess | None = None
        self._known: dict[str, LoggedRun] = {}
        self._logged: dict[str, LoggedRun] = {}
        """Runs as the process has logged them."""
        self._pause_s = 0.0
        self._warned_s: float | None = None
        """Time of the last warning; None if the tracker works."""

    def run(self) -> None:
        """Log until the end, then close the tracker."""
        while not self._ended.wait(self._pause_s):
            self._look()
        self._look()
        problem = "" if self._process is None else self._process.close(self._pace.close_s)
        if problem:
            self._warn(problem)

    def end(self, state: str, reason: str) -> None:
        """Ask for a last look at the study, which then has this state."""
        self._state, self._reason = state, reason
        self._ended.set()

    def abandon(self) -> None:
        """Give up, if the thread has not ended."""
        if not self.is_alive():
            return
        self._is_abandoned = True
        if self._process is not None:
            self._process.kill()
        if self._warned_s is None:
            self._tell(
                f"warning: {self._tracker} did not take everything within {self._pace.close_s:g} s; "
                "run the same command again to log what is missing"
            )

    def _look(self) -> None:
        """Log what is new since the last look."""
        if self._is_abandoned:
            return
        try:
            problem = self._log_news()
        except Exception as error:  # whatever is wrong here, the search continues
            problem = without_secrets(f"{type(error).__name__}: {error}", os.environ)
        if problem:
            self._warn(problem)
            self._start_again_later()
            return
        self._pause_s = self._pace.look_s
        if self._warned_s is not None:
            self._warned_s = None
            self._tell(f"{self._tracker} logs again")

    def _log_news(self) -> str:
        """Log what is new; return why that failed, or ""."""
        # Each record of a driven study is replaced, never changed, so it can be read here without a lock.
        self._known = runs_of(self._study, self._paths, known=self._known, state=self._state, reason=self._reason)
        for key, run in self._known.items():
            new = news(self._logged.get(key), run)
            if new is None:
                continue
            if self._process is None:
                self._process = TrackerProcess(self._tracker, self._subject, self._pace.answer_s)
            problem = self._process.log(new)
            if problem:
                return problem
            self._logged[key] = run
        return ""

    def _warn(self, problem: str) -> None:
        """Warn, unless the user knows of it."""
        now = time.monotonic()
        if self._is_abandoned or (self._warned_s is not None and now - self._warned_s < self._pace.repeat_s):
            return
        self._warned_s = now
        remedy = (
            "run the same command again to log what is missing"
            if self._ended.is_set()
            else "the run continues, and what is missing is logged as soon as possible"
        )
        self._tell(f"warning: {self._tracker} does not log: {problem}; {remedy}")

    def _start_again_later(self) -> None:
        """Replace the process later: nobody knows the state of this one. The next one finds what has been logged."""
        if self._process is not None:
            self._process.close(0.0 if self._is_abandoned else self._pace.close_s)
        self._process, self._logged = None, {}
        self._pause_s = min(max(2 * self._pause_s, self._pace.retry_s), self._pace.longest_retry_s)


def subject_of(name: str, paths: StudyPaths) -> Subject:
    """Describe the study for trackers, under the random name that its folder keeps."""
    file = paths.tracking_id
    if not file.exists():
        write_whole(file, secrets.token_hex(4).encode())
    return Subject(
        name=name,
        study_id=file.read_text(encoding="utf-8").strip(),
        folder=str(paths.root),
        tensorboard=str(paths.tensorboard),
        wandb_epochs=str(paths.wandb_epochs),
    )
