"""Refuse what would change a study, except the notes of users if they may write them."""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tuner.dashboard.access import refused
from tuner.dashboard.catalogue import Catalogue
from tuner.exceptions import TunerError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

READ_ONLY = "This dashboard is read-only."
NOTES_ONLY = "Only notes can be changed here; `tune` and Optuna's own tools change studies."

_NOTE = re.compile(r"/api/studies/(\d+)(?:/(\d+))?/note/?")
_READING = ("GET", "HEAD")
_MAX_BYTES = 1_000_000


def without_changes(app: "WSGIApplication", catalogue: Catalogue, *, is_read_only: bool) -> "WSGIApplication":
    """Answer requests that would change something; only others reach the application."""

    def guarded(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in _READING:
            return app(environ, start_response)
        note = _NOTE.fullmatch(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "PUT" else None
        if is_read_only or note is None:
            return refused(start_response, HTTPStatus.FORBIDDEN, READ_ONLY if is_read_only else NOTES_ONLY)
        study, trial = int(note[1]), None if note[2] is None else int(note[2])
        status, reason = _save(catalogue, study, trial, environ)
        if status != HTTPStatus.NO_CONTENT:
            return refused(start_response, status, reason)
        start_response("204 No Content", [])
        return []

    return guarded


def _save(catalogue: Catalogue, study: int, trial: int | None, environ: "WSGIEnvironment") -> tuple[HTTPStatus, str]:
    """Save the note of a request; return the status of the answer, and the reason of an error."""
    try:
        version, text = _content(environ)
        if not catalogue.save_note(study, trial, version, text):
            return HTTPStatus.CONFLICT, "Another note was saved in the meantime; copy yours and reload the page."
    except ValueError as error:
        return HTTPStatus.BAD_REQUEST, str(error)
    except KeyError:
        return HTTPStatus.NOT_FOUND, "There is no such study or trial."
    except TunerError as error:
        return HTTPStatus.INTERNAL_SERVER_ERROR, str(error)
    return HTTPStatus.NO_CONTENT, ""


def _content(environ: "WSGIEnvironment") -> tuple[int, str]:
    """Return version and text of a note.

    Raises:
        ValueError: The request holds none, or one that is too long.
    """
    size = int(environ.get("CONTENT_LENGTH") or 0)
    if not 0 < size <= _MAX_BYTES:
        raise ValueError(f"A note must have 1 to {_MAX_BYTES:,} bytes, but this one has {size:,}.")
    content: Any = json.loads(environ["wsgi.input"].read(size))
    match content:
        case {"version": int(version), "body": str(text)}:
            return version, text
    raise ValueError("A note must have a version and a body.")
