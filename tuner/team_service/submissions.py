"""Check what users submit, and put it into the queue."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from tuner.exceptions import UsageError
from tuner.study_queue.entries import Entry, Submission
from tuner.study_queue.table import QueueTable
from tuner.team_service.answers import Problem
from tuner.team_service.data_roots import DataRoots
from tuner.team_service.schema import SpaceRequest, SubmitRequest
from tuner.team_service.space_check import CPU_S, SETTINGS
from tuner.team_service.studies import Studies
from tuner.team_service.users import User

MOST_ACTIVE = 100
"""Maximum number of studies of one user in the queue that are not over."""

_CHECKS_AT_ONCE = 2
_PATIENCE_S = 30.0
"""Maximum time that a check waits for others, and then runs, each, in seconds."""

_PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV")
"""Variables of the environment that a check gets: it needs neither the database nor the token of Ray."""

_OPTIONS = (*SETTINGS, "max_hours", "gpu_hours", "no_improvement")
"""Fields of a request that are options of `tune run` with a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """Result of the check of a request."""

    problems: tuple[Problem, ...]
    """Empty if it can be submitted."""
    warnings: tuple[str, ...]
    estimate: Mapping[str, Any] | None
    data: str = ""
    """Permitted data set, with the links of its path resolved."""
    model: str | None = None
    """Permitted model; None for the one that the data check suggests."""


class Submissions:
    """Check and queue of what users submit."""

    def __init__(self, table: QueueTable, studies: Studies, roots: DataRoots) -> None:
        """Prepare to fill a queue.

        Args:
            table: The queue.
            studies: Studies that exist.
            roots: Files that may be named.
        """
        self._table = table
        self._studies = studies
        self._roots = roots
        self._checks = threading.BoundedSemaphore(_CHECKS_AT_ONCE)
        self._adding = threading.Lock()

    def check(self, request: SpaceRequest, *, is_estimated: bool) -> Checked:
        """Check a space and the files that it and the request name.

        Raises:
            HTTPException: 503 too many checks wait already.
        """
        found = self._space_checked({**request.model_dump(), "is_estimated": is_estimated})
        problems = [Problem(**problem) for problem in found["problems"]]
        given, model = request.data or found["data"], request.model or found["model"]
        data = self._roots.data(given) if given else _NO_DATA
        named = None if model is None else self._roots.model(model)
        if given or not problems:  # the space that cannot be read may name the data
            problems += [each for each in (data, named) if isinstance(each, Problem)]
        problems += _budget_problems(request)
        return Checked(
            problems=tuple(problems),
            warnings=tuple(found["warnings"]),
            estimate=found["estimate"],
            data="" if isinstance(data, Problem) else data,
            model=None if isinstance(named, Problem) else named,
        )

    def submit(self, user: User, request: SubmitRequest, checked: Checked) -> Entry:
        """Queue a study whose check has found no problem.

        Raises:
            HTTPException: 409 the name is taken, or the user has too many studies in the queue.
            StorageError: The database cannot be used.
        """
        submission = Submission(
            study=request.study,
            owner=user.name,
            space_name=request.space_name,
            space=request.space,
            arguments=_arguments(request, checked),
            priority=request.priority,
            most=request.gpus,
        )
        with self._adding:  # between the look at the names and the new entry, no other one of this process
            self._refuse_taken(user, request.study)
            try:
                entry = self._table.add(submission)
            except UsageError as error:
                raise _taken() from error
        self._studies.forget_entries()
        return entry

    def stop(self, name: str) -> Entry:
        """Stop a study.

        Raises:
            HTTPException: 409 it is not in the queue, or over.
            StorageError: The database cannot be used.
        """
        try:
            entry = self._table.stop(name)
        except UsageError as error:
            raise HTTPException(HTTPStatus.CONFLICT, "The study is not in the queue, or has ended already.") from error
        self._studies.forget_entries()
        return entry

    def _refuse_taken(self, user: User, study: str) -> None:
        """Refuse the name of somebody else's study: whoever submits a study again resumes it, and reads its results."""
        owner = self._studies.owner_of(study)
        is_free = owner is None and not self._studies.exists(study)
        if not is_free and not user.may_change(owner):
            raise _taken()
        active = [entry for entry in self._table.entries() if entry.submission.owner == user.name]
        if len(active) >= MOST_ACTIVE:
            text = f"You have {len(active)} studies in the queue, the maximum; stop some, or wait until some end."
            raise HTTPException(HTTPStatus.CONFLICT, text)

    def _space_checked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if not self._checks.acquire(timeout=_PATIENCE_S):
            text = "Too many spaces are being checked; ask again in some seconds."
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
        try:
            return _in_process(request)
        finally:
            self._checks.release()


_NO_DATA = Problem(field="data", text="a data set is required, but neither `data` nor the space names one")


def _in_process(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a check in a process without secrets, which ends after some time whatever the space does."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "tuner.team_service.space_check"]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, env=environment, timeout=_PATIENCE_S
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        text = f"the check took more than {CPU_S} s or too much memory; simplify the space"
        return {"problems": [{"text": text}], "warnings": [], "data": None, "model": None, "estimate": None}
    return found


def _budget_problems(request: SpaceRequest) -> list[Problem]:
    from tuner.decisions.stopping import Budget

    try:
        Budget(hours=request.max_hours, gpu_hours=request.gpu_hours, no_improvement=request.no_improvement)
    except UsageError as error:
        return [Problem(text=str(error))]
    return []


def _arguments(request: SubmitRequest, checked: Checked) -> tuple[str, ...]:
    """Return the arguments of `tune run`. All are of the form --name=value, so no value can become another option."""
    options = [f"--data={checked.data}"]
    if checked.model is not None:
        options.append(f"--model={checked.model}")
    for name in _OPTIONS:
        value = getattr(request, name)
        if value is not None:
            options.append(f"--{name.replace('_', '-')}={value}")
    return (*options, *(() if request.promote else ("--no-promote",)))


def _taken() -> HTTPException:
    text = "This name is taken, by a study of somebody else or by one that is in the queue; choose another."
    return HTTPException(HTTPStatus.CONFLICT, text)
