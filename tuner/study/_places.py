"""Store paths inside the study's folder relative to it, so that the folder can be moved."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tuner.contract import PreparedRecord
from tuner.exceptions import MachineError
from tuner.study._records import StudySpec

_HERE = "./"
"""Prefix of a path relative to the study's folder; no trainer and no user writes paths like this."""

_FACTS = ("directory", "log", "checkpoint", "data_source", "model_source", "portable_model", "sources")
"""Facts that hold one or more paths."""

_RENEWED = ("model", "model_source", "portable_model", "model_sha256", "data", "data_source", "sources")
"""Fields that each start updates: current paths and names of the data set and the model."""


def kept(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return facts as they are written to the record of the study in this folder."""

    def relative(place: str) -> str:
        for root in (folder, folder.resolve()):
            if Path(place).is_absolute() and Path(place).is_relative_to(root):
                return f"{_HERE}{Path(place).relative_to(root)}"
        return place

    return {name: _each(fact, relative) if name in _FACTS else fact for name, fact in facts.items()}


def found(facts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return facts of the record with absolute paths, for a study in this folder."""
    root = "" if folder == Path() else f"{folder}/"  # text, because paths take most of the time in large studies

    def absolute(place: str) -> str:
        if not place.startswith(_HERE):
            return place
        return str(folder) if place == f"{_HERE}." else root + place[len(_HERE) :]

    return {**facts, **{name: _each(facts[name], absolute) for name in _FACTS if name in facts}}


def _each(fact: Any, change: Any) -> Any:
    if isinstance(fact, str):
        return change(fact)
    return tuple(change(place) for place in fact) if isinstance(fact, list | tuple) else fact


def renewed(spec: StudySpec, now: StudySpec) -> StudySpec:
    """Return a study's spec with the paths and names of another spec with the same content."""
    return replace(spec, **{name: value for name, value in asdict(now).items() if name in _RENEWED})


def content_changes(spec: StudySpec, prepared: PreparedRecord, *, data: str, model: str) -> list[str]:
    """Describe how the content of the data set and model differs from the study's, one text per difference.

    Different paths alone are not a difference.

    Args:
        spec: Spec of the study.
        prepared: Data set and model as the trainer prepared them now.
        data: Data set as the user named it now.
        model: Model as the user named it now.
    """
    changes = []
    if not (spec.model_sha256 and prepared.model_sha256):
        if spec.model_source != prepared.model:
            changes.append(f"model {spec.model_source} -> {prepared.model}")
    elif spec.model_sha256 != prepared.model_sha256:
        changes.append(_change("model", spec.model, spec.model_sha256, model, prepared.model_sha256))
    if spec.data_sha256 != prepared.data_sha256:
        changes.append(_change("data set", spec.data, spec.data_sha256, data, prepared.data_sha256))
    elif spec.num_classes != prepared.num_classes:
        changes.append(f"classes of the data set {spec.num_classes} -> {prepared.num_classes}")
    return changes


def _change(what: str, was: str, sha_was: str, now: str, sha_now: str) -> str:
    if was != now:
        return f"{what} {was} (sha256 {sha_was[:12]}) -> {now} ({sha_now[:12]})"
    return f"content of the {what} {now} (sha256 {sha_was[:12]} -> {sha_now[:12]})"


def place_problem(sources: Sequence[str]) -> MachineError | None:
    """Return the error to raise if a file that trials read is missing; None if all exist."""
    missing = next((source for source in sources if not Path(source).exists()), None)
    if missing is None:
        return None
    return MachineError(
        f"The run stopped cleanly: '{missing}', which trials read, does not exist any more. Restore it, or give its "
        "new path with --data or --model; the same command resumes the run."
    )
