"""Form the answers about failures, and the headers of all answers."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of the service's own pages: they contain neither scripts nor styles, but link to them."""

REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'self'"
)
"""Policy of reports, which contain their scripts: a browser gives them no origin, so they reach neither the cookie nor
the service, and no other host."""

API_POLICY = "default-src 'none'; frame-ancestors 'none'"

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": API_POLICY,
}

RETRY_S = 5
"""Time after which a client should ask again when the database is away, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with what was sent."""

    text: str
    line: int | None = None
    """1-based line of the space; None if it is not about a line."""
    field: str = ""
    """Field of the request; empty if it is about the space."""


def refusal(
    status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None, problems: Sequence[Problem] = ()
) -> JSONResponse:
    """Return the answer of the REST interface about a failure."""
    content: dict[str, Any] = {"error": text, "problems": [asdict(problem) for problem in problems]}
    return JSONResponse(content, status.value, dict(headers or {}))


def page(html: str, status: int = 200) -> HTMLResponse:
    """Return one of the service's own pages."""
    return HTMLResponse(html, status, {"Content-Security-Policy": PAGE_POLICY})


def report(html: str) -> HTMLResponse:
    """Return a report, isolated from the service."""
    return HTMLResponse(html, headers={"Content-Security-Policy": REPORT_POLICY})


def download(content: str, name: str, media_type: str) -> Response:
    """Return a file for the disk."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)


class SafeHeaders:
    """Middleware that adds the headers that every answer needs, unless it has them."""

    def __init__(self, app: "ASGIApp") -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request with the headers added."""

        async def sent(message: "Message") -> None:
            if message["type"] == "http.response.start":
                _complete(message)
            await send(message)

        await self._app(scope, receive, sent)


def _complete(message: MutableMapping[str, Any]) -> None:
    known = {name.lower() for name, _ in message["headers"]}
    added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
    message["headers"] = [*message["headers"], *((name, value) for name, value in added if name not in known)]
