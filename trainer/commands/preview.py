"""Draw contact sheets of augmented training images, one per configuration."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.data.dataset_writer import check_target, write_resolved
from trainer.data.drawing import contact_sheet
from trainer.data.drawing.boxes import label_of
from trainer.data.drawing.text import on_one_line
from trainer.data.opening import opened
from trainer.exceptions import DataError, TrainerError
from trainer.system import atomic_files
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, Outcome, PreviewRecord, PreviewRequest, Record


def run(request: PreviewRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Draw the sheets; the outcome is `bad_data` for an invalid data set, `error` for a machine or folder problem."""
    written: list[str] = []
    notes: dict[str, list[str]] = {}
    try:
        for path, found in _sheets(request):
            written.append(str(path))
            for note in found:
                notes.setdefault(note, []).append(path.stem)
    except DataError as error:
        return EndRecord(outcome=Outcome.BAD_DATA, message=str(error))
    except _MachineError as error:
        return EndRecord(outcome=Outcome.ERROR, message=str(error))
    told = tuple(f"{', '.join(sheets)}: {note}" for note, sheets in notes.items())
    emit(PreviewRecord(files=tuple(written), notes=told))
    return EndRecord(outcome=Outcome.COMPLETED)


class _MachineError(TrainerError):
    """The folder cannot be written, or ultralytics must not be imported; the message is for the user."""


def _sheets(request: PreviewRequest) -> Iterator[tuple[Path, list[str]]]:
    """Yield each written file with its notes for the user."""
    found = opened(request.data)
    folder = Path(request.out)
    check_target(found, folder / "sheet.jpg")
    _write(folder / ".writable", b"")
    (folder / ".writable").unlink()
    if malware := environment.known_malware():
        raise _MachineError(malware)
    with tempfile.TemporaryDirectory(prefix="trainer-preview-") as resolved:
        data = write_resolved(found, Path(resolved) / "data.yaml")
        environment.configure()
        from trainer.ultralytics_bridge.preview import Preview  # imports torch, which takes seconds

        preview = Preview(data, images=request.images, draws=request.draws, seed=request.seed)
        for settings in request.sheets:
            sheet = preview.sheet(settings.title, settings.params)
            path = folder / f"{settings.name}.jpg"
            _write(path, contact_sheet.jpeg(sheet))
            yield path, [*sheet.notes, *_unwritten_names(sheet)]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_whole(path, content)
    except OSError as error:
        raise _MachineError(
            f"the folder '{path.parent}' cannot be written ({error.strerror or error}); choose another with --out."
        ) from error


def _unwritten_names(sheet: contact_sheet.Sheet) -> Iterator[str]:
    """Yield a note for each class that a sheet shows by its number."""
    for class_id in sorted({class_id for row in sheet.rows for cell in row.cells for class_id in cell.classes}):
        if label_of(class_id, sheet.names) != on_one_line(name := sheet.names[class_id]):
            yield f"class {class_id} is {name}, which no font on this machine can display"
