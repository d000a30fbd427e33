"""Decide which data sets and models may be submitted: no user of the service may name any other file."""

import re
from collections.abc import Sequence
from pathlib import Path

from tuner.system.printable import printable
from tuner.team_service.answers import Problem

_SAMPLE = re.compile(r"sample(:[a-z0-9-]{1,40})?")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODEL_SUFFIXES = (".pt", ".yaml", ".yml")
_DATA_SUFFIXES = (".yaml", ".yml", ".json")


class DataRoots:
    """Folders below which submitted files must lie."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Permit the files below some folders, which must be given without links."""
        self._roots = tuple(roots)

    def data(self, text: str) -> str | Problem:
        """Return a permitted data set with the links of its path resolved, or why it is not permitted."""
        if _SAMPLE.fullmatch(text):
            return text
        return self._below(text, "data", "`data` must be `sample`", _DATA_SUFFIXES)

    def model(self, text: str) -> str | Problem:
        """Return a permitted model with the links of its path resolved, or why it is not permitted."""
        if _MODEL_NAME.fullmatch(text) and not text.endswith(".pt"):
            return text
        return self._below(text, "model", "`model` must be the name of a model", _MODEL_SUFFIXES)

    def _below(self, text: str, field: str, rule: str, suffixes: Sequence[str]) -> str | Problem:
        """Resolve a path. The answer is the same for a file elsewhere, whether it exists or not."""
        given = printable(text)[:200]
        if not self._roots:
            return Problem(field=field, text=f"{rule}, but got '{given}'; this service has no --data-root for files")
        found = _resolved(text) if text.startswith("/") and printable(text) == text else None
        if found is None or not any(found.is_relative_to(root) for root in self._roots):
            named = ", ".join(map(str, self._roots))
            return Problem(field=field, text=f"{rule}, or an existing absolute path below {named}, but got '{given}'")
        if found.suffix.lower() not in suffixes and not (field == "data" and found.is_dir()):
            text = f"`{field}` must end with {', '.join(suffixes)}, but got '{given}'; name such a file"
            return Problem(field=field, text=text)
        return str(found)


def _resolved(text: str) -> Path | None:
    """Return a path without links and `..`; None if it does not exist."""
    try:
        return Path(text).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle
        return None
