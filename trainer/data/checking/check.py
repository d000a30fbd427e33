"""Check a whole data set before training: its contents, its flaws, and whether it can be used."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainer.data.checking import findings, kinds
from trainer.data.checking.advice import advice, fitting_imgsz
from trainer.data.checking.decoding import VERSION
from trainer.data.checking.duplicates import comparable, exact_twins, near_twins
from trainer.data.checking.labels import RowFlaw
from trainer.data.checking.metric_noise import expected_noise
from trainer.data.checking.orphans import orphan_labels
from trainer.data.checking.refusal import lost_images, refusal
from trainer.data.checking.scan import Reading, Scan, scan
from trainer.data.checking.statistics import (
    class_facts,
    odd_boxes,
    odd_classes,
    odd_names,
    odd_splits,
    size_facts,
    split_facts,
)
from trainer.data.dataset import DataSet, label_path
from trainer.data.elsewhere import Elsewhere, search
from trainer.exceptions import DataError
from trainer.system import atomic_files
from trainer.system.cache import cache_folder
from tuner.contract import ProgressRecord
from tuner.contract.data_report import (
    DataReport,
    Finding,
    Level,
    NoiseFacts,
    Place,
    decode_report,
    encode_report,
    headline,
)

_MOST_NAMED = 3
"""Maximum number of kinds of warnings to name before a training run."""

_RULES = 2
"""Version of the rules. Raise it with every change in the findings, so that no cached report is used."""

OnProgress = Callable[[ProgressRecord], None]


def check(dataset: DataSet, on_progress: OnProgress = lambda progress: None) -> DataReport:
    """Check every file of a data set. This reads the user's files and never writes them.

    Args:
        dataset: the data set as returned by `resolve`.
        on_progress: called with the progress now and then.

    Raises:
        DataError: an image crashed the process that read it, or memory ran out.
    """
    images = [image.path for split in dataset.splits.values() for image in split.images]
    splits = _numbers(dataset)
    try:
        reading = Reading(
            num_classes=len(dataset.names),
            channels=dataset.channels,
            keypoint_columns=dataset.keypoints.columns if dataset.keypoints else 0,
        )
        seen = scan(images, reading, _step(on_progress, "images and labels", len(images)))
    except BrokenProcessPool as error:
        raise DataError(
            f"Every image must be readable, but one of the {len(images)} images of {dataset.source} crashed the "
            "process that read it, or memory ran out; check parts of the data set to find the image."
        ) from error
    exact = exact_twins(images, np.where(seen.shapes[:, 0] > 0, seen.num_bytes, 0), seen.checksums)
    near = near_twins(comparable(seen.small), list(splits.values()))
    lost = _elsewhere(dataset, images, seen)
    facts = split_facts(seen, splits)
    classes = class_facts(seen, splits, dataset.names)
    sizes = size_facts(seen, fitting_imgsz(seen))
    noise = _noise(seen, splits["val"])
    found = kinds.worst_first(
        (
            *_of_forms(findings.in_files(images, seen, splits, dataset.root, lost.labels), seen, dataset),
            *findings.of_twins(images, exact, near, splits),
            *findings.of_shared_labels(images, seen, splits, dataset.root),
            *_orphans(dataset, lost.labels.values()),
            *_foreign(dataset, lost),
            *odd_classes(dataset.source, classes),
            *odd_names(dataset.source, dataset.names),
            *odd_boxes(dataset.source, seen, len(dataset.names)),
            *odd_splits(dataset.source, facts, noise),
        )
    )
    return DataReport(
        data=str(dataset.source),
        root=str(dataset.root),
        splits=facts,
        classes=classes,
        sizes=sizes,
        noise=noise,
        findings=found,
        notes=dataset.notes,
        left_out=tuple(str(path) for path, good in zip(images, seen.usable(), strict=True) if not good),
        advice=advice(facts, sizes),
        refusal=refusal(facts, found, dataset.source),
    )


def checked(dataset: DataSet, on_progress: OnProgress = lambda progress: None) -> DataReport:
    """Check a data set, or return the report of an earlier check if no file has changed since.

    Reports are kept in the user's cache folder.

    Raises:
        DataError: as `check`, or a file has disappeared since the data set was resolved.
    """
    kept = cache_folder() / "data-checks" / f"{_state(dataset)}.json"
    try:
        return decode_report(kept.read_text("ascii"))
    except (OSError, ValueError):
        report = check(dataset, on_progress)
    with suppress(OSError):  # if it cannot be kept, the next check makes it again
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_whole(kept, encode_report(report).encode())
    return report


def usable(dataset: DataSet, report: DataReport) -> DataSet:
    """Return the data set without the images that cannot be trained on."""
    lost = set(report.left_out)
    if not lost:
        return dataset
    kept = {
        name: replace(split, images=tuple(p for p in split.images if str(p.path) not in lost))
        for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=kept)


def notes(report: DataReport) -> tuple[str, ...]:
    """Return notes for a training run: the skipped images, each other error, and the kinds of warnings."""
    lines = [
        f"{lost}; training skips them"
        for split in report.splits
        if (lost := lost_images(split, report.splits, report.findings))
    ]
    lines += [
        headline(found) for found in report.findings if found.level == Level.ERROR and not kinds.loses_image(found)
    ]
    others = list({found.kind: found.what for found in report.findings if found.level == Level.WARNING}.values())
    if others:
        more = f", and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        lines.append(f"the data have {', '.join(others[:_MOST_NAMED])}{more}; `tune data check` shows where")
    return tuple(lines)


def _numbers(dataset: DataSet) -> dict[str, range]:
    """Return the image numbers of each split, counted through all splits."""
    numbers, start = {}, 0
    for name, split in dataset.splits.items():
        numbers[name] = range(start, start + split.num_images)
        start += split.num_images
    return numbers


def _step(on_progress: OnProgress, name: str, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(ProgressRecord(step=name, done=done, total=total))


def _noise(seen: Scan, val: range) -> NoiseFacts | None:
    usable = seen.usable()[val.start : val.stop]
    image_of_box = seen.image_of_box() - val.start
    inside = (image_of_box >= 0) & (image_of_box < len(val))
    inside[inside] = usable[image_of_box[inside]]
    return expected_noise(image_of_box[inside], seen.boxes[inside, 0], len(val))


def _elsewhere(dataset: DataSet, images: Sequence[Path], seen: Scan) -> Elsewhere:
    """Find labels in other places for the images without any; search only if some are missing."""
    bare = [image for image, has_labels in zip(images, seen.has_labels, strict=True) if not has_labels]
    if not bare:
        return Elsewhere(labels={}, foreign=())
    return search(bare, {label_path(image) for image in images}, dataset.folders())


def _of_forms(found: Iterable[Finding], seen: Scan, dataset: DataSet) -> list[Finding]:
    """Return the findings in the files; if the rows together look like keypoints, report them as keypoints."""
    number = seen.form.keypoints
    if not number:
        return list(found)
    told = f"{seen.form.rows} rows of {seen.form.columns} columns: a box and {number} points inside it"
    as_outlines = {kinds.ROWS[flaw].name for flaw in (RowFlaw.OUTLINES, RowFlaw.TURNED_BOXES)}
    keypoints = kinds.finding(kinds.ROWS[RowFlaw.KEYPOINTS], "", [Place(file=str(dataset.source), found=told)])
    return [keypoints, *(each for each in found if each.kind not in as_outlines)]


def _foreign(dataset: DataSet, lost: Elsewhere) -> list[Finding]:
    places = [Place(file=str(file), found=kind) for file, kind in lost.foreign]
    return [kinds.finding(kinds.FOREIGN_LABELS, "", places)] if places else []


def _orphans(dataset: DataSet, known: Collection[Path]) -> list[Finding]:
    """Return findings about label files without an image, except those of images elsewhere."""
    left = {split: [file for file in files if file not in known] for split, files in orphan_labels(dataset).items()}
    return [
        kinds.finding(kinds.ORPHAN_LABELS, split, [Place(file=str(file)) for file in orphans])
        for split, orphans in left.items()
        if orphans
    ]


def _state(dataset: DataSet) -> str:
    """Return a digest of the rules, the data set file, and names, sizes and times of all images and label files."""
    read_as = [str(dataset.source), dataset.names, dataset.channels, dataset.keypoints, dataset.notes]
    digest = hashlib.sha256(json.dumps([_RULES, VERSION, *read_as]).encode())
    for name, split in dataset.splits.items():
        for image in split.images:
            of_both = [_stamp(image.path), _stamp(label_path(image.path))]
            digest.update(json.dumps([name, str(image.path), of_both]).encode())
    return digest.hexdigest()


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Return size, modification time, and the change time that programs cannot reset; None without a file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
