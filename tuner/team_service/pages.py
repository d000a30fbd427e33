"""Answer the requests of browsers with pages."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tuner.space import SHIPPED_SPACES
from tuner.team_service.answers import Problem, page, report
from tuner.team_service.api import Compared, compared_rows, stopped
from tuner.team_service.forms import fields_of, submit_request
from tuner.team_service.guard import Caller, address_of, cookie_name, is_encrypted, local_path, refuse_other_sites
from tuner.team_service.schema import SubmitRequest
from tuner.team_service.service import Reader, Served, Service
from tuner.team_service.sessions import SESSION_S
from tuner.team_service.studies import MOST_COMPARED
from tuner.team_service.submissions import Checked
from tuner.team_service.templates import ASSETS, MEDIA_TYPES, filled

router = APIRouter(include_in_schema=False, default_response_class=Response)

Fields = Annotated[dict[str, str], Depends(fields_of)]

_MOST_TRIALS = 200
"""Trials in the table of a study's page; the report has all."""


def _checked_fields(service: Served, caller: Reader, fields: Fields) -> dict[str, str]:
    service.guard.require_form_key(caller, fields.get("csrf", ""))
    return fields


Form = Annotated[dict[str, str], Depends(_checked_fields)]
"""Fields of a form that one of our own pages has sent."""


@router.get("/assets/{name}")
def asset(name: str) -> Response:
    """Return a file that pages link to."""
    if name not in MEDIA_TYPES:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such file.")
    return FileResponse(ASSETS / name, media_type=MEDIA_TYPES[name], headers={"Cache-Control": "max-age=300"})


@router.get("/login")
def login_page(request: Request) -> Response:
    """Ask for a token."""
    return page(filled("login", None, {"next": local_path(request.query_params.get("next", "/")), "problem": ""}))


@router.post("/login")
async def log_in(request: Request, service: Served, fields: Fields) -> Response:
    """Open a session for a token, and set its cookie."""
    refuse_other_sites(request)
    target = local_path(fields.get("next", "/"))
    try:
        token = await run_in_threadpool(service.guard.token, fields.get("token", "").strip(), address_of(request))
    except HTTPException as error:
        return page(filled("login", None, {"next": target, "problem": error.detail}), error.status_code)
    cookie = await run_in_threadpool(service.accounts.sessions.open, token.number)
    caller = Caller(user=token.user, token=token.number, address=address_of(request), cookie=cookie)
    await run_in_threadpool(service.guard.note, caller, "log in")
    answer = RedirectResponse(target, HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        cookie_name(request),
        cookie,
        max_age=int(SESSION_S),
        secure=is_encrypted(request),
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
def log_out(request: Request, service: Served, caller: Reader, form: Form) -> Response:
    """End a session."""
    if caller.cookie is not None:
        service.accounts.sessions.close(caller.cookie)
    service.guard.note(caller, "log out")
    answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(cookie_name(request), secure=is_encrypted(request), httponly=True, samesite="strict")
    return answer


@router.get("/")
def studies(service: Served, caller: Reader) -> Response:
    """List the studies."""
    return _page(service, caller, "studies", rows=service.studies.rows(caller.user), notice=service.notice)


@router.get("/studies/{name}")
def study(name: str, service: Served, caller: Reader) -> Response:
    """Show one study."""
    row = service.studies.row(caller.user, name)
    status = service.results.status(row)
    trials = [] if status is None else status["trials"]
    return _page(
        service,
        caller,
        "study",
        row=row,
        status=status,
        trials=trials[-_MOST_TRIALS:][::-1],
        hidden=max(0, len(trials) - _MOST_TRIALS),
        may_stop=not row.is_over and row.entry is not None and caller.user.may_change(row.owner),
        notice=service.notice if row.state == "queued" else "",
    )


@router.post("/studies/{name}/stop")
def stop(name: str, service: Served, caller: Reader, form: Form) -> Response:
    """Stop a study, and show it."""
    stopped(service, caller, name)
    return RedirectResponse(f"/studies/{name}", HTTPStatus.SEE_OTHER)


@router.get("/submit")
def submit_page(
    service: Served, caller: Reader, shipped: Annotated[str, Query(alias="from", max_length=64)] = ""
) -> Response:
    """Show the form for a study, with the text of a shipped space if one is named."""
    service.guard.require(caller, "submit", is_allowed=caller.user.may_submit)
    text = _SHIPPED[shipped].read_text(encoding="utf-8") if shipped in _SHIPPED else ""
    fields = {"space": text, "space_name": shipped if text else "space", "promote": "on"}
    return _submit_page(service, caller, fields, None, [])


@router.post("/submit")
def submit(service: Served, caller: Reader, form: Form) -> Response:
    """Check the space of a form, or queue its study."""
    service.guard.require(caller, "submit", form.get("study", ""), is_allowed=caller.user.may_submit)
    wish = submit_request({"study": "unnamed", **form} if form.get("action") == "check" else form)
    if not isinstance(wish, SubmitRequest):
        return _submit_page(service, caller, form, None, wish)
    is_check = form.get("action") == "check"
    service.guard.count_check(caller)
    checked = service.submissions.check(wish, is_estimated=is_check)
    if is_check or checked.problems:
        return _submit_page(service, caller, form, checked, list(checked.problems))
    try:
        service.submissions.submit(caller.user, wish, checked)
    except HTTPException as error:
        return _submit_page(service, caller, form, None, [Problem(field="study", text=error.detail)])
    service.guard.note(caller, "submit", wish.study)
    return RedirectResponse(f"/studies/{wish.study}", HTTPStatus.SEE_OTHER)


@router.get("/compare")
def compare(
    service: Served,
    caller: Reader,
    study: Annotated[list[str], Query(max_length=MOST_COMPARED)] = [],  # noqa: B006
) -> Response:
    """Let the user choose studies, and show their comparison."""
    rows = [row for row in service.studies.rows(caller.user) if row.progress is not None and not row.progress.problem]
    chosen = [row.name for row in rows if row.name in study]
    query = urlencode([("study", name) for name in chosen]) if len(chosen) > 1 else ""
    return _page(service, caller, "compare", rows=rows, chosen=chosen, query=query)


@router.get("/compare/report")
def comparison(service: Served, caller: Reader, study: Compared) -> Response:
    """Return the page of a comparison."""
    return report(service.results.comparison_page(compared_rows(service, caller, study)))


_SHIPPED = {file.stem: file for file in sorted(SHIPPED_SPACES.glob("*.yaml"))}


def _submit_page(
    service: Service, caller: Caller, fields: dict[str, str], checked: Checked | None, problems: list[Problem]
) -> Response:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problems else HTTPStatus.OK
    roots = [str(root) for root in service.settings.data_roots]
    values: dict[str, Any] = {"fields": fields, "checked": checked, "problems": problems, "shipped": list(_SHIPPED)}
    return _page(service, caller, "submit", status, roots=roots, **values)


def _page(service: Service, caller: Caller, template: str, code: int = 200, **values: Any) -> Response:
    common = {"shows_dashboard": service.shows_dashboard(caller)}
    return page(filled(template, caller, {**common, **values}), code)


def failure_page(status: int, text: str) -> Response:
    """Return a page about a failure."""
    return page(filled("failure", None, {"status": status, "text": text}), status)
