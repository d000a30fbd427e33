"""Write a copy of a data set without its flaws, and leave the user's own data set unchanged."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from trainer.data.checking import kinds
from trainer.data.checking.images import JPEG_END, ImageFlaw
from trainer.data.checking.labels import RowFlaw
from trainer.data.dataset import DataSet, Image, label_path
from trainer.data.dataset_writer import yaml_text
from trainer.data.dataset_yaml import Place, data_error, is_file, is_folder
from tuner.contract import CleanedRecord, data_report
from tuner.contract.data_report import DataReport, Finding

_BOX_COLUMNS = 5


def write_cleaned(dataset: DataSet, report: DataReport, out: Path) -> CleanedRecord:
    """Write the data set without the flaws in the report: `data.yaml`, labels, and links to the images.

    Leaves out images that cannot be used, copies within a split, and images of train that are, or look like, an image
    of val or test. Deletes rows without size and repeated rows, and clips boxes at the border of the image.

    Args:
        dataset: the data set as returned by `resolve`.
        report: the report of its check.
        out: a folder outside the data set that does not exist or is empty.

    Raises:
        DataError: the folder is not empty, is inside the data set, or cannot be written.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - keep the path as the caller wrote it
    require_free(dataset, out)
    skipped = set(report.left_out) | _superfluous(dataset, report.findings)
    rows = _flawed_rows(report.findings)
    trailing = {place.file for place in _places(report.findings, kinds.IMAGES[ImageFlaw.TRAILING_BYTES])}
    done = {"images": 0, "rewritten": 0, "rows": 0}
    try:
        for name, split in dataset.splits.items():
            kept = [image for image in split.images if str(image.path) not in skipped]
            for image, short in zip(kept, _short_names(kept), strict=True):
                target = out / "images" / name / short
                done["images"] += 1
                # A link to a link of a conversion would break when the conversion is deleted.
                origin = image.path.readlink() if dataset.converted else image.path
                done["rewritten"] += _write_image(origin, target, rewrite=str(image.path) in trailing)
                done["rows"] += _write_labels(label_path(image.path), label_path(target), rows)
        data = out / "data.yaml"
        splits = {name: f"images/{name}" for name in dataset.splits}
        data.write_text(yaml_text(dataset, out, splits), encoding="utf-8", newline="\n")
    except OSError as error:
        rule = f"The cleaned data set must be writable, but got {error.strerror!r}"
        raise data_error(Place(file=Path(error.filename or out)), rule, "choose another folder") from error
    total = sum(split.num_images for split in dataset.splits.values())
    return CleanedRecord(
        data=str(data),
        num_images=done["images"],
        num_left_out=total - done["images"],
        num_rewritten=done["rewritten"],
        num_rows=done["rows"],
    )


def require_free(dataset: DataSet, out: Path) -> None:
    """Check that a folder is free for a cleaned data set.

    Raises:
        DataError: the folder is not empty, or is inside the data set.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - keep the path as the caller wrote it
    place = Place(file=out)
    sources = [source for split in dataset.splits.values() for source in split.sources if is_folder(source)]
    for folder in (dataset.root, *sources):
        if out.resolve().is_relative_to(folder.resolve()):
            rule = f"The folder for a cleaned data set must be outside the data set, but got a folder inside {folder}"
            raise data_error(place, rule, "choose another folder")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise data_error(
                place, "The folder for a cleaned data set must be new or empty, but it is not", "choose another folder"
            )
    except OSError as error:
        raise data_error(
            place, f"The folder must be readable, but got {error.strerror!r}", "choose another folder"
        ) from error


def _superfluous(dataset: DataSet, found: tuple[Finding, ...]) -> set[str]:
    """Return copies within a split, and images of train that are also in val or test, with all similar images."""
    train = {str(image.path) for image in dataset.splits["train"].images}
    leaking = train & {place.other for place in _places(found, kinds.LEAK, kinds.NEAR_LEAK)}
    similar = [{place.file, place.other} for place in _places(found, kinds.NEAR_DUPLICATE)]
    while more := {name for pair in similar if leaking & pair for name in pair & train} - leaking:
        leaking |= more
    return leaking | {place.file for place in _places(found, kinds.DUPLICATE)}


def _places(found: tuple[Finding, ...], *of: kinds.Kind) -> Iterator[data_report.Place]:
    names = {kind.name for kind in of}
    for each in found:
        if each.kind in names:
            yield from each.places


def _flawed_rows(found: tuple[Finding, ...]) -> Mapping[str, Mapping[int, RowFlaw]]:
    """Return the flaws of the rows to change, by label file and line."""
    rows: dict[str, dict[int, RowFlaw]] = defaultdict(dict)
    for flaw in (
        RowFlaw.BEYOND_BORDER,
        RowFlaw.ZERO_SIZE,
        RowFlaw.DUPLICATE,
    ):  # the last one counts, so flaws that delete the row come last
        for place in _places(found, kinds.ROWS[flaw]):
            rows[place.file][place.line] = flaw
    return rows


def _short_names(images: Sequence[Image]) -> Iterator[str]:
    """Yield a name for each image in one folder, with unique names for the images and for their labels."""
    taken: set[str] = set()
    for image in images:
        path = PurePosixPath(*[part for part in PurePosixPath(image.name).parts if part not in ("..", "/")])
        short, number = path, 1
        while str(short.with_suffix("")) in taken:
            number += 1
            short = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(str(short.with_suffix("")))
        yield str(short)


def _write_image(source: Path, target: Path, *, rewrite: bool) -> bool:
    """Write an image or a link to it; return whether it was rewritten."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not rewrite:
        target.symlink_to(source)
        return False
    content = source.read_bytes()
    end = content.rfind(JPEG_END)
    target.write_bytes(content[:end] + JPEG_END if end >= 0 else content + JPEG_END)
    return True


def _write_labels(source: Path, target: Path, flawed: Mapping[str, Mapping[int, RowFlaw]]) -> int:
    """Write a label file; return the number of changed rows. An image without a label file gets none."""
    if not is_file(source):
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    content, rows = source.read_bytes(), flawed.get(str(source), {})
    if rows:
        lines = content.decode("utf-8-sig").splitlines()
        kept = [_mended(line, rows.get(number)) for number, line in enumerate(lines, start=1)]
        content = "".join(f"{line}\n" for line in kept if line is not None).encode()
    target.write_bytes(content)
    return len(rows)


def _mended(line: str, flaw: RowFlaw | None) -> str | None:
    """Return the corrected row; None to delete it."""
    words = line.split()
    if flaw is None:
        return line
    if flaw != RowFlaw.BEYOND_BORDER:
        return None
    if len(words) != _BOX_COLUMNS:
        return line  # clipping a box does not apply to the points of an outline
    x, y, width, height = map(float, words[1:])
    left, right = max(x - width / 2, 0.0), min(x + width / 2, 1.0)
    top, bottom = max(y - height / 2, 0.0), min(y + height / 2, 1.0)
    cut = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return " ".join([words[0], *(f"{value:.6g}" for value in cut)])
