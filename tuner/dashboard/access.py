"""Decide which requests reach the dashboard: the right host, the password, and nothing that changes a study."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "same-origin"),
)
_ARTIFACT_HEADERS = (
    # A page among the artifacts may run its scripts, but not as this site.
    ("Content-Security-Policy", "sandbox allow-scripts allow-popups allow-downloads"),
)


def protected(app: "WSGIApplication", password: str | None) -> "WSGIApplication":
    """Let only permitted requests reach an application that changes nothing.

    Without a password, requests must name this machine as their host. Otherwise a page of another site, whose name
    suddenly means 127.0.0.1 (DNS rebinding), could read the studies through the user's browser.

    Args:
        app: Application.
        password: Password of every request; None for none, which only a server for this machine can afford.
    """

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if password is None and _host(environ) not in LOCAL_NAMES:
            return refused(start_response, HTTPStatus.FORBIDDEN, "This dashboard answers to localhost only.")
        if password is not None and not _has_password(environ, password):
            asked = ("WWW-Authenticate", 'Basic realm="tune dashboard", charset="UTF-8"')
            return refused(start_response, HTTPStatus.UNAUTHORIZED, "A password is required.", asked)
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # Optuna's dashboard fails without it
        return app(environ, _with_headers(start_response, is_artifact=environ["PATH_INFO"].startswith("/artifacts/")))

    return guarded


def refused(
    start_response: "StartResponse", status: HTTPStatus, reason: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    """Answer with an error in the form that Optuna's dashboard shows to its user."""
    body = json.dumps({"reason": reason}).encode()
    sized = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", [*sized, *_HEADERS, *headers])
    return [body]


def _host(environ: "WSGIEnvironment") -> str:
    try:
        return urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""
    except ValueError:
        return ""


def _has_password(environ: "WSGIEnvironment", password: str) -> bool:
    """Check the password of Basic authentication with any user name, in a time that does not depend on it."""
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, _, given = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return False
    digests = (hashlib.sha256(each).digest() for each in (given, password.encode()))
    return hmac.compare_digest(*digests)


def _with_headers(start_response: "StartResponse", *, is_artifact: bool) -> "Callable[..., Any]":
    """Add headers to a response, and remove the permission for other sites to read it."""

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        kept = [(name, value) for name, value in headers if name.lower() != "access-control-allow-origin"]
        return start_response(status, [*kept, *_HEADERS, *(_ARTIFACT_HEADERS if is_artifact else ())], *rest)

    return start
