"""Reach the queue of a cluster from anywhere, through Ray's Jobs API."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from tuner import __version__
from tuner.exceptions import MachineError, TunerError
from tuner.study_queue.entries import Submission
from tuner.study_queue.service import MARK, REQUEST_VARIABLE

_TIMEOUT_S = 120.0

_STARTING_S = 60.0
"""Seconds that a cluster may take from its first answer until it can run jobs."""

_POLL_S = 0.2
_TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})


class QueueClient:
    """Client of the queue of one cluster. Each request is a short job there, so nothing but the Jobs API is needed."""

    def __init__(self, cluster: str | None) -> None:
        """Connect to a cluster.

        Args:
            cluster: Address of its Jobs API, such as http://head:8265; None for RAY_API_SERVER_ADDRESS, or the cluster
                on this machine.

        Raises:
            MachineError: The Jobs API does not answer, refuses the token, or its client is not installed.
        """
        self._cluster = cluster
        with self._translated():
            from ray.job_submission import JobSubmissionClient

            self._jobs: Any = JobSubmissionClient(cluster)
            self._jobs.get_version()

    def submit(self, submission: Submission) -> dict[str, Any]:
        """Append a study to the queue and return its entry.

        Raises:
            UsageError: The study is in the queue already.
            MachineError: The cluster cannot carry out the request.
        """
        entry: dict[str, Any] = self._asked(do="submit", submission=submission.encoded())["entry"]
        return entry

    def entries(self, *, all_of_them: bool) -> list[dict[str, Any]]:
        """Return the studies that are not over, or all, in the order of submission."""
        entries: list[dict[str, Any]] = self._asked(do="list", all=all_of_them)["entries"]
        return entries

    def entry(self, study: str) -> dict[str, Any]:
        """Return the last entry of a study."""
        entry: dict[str, Any] = self._asked(do="show", study=study)["entry"]
        return entry

    def stop(self, study: str) -> dict[str, Any]:
        """Wish that a study stops, and return its entry."""
        entry: dict[str, Any] = self._asked(do="stop", study=study)["entry"]
        return entry

    def ensure_keeper(self) -> None:
        """Start the keeper of the queue if there is none; a submission does this by itself."""
        self._asked(do="ensure")

    def log(self, job: str) -> str:
        """Return what a driver has printed so far.

        Raises:
            MachineError: The cluster does not know the job any more.
        """
        with self._translated():
            text: str = self._jobs.get_job_logs(job)
        return text

    def lines(self, job: str) -> Iterator[str]:
        """Yield what a driver prints, until it ends.

        Raises:
            MachineError: The cluster does not answer, or does not know the job any more.
        """
        told = 0
        while True:
            with self._translated():
                is_over = self._status(job) in _TERMINAL
            text = self.log(job)
            if len(text) > told:
                yield text[told:]
                told = len(text)
            if is_over:
                return
            time.sleep(1.0)

    def _asked(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        with self._translated():
            job = self._started(json.dumps({"version": __version__, **request}))
            status = self._awaited(job)
            text = self._jobs.get_job_logs(job)
        lines = [line for line in text.splitlines() if line.startswith(MARK)]
        if not lines:
            last = (text.strip().splitlines() or [status])[-1]
            raise MachineError(
                f"The cluster could not carry out the request: {last}; mamba-yolo-tuner must be installed on its "
                "machines, and `python` must find it."
            )
        told: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
        if "error" in told:
            raise _error_of(told)
        return told

    def _started(self, request: str) -> str:
        """Start the job of a request, as soon as the cluster has started."""
        deadline = time.monotonic() + _STARTING_S
        while True:
            try:
                job: str = self._jobs.submit_job(
                    entrypoint="python -m tuner.study_queue.service",
                    runtime_env={"env_vars": {REQUEST_VARIABLE: request}},
                    entrypoint_num_cpus=0.001,
                )
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
            else:
                return job

    def _awaited(self, job: str) -> str:
        deadline = time.monotonic() + _TIMEOUT_S
        while (status := self._status(job)) not in _TERMINAL:
            if time.monotonic() > deadline:
                raise MachineError(
                    f"The cluster has not carried out the request within {_TIMEOUT_S:.0f} s; all its CPUs may be "
                    "taken, or its head overloaded: `ray status` shows it."
                )
            time.sleep(_POLL_S)
        return status

    def _status(self, job: str) -> str:
        return str(self._jobs.get_job_status(job).value)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate what Ray's client raises: its own errors, and whatever its HTTP library does."""
        try:
            yield
        except TunerError:
            raise
        except Exception as error:
            raise _failed(self._cluster, error) from error


def _error_of(told: dict[str, Any]) -> TunerError:
    """Return an error as it was raised on the cluster."""

    def all_below(kind: type[TunerError]) -> Iterator[type[TunerError]]:
        for below in kind.__subclasses__():
            yield below
            yield from all_below(below)

    kind = next((kind for kind in all_below(TunerError) if kind.exit_code == told["code"]), TunerError)
    return kind(told["error"])


def _failed(cluster: str | None, error: Exception) -> MachineError:
    where = cluster or "RAY_API_SERVER_ADDRESS, or of this machine"
    cause = " ".join(str(error).split())[:300]
    if isinstance(error, ImportError) or "ray[default]" in cause:
        return MachineError("The queue needs Ray's Jobs API: pip install 'mamba-yolo-tuner[cluster]'.")
    if "does not exist" in cause:
        return MachineError(
            "The cluster does not know the driver's job any more, perhaps because it was restarted since; the study's "
            "folder has driver.log."
        )
    if "401" in cause or "403" in cause or "authent" in cause.lower():
        return MachineError(
            f"The cluster of {where} refuses the token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH, as on the cluster."
        )
    return MachineError(
        f"Ray's Jobs API of {where} does not answer: {cause}; give its address with --cluster http://HEAD:8265."
    )
