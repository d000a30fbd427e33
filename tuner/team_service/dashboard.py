"""Answer the requests of Optuna's dashboard behind the login of the service."""

import base64
import io
import secrets
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from tuner.dashboard.catalogue import Catalogue
from tuner.dashboard.server import application
from tuner.team_service.settings import ServiceSettings

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

PATHS = ("/dashboard", "/dashboard/{rest:path}", "/api/{rest:path}", "/csv/{rest:path}", "/static/{rest:path}",
         "/artifacts/{rest:path}", "/favicon.ico")  # fmt: skip
"""Paths of the dashboard, which knows no other place than the top of a site."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of its pages: only its own script, which is a file of the package."""


class Dashboard:
    """The dashboard as a WSGI application that only this process can use, read-only for everybody."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Prepare to show the studies of the settings."""
        password = secrets.token_urlsafe()
        self._key = "Basic " + base64.b64encode(f"service:{password}".encode()).decode()
        self._settings = settings
        self._password = password
        self._app: WSGIApplication | None = None

    async def answer(self, request: Request) -> StreamingResponse:
        """Answer a request, whose caller is known and permitted; cookie and token are not passed on."""
        environ = _environ(request, await request.body(), self._key)
        status, headers, content = await run_in_threadpool(self._called, environ)
        response = StreamingResponse(iterate_in_threadpool(content), status)
        has_policy = any(name.lower() == "content-security-policy" for name, _ in headers)
        added = [] if has_policy else [("Content-Security-Policy", _POLICY)]
        response.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (*headers, *added)
        ]
        return response

    def _called(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], Iterator[bytes]]:
        if self._app is None:
            catalogue = Catalogue(self._settings.home, self._settings.storage)
            self._app = application(catalogue, self._password, is_read_only=True)
        told: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            told[:] = [int(status.split()[0]), headers]

        content = iter(_closing(self._app(environ, start)))
        first = next(content, b"")  # an application may start its answer with its content
        return told[0], told[1], _chained(first, content)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _closing(content: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from content
    finally:
        close = getattr(content, "close", None)
        if close is not None:
            close()


def _environ(request: Request, body: bytes, key: str) -> dict[str, Any]:
    """Return a request in the form of WSGI (PEP 3333)."""
    scope = request.scope
    host, port = request.url.hostname or "localhost", request.url.port or (443 if request.url.scheme == "https" else 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "HTTP_AUTHORIZATION": key,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name in ("host", "accept", "accept-encoding", "if-modified-since", "range"):
        if name in request.headers:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = request.headers[name]
    return environ
