"""`python -m trainer preview`: contact sheets of augmented training pictures, one for each configuration."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data import dataset
from trainer.data.drawing import contact_sheet
from trainer.data.drawing.boxes import label_of
from trainer.data.drawing.text import on_one_line
from trainer.data.sample import sample
from trainer.exceptions import DataError, TrainerError
from trainer.system import atomic_files
from trainer.ultralytics_bridge import environment
from tuner.contract import Outcome, Params


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRequest:
    """What to draw, and where to write it."""

    data: str
    """As in a `PrepareRequest`."""
    directory: str
    """Absolute; made where it is missing."""
    settings: tuple[Mapping[str, Any], ...]
    """Of each sheet: `name`, the file's without its suffix; `title`, its heading; `params`, as in a `TrainRequest`."""
    pictures: int
    draws: int
    seed: int


def answer(line: str) -> str:
    """One line of JSON for one: `outcome`, `message`, `files` (absolute paths) and `notes`.

    The outcome is `bad_data` where the data set is at fault, and `error` where the machine or the folder is.
    """
    body = json.loads(line)
    request = PreviewRequest(**{**body, "settings": tuple(body["settings"])})
    written: list[str] = []
    notes: dict[str, list[str]] = {}
    outcome, message = Outcome.COMPLETED, ""
    try:
        for path, found in _sheets(request):
            written.append(str(path))
            for note in found:
                notes.setdefault(note, []).append(path.stem)
    except DataError as error:
        outcome, message = Outcome.BAD_DATA, str(error)
    except _MachineError as error:
        outcome, message = Outcome.ERROR, str(error)
    told = [f"{', '.join(sheets)}: {note}" for note, sheets in notes.items()]
    return json.dumps({"outcome": outcome, "message": message, "files": written, "notes": told})


class _MachineError(TrainerError):
    """The folder cannot be written, or ultralytics must not be imported; the message is for the user."""


def _sheets(request: PreviewRequest) -> Iterator[tuple[Path, list[str]]]:
    """Each file that was written, and what the user should know beside it."""
    found = dataset.resolve(sample.located(request.data))
    folder = Path(request.directory)
    dataset.check_target(found, folder / "sheet.jpg")
    _write(folder / ".writable", b"")
    (folder / ".writable").unlink()
    if malware := environment.known_malware():
        raise _MachineError(malware)
    with tempfile.TemporaryDirectory(prefix="trainer-preview-") as resolved:
        data = dataset.write_resolved(found, Path(resolved) / "data.yaml")
        environment.configure()
        from trainer.ultralytics_bridge.preview import Preview  # imports torch: seconds

        preview = Preview(data, pictures=request.pictures, draws=request.draws, seed=request.seed)
        for setting in request.settings:
            params: Params = setting["params"]
            sheet = preview.sheet(setting["title"], params)
            path = folder / f"{setting['name']}.jpg"
            _write(path, contact_sheet.jpeg(sheet))
            yield path, [*sheet.notes, *_unwritten_names(sheet)]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write(path, content)
    except OSError as error:
        raise _MachineError(
            f"The sheets need a folder that can be written, but '{path.parent}' cannot ({error.strerror or error}); "
            "choose another with --out."
        ) from error


def _unwritten_names(sheet: contact_sheet.Sheet) -> Iterator[str]:
    """What the numbers on a sheet stand for."""
    for class_id in sorted({class_id for row in sheet.rows for cell in row.cells for class_id in cell.classes}):
        if label_of(class_id, sheet.names) != on_one_line(name := sheet.names[class_id]):
            yield f"class {class_id} is {name}, which no font on this machine can write"
