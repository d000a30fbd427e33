"""Answer the requests of the REST interface, below /api/v1."""

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from tuner.team_service.answers import download, refusal, report
from tuner.team_service.guard import Caller
from tuner.team_service.schema import (
    BestAnswer,
    CheckAnswer,
    FailureAnswer,
    QueueAnswer,
    SpaceRequest,
    StudiesAnswer,
    StudyAnswer,
    SubmitRequest,
    UserAnswer,
)
from tuner.team_service.service import Client, Served, Service
from tuner.team_service.streams import stream
from tuner.team_service.studies import MOST_COMPARED, Row


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": FailureAnswer} for status in (401, 403, 429, 503, *statuses)}


_BODY = (400, 408, 413, 422)
"""Failures of requests with a body."""


router = APIRouter(prefix="/api/v1", responses=_failures())

Compared = Annotated[list[str], Query(min_length=2, max_length=MOST_COMPARED, description="Names of the studies.")]


@router.get("/me")
def me(caller: Client) -> UserAnswer:
    """Return who the token belongs to."""
    return UserAnswer(name=caller.user.name, role=caller.user.role)


@router.get("/studies", response_model=StudiesAnswer)
def studies(service: Served, caller: Client) -> Any:
    """List the studies that you may see: first those that are not over, then by name."""
    rows = [row.described() for row in service.studies.rows(caller.user)]
    return {"studies": list(map(_plain, rows)), "notice": service.notice}


@router.post("/studies", status_code=HTTPStatus.CREATED, responses=_failures(409, *_BODY), response_model=QueueAnswer)
def submit(wish: SubmitRequest, service: Served, caller: Client) -> Any:
    """Queue a study. Your name becomes its owner."""
    return submitted(service, caller, wish)


@router.get("/studies/{name}", responses=_failures(404), response_model=StudyAnswer)
def study(name: str, service: Served, caller: Client) -> Any:
    """Return one study, with what `tune status --json` prints."""
    row = service.studies.row(caller.user, name)
    return {**_plain(row.described()), "status": service.results.status(row)}


@router.post("/studies/{name}/stop", responses=_failures(404, 409, *_BODY), response_model=QueueAnswer)
def stop(name: str, service: Served, caller: Client) -> Any:
    """Stop a study. Its trials keep their checkpoints; submit it again to resume it."""
    return stopped(service, caller, name)


@router.get(
    "/studies/{name}/events",
    responses={**_failures(404), 200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}},
    response_class=StreamingResponse,
)
async def events(name: str, request: Request, service: Served, caller: Client) -> Response:
    """Follow a study: events `state`, `epochs`, `best` and `end`. Send `Last-Event-ID` to resume."""
    return await stream(service, caller, name, request.headers.get("last-event-id", ""))


@router.get("/studies/{name}/best", responses=_failures(404), response_model=BestAnswer)
def best(name: str, service: Served, caller: Client) -> Any:
    """Return the winner and its parameters."""
    return service.results.best(service.studies.row(caller.user, name))


@router.get(
    "/studies/{name}/params.yaml",
    responses={**_failures(404), 200: {"content": {"application/yaml": {}}, "description": "The file."}},
    response_class=Response,
)
def params(name: str, service: Served, caller: Client) -> Response:
    """Return the winner's parameters for `tune train --params` and `yolo train cfg=`."""
    text = service.results.params(service.studies.row(caller.user, name))
    return download(text, "params.yaml", "application/yaml")


@router.get(
    "/studies/{name}/report",
    responses={**_failures(404), 200: {"content": {"text/html": {}}, "description": "The page."}},
    response_class=Response,
)
def study_report(name: str, service: Served, caller: Client) -> Response:
    """Return the report of a study as one HTML page."""
    return report(service.results.report(service.studies.row(caller.user, name)))


@router.post("/spaces/check", responses=_failures(*_BODY), response_model=CheckAnswer)
def check(wish: SpaceRequest, service: Served, caller: Client) -> Any:
    """Check a space without queueing it, and estimate the cost of its search."""
    service.guard.require(caller, "check a space", is_allowed=caller.user.may_submit)
    service.guard.count_check(caller)
    found = service.submissions.check(wish, is_estimated=True)
    return {
        "problems": list(map(asdict, found.problems)), "warnings": found.warnings, "estimate": found.estimate
    }  # fmt: skip


@router.get("/compare", responses=_failures(404, 422))
def compare(study: Compared, service: Served, caller: Client) -> dict[str, Any]:
    """Compare 2 to 10 studies: what `tune compare --json` prints."""
    return service.results.comparison(compared_rows(service, caller, study))


def submitted(service: Service, caller: Caller, wish: SubmitRequest) -> Response | Mapping[str, Any]:
    """Queue a study, for the REST interface and for pages; return its entry, or the answer about its problems.

    Raises:
        HTTPException: 403 by role, 409 the name is taken, 503 too much to check.
    """
    service.guard.require(caller, "submit", wish.study, is_allowed=caller.user.may_submit)
    service.guard.count_check(caller)
    checked = service.submissions.check(wish, is_estimated=False)
    if checked.problems:
        text = "The study cannot be queued; each problem has a line of the space, or a field."
        return refusal(HTTPStatus.UNPROCESSABLE_ENTITY, text, problems=checked.problems)
    entry = service.submissions.submit(caller.user, wish, checked)
    service.guard.note(caller, "submit", wish.study)
    return entry.described()


def stopped(service: Service, caller: Caller, name: str) -> Mapping[str, Any]:
    """Stop a study, for the REST interface and for pages; return its entry.

    Raises:
        HTTPException: 403 by role or owner, 404 there is none, 409 it is over.
    """
    row = service.studies.row(caller.user, name)
    service.guard.require(caller, "stop a study", name, is_allowed=caller.user.may_change(row.owner))
    entry = service.submissions.stop(name)
    service.guard.note(caller, "stop", name)
    return entry.described()


def compared_rows(service: Service, caller: Caller, names: list[str]) -> list[Row]:
    """Return the studies to compare.

    Raises:
        HTTPException: 404 one does not exist or has no record, 422 one is named twice.
    """
    if len(set(names)) < len(names):
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "Each study may be named once; omit the others.")
    return [service.studies.row(caller.user, name) for name in names]


def _plain(described: dict[str, Any]) -> dict[str, Any]:
    progress = described["progress"]
    return {**described, "progress": None if progress is None else asdict(progress)}
