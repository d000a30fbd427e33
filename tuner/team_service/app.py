"""Put the routes, the middleware and the answers about failures together."""

import asyncio
import logging
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from urllib.parse import urlencode

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse

from tuner import __version__
from tuner.exceptions import NoSuccessfulTrialError, StorageError, TunerError
from tuner.system.printable import printable
from tuner.team_service import api, pages
from tuner.team_service.answers import RETRY_S, SafeHeaders, refusal
from tuner.team_service.dashboard import PATHS
from tuner.team_service.forms import problem_of
from tuner.team_service.limits import BodyLimit
from tuner.team_service.service import Reader, Served, Service

logger = logging.getLogger("tuner.team_service")

_HEALTH_S = 4.0
"""Time in which the database must answer for the service to be healthy, in seconds."""

_FOR_PROGRAMS = ("/api/", "/static/", "/csv/", "/artifacts/", "/assets/", "/healthz")
"""Paths whose failures are answered in JSON; the others are pages."""


def application(service: Service) -> FastAPI:
    """Return the application of a service."""
    app = FastAPI(
        title="mamba-yolo-tuner",
        version=__version__,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its page loads scripts from another host
        redoc_url=None,
    )
    app.state.service = service
    app.add_api_route("/healthz", health, include_in_schema=False)
    app.include_router(api.router)
    app.include_router(pages.router)
    for path in PATHS:  # after the others, which they would hide
        app.add_api_route(path, dashboard, methods=["GET", "HEAD", "POST", "PUT", "DELETE"], include_in_schema=False)
    app.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(TunerError, _failed)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(BodyLimit)
    app.add_middleware(SafeHeaders)
    return app


async def health(service: Served) -> Response:
    """Report whether the database answers; nobody needs to log in for this."""
    try:
        asked = to_thread.run_sync(service.accounts.tokens.has_valid, abandon_on_cancel=True, limiter=_health_limiter())
        await asyncio.wait_for(asked, _HEALTH_S)
    except (StorageError, TimeoutError):
        return JSONResponse({"database": "away"}, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_S)})
    return JSONResponse({"database": "answers"})


@cache
def _health_limiter() -> CapacityLimiter:
    """Return threads of their own: requests that wait for the database must not make it look away."""
    return CapacityLimiter(2)


async def dashboard(request: Request, service: Served, caller: Reader) -> Response:
    """Answer for Optuna's dashboard."""
    if request.url.path.startswith("/api/v1/") or not service.shows_dashboard(caller):
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such page.")
    return await service.dashboard.answer(request)


def _answer(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer about a failure: JSON for programs, a page for people."""
    if request.url.path.startswith(_FOR_PROGRAMS):
        return refusal(HTTPStatus(status), text, headers)
    if status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        target = urlencode({"next": request.url.path}) if request.url.path != "/" else ""
        return RedirectResponse(f"/login?{target}" if target else "/login", HTTPStatus.SEE_OTHER)
    answer = pages.failure_page(status, text)
    answer.headers.update(headers or {})
    return answer


async def _refused(request: Request, error: HTTPException) -> Response:
    text = "There is no such page." if error.detail == "Not Found" else str(error.detail)
    return _answer(request, error.status_code, text, error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    if not request.url.path.startswith(_FOR_PROGRAMS):
        return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, "The address of this page is not complete.")
    problems = [problem_of(each) for each in error.errors()[:20]]
    return refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The request breaks rules; each problem has a field.", None, problems
    )


async def _failed(request: Request, error: TunerError) -> Response:
    """Answer about an error of ours without its text, which may name machines, unless it is about results."""
    if isinstance(error, NoSuccessfulTrialError):
        return _answer(request, HTTPStatus.NOT_FOUND, str(error))
    logger.warning("%s %s: %s", request.method, printable(request.url.path), printable(str(error)))
    if isinstance(error, StorageError):
        text = "The database does not answer; ask again in some seconds."
        return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": str(RETRY_S)})
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "The request failed; the log of the service says why.")


async def _broken(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, printable(request.url.path), exc_info=error)
    return _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; the log of the service says where.")
