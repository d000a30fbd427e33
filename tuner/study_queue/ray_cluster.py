"""Run a queue on a Ray cluster: drivers as jobs, and the keeper as an actor that Ray starts again when it is lost."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

from tuner.exceptions import StorageError, StudyLockedError
from tuner.storage.lease import study_lease
from tuner.study_queue.entries import Entry
from tuner.study_queue.keeper import Fate, Keeper
from tuner.study_queue.table import opened_queue, queue_url

logger = logging.getLogger("tuner")

NAMESPACE = "mamba-yolo-tuner"

_KEEPER = "queue-keeper"

_LEASE = "/queue"
"""Name of the keeper's lease, which no study can have."""

_TURN_S = 2.0
_RETRY_S = 5.0


class RayJobs:
    """Drivers as jobs of the cluster that this process is connected to."""

    def __init__(self, client: Callable[[], JobSubmissionClient] = JobSubmissionClient) -> None:
        self._client = client

    def start(self, entry: Entry, job: str) -> None:
        """Start the driver of an entry under the name of a job. If that fails, the job will be found gone."""
        try:
            self._client().submit_job(
                entrypoint=f"python -m tuner.study_queue.driver {entry.number}",
                submission_id=job,
                metadata={"study": entry.submission.study, "owner": entry.submission.owner},
                # Without any demand, all drivers would run on the head, and end with it.
                entrypoint_num_cpus=0.001,
            )
        except Exception as error:  # as below
            logger.warning("the driver of study %s could not be started: %s", entry.submission.study, error)

    def fate(self, job: str) -> Fate:
        """Return what has become of a job."""
        try:
            status = self._client().get_job_status(job)
        except RuntimeError as error:
            return Fate.GONE if "does not exist" in str(error) else Fate.UNKNOWN
        except Exception:  # the client lets through whatever its HTTP library raises
            return Fate.UNKNOWN
        return Fate.GONE if JobStatus(status).is_terminal() else Fate.ALIVE


def devices_of_cluster() -> int:
    """Return the number of GPUs of the cluster, or of CPUs if it has no GPUs."""
    resources = ray.cluster_resources()
    return int(resources.get("GPU", 0) or resources.get("CPU", 0))


class _KeeperActor:
    """The keeper of a queue, in a thread; see `Keeper`."""

    def __init__(self) -> None:
        self._turned_s = 0.0
        self._problem = ""
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def condition(self) -> tuple[float | None, str]:
        """Return the age of the last turn in seconds, None before the first, and the last problem."""
        return (time.monotonic() - self._turned_s if self._turned_s else None), self._problem

    def _keep(self) -> None:
        while True:
            try:
                self._keep_with_lease()
            except StudyLockedError as error:  # the keeper before this one may be dead: the lease will say so
                self._problem = str(error)
            except StorageError as error:
                self._problem = str(error)
            except Exception as error:  # the thread must not end: nobody would keep the queue
                logger.exception("the keeper of the queue failed")
                self._problem = f"internal error, please report: {error!r}"
            time.sleep(_RETRY_S)

    def _keep_with_lease(self) -> None:
        url = queue_url(os.environ)
        with opened_queue(url) as table, study_lease(url, _LEASE) as lease:
            keeper = Keeper(table, RayJobs(), devices_of_cluster)
            while True:
                lease.ensure()
                keeper.turn()
                self._turned_s, self._problem = time.monotonic(), ""
                time.sleep(_TURN_S)


def ensure_keeper() -> Any:
    """Return the keeper of the cluster that this process is connected to; start it if there is none."""
    return (
        ray.remote(_KeeperActor)
        .options(
            name=_KEEPER,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
        )
        .remote()
    )
