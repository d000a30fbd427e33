"""Fill the templates of the pages."""

import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tuner.system.printable import printable
from tuner.team_service.guard import Caller

ASSETS = Path(__file__).parent / "assets"
"""Folder of the files that pages link to."""

MEDIA_TYPES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
"""Those files, with their media types."""


@cache
def _environment() -> Environment:
    # Autoescape for every template: names, owners and messages come from users and trainers.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda text: printable(str(text))
    environment.filters["ago"] = _ago
    environment.filters["metric"] = lambda value: "–" if value is None else f"{value:.4f}"
    return environment


def filled(template: str, caller: Caller | None, values: Mapping[str, Any]) -> str:
    """Return the HTML of a page.

    Args:
        template: Name of the template, without extensions.
        caller: Who sees the page; None before the login.
        values: Other variables of the template.
    """
    return _environment().get_template(f"{template}.html.j2").render(caller=caller, **values)


def _ago(moment: float) -> str:
    """Return the time since a moment in seconds since 1970, such as 1:02:03; a dash if it has not come to that."""
    return str(timedelta(seconds=max(0, round(time.time() - moment)))) if moment else "–"
