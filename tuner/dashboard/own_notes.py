"""Keep the notes that users write in the dashboard, apart from the text that tune writes.

They are stored in the study's database, where Optuna's dashboard stores notes, so other programs show them too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage

MARK = "#### Own notes"
LINE = f"{MARK} (what is written below this line is kept)"
"""Heading between the text of tune and that of users."""

_NAME = re.compile(r"dashboard:(?:(\d+):)?note_(?:ver|str:(\d+))")
_CHUNK = 2045
"""Characters of a note in one attribute: MySQL's limit, which Optuna's dashboard keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnNote:
    """Note that users wrote."""

    version: int = 0
    """Number of times that it was saved."""
    text: str = ""


NO_NOTE = OwnNote()


def is_note(name: str) -> bool:
    """Check whether an attribute of a study holds a part of a note."""
    return _NAME.fullmatch(name) is not None


def own_notes(attributes: Mapping[str, Any]) -> dict[int | None, OwnNote]:
    """Return the notes among the system attributes of a study by Optuna's number of the trial; None for the study."""
    versions: dict[int | None, int] = {}
    chunks: dict[int | None, dict[int, str]] = {}
    for name, value in attributes.items():
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        trial = None if found[1] is None else int(found[1])
        if found[2] is None:
            versions[trial] = int(value)
        else:
            chunks.setdefault(trial, {})[int(found[2])] = str(value)
    texts = {trial: "".join(chunks.get(trial, {})[n] for n in sorted(chunks.get(trial, {}))) for trial in versions}
    return {trial: OwnNote(version=version, text=texts[trial]) for trial, version in versions.items()}


def combined(generated: str, own: OwnNote) -> str:
    """Return the note that the dashboard shows: the text of tune, and that of users below it."""
    return f"{generated}\n\n{LINE}\n\n{own.text}"


def own_part(shown: str) -> str:
    """Return what users wrote in a note that the dashboard shows; all of it if they removed the heading."""
    _, mark, below = shown.partition(MARK)
    return below.partition("\n")[2].strip() if mark else shown.strip()


def save(storage: BaseStorage, study: int, trial: int | None, note: OwnNote) -> None:
    """Store a note, in the form of Optuna's dashboard.

    Args:
        storage: Storage of the study.
        study: Optuna's number of the study.
        trial: Optuna's number of the trial; None for a note on the study.
        note: Note with its new version.
    """
    prefix = "dashboard:" if trial is None else f"dashboard:{trial}:"
    before = sum(name.startswith(f"{prefix}note_str:") for name in storage.get_study_system_attrs(study))
    parts = [note.text[start : start + _CHUNK] for start in range(0, len(note.text), _CHUNK)]
    parts += [""] * (before - len(parts))  # attributes cannot be removed
    for number, part in enumerate(parts):
        storage.set_study_system_attr(study, f"{prefix}note_str:{number}", part)
    storage.set_study_system_attr(study, f"{prefix}note_ver", note.version)
