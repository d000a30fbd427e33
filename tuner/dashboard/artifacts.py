"""Offer the files of a study as artifacts; only files in its folder, and the report, which is written on request."""

import hashlib
import io
import mimetypes
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tuner.dashboard.facts import StudyFacts
from tuner.study import TrialRecord

REPORT, PARAMS = "report.html", "params.yaml"
"""Names of artifacts."""
PREVIEW, FINAL_RUN = "preview-", "final-run-"
"""Prefixes of the names of artifacts with the same origin; the dashboard sorts files by name."""

_IMAGES = (".png", ".jpg", ".jpeg")
_TYPES = {".log": "text/plain; charset=utf-8", ".yaml": "text/plain; charset=utf-8"}
"""Types of files that a browser should show and not save."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """File that the dashboard offers."""

    key: str
    """Identifier, hexadecimal digits."""
    name: str
    media_type: str
    open: Callable[[], BinaryIO]
    """Open the content; raises OSError if it is gone."""


def study_artifacts(facts: StudyFacts) -> tuple[Artifact, ...]:
    """Return the artifacts of a study: report, parameters, augmentation sheets, and results of the final run."""
    final_run, root = facts.final_run, facts.paths.root
    offered = [
        _report(facts),
        *_files(facts, [facts.paths.params]),
        *_files(facts, _images(root / "preview"), PREVIEW),
    ]
    if final_run is not None:
        results = [Path(path) for path in (final_run.checkpoint, final_run.log) if path]
        offered += _files(facts, [*results, *_images(Path(final_run.directory))], FINAL_RUN)
    return tuple(offered)


def trial_artifacts(facts: StudyFacts, trial: TrialRecord) -> tuple[Artifact, ...]:
    """Return the artifacts of a trial: its log, its table of results and its arguments."""
    recorded = trial.facts
    files = [Path(recorded.log)] if recorded.log else []
    files += [Path(recorded.directory) / name for name in ("results.csv", "args.yaml")] if recorded.directory else []
    return tuple(_files(facts, files))


def _report(facts: StudyFacts) -> Artifact:
    def written() -> BinaryIO:
        from tuner.report.page.page import render  # a second to import
        from tuner.report.page.study import study_page

        return io.BytesIO(render(study_page(facts, facts.paths)).encode())

    key = _key(facts.name, "report")
    return Artifact(key=key, name=REPORT, media_type="text/html; charset=utf-8", open=written)


def _images(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in _IMAGES)
    except OSError:
        return []


def _files(facts: StudyFacts, files: Iterable[Path], prefix: str = "") -> Iterator[Artifact]:
    """Yield the files that exist in the folder of the study; a database may name any other file."""
    inside = facts.paths.root.resolve()
    for file in files:
        try:
            target = file.resolve()
            if target.is_relative_to(inside) and target.is_file():
                yield _file(facts.name, target, prefix + file.name)
        except (OSError, RuntimeError, ValueError):  # circular links, names that no file system takes
            continue


def _file(study: str, path: Path, name: str) -> Artifact:
    guessed, _ = mimetypes.guess_type(path.name)
    media_type = _TYPES.get(path.suffix, guessed or "application/octet-stream")
    return Artifact(key=_key(study, str(path)), name=name, media_type=media_type, open=lambda: path.open("rb"))


def _key(study: str, text: str) -> str:
    return key_prefix(study) + _digest(text)[:24]


def key_prefix(study: str) -> str:
    """Return the first digits of the keys of a study's artifacts, by which its name is found among hundreds."""
    return _digest(study)[:8]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
