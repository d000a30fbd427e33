"""A whole data set judged before anything trains: what is in it, what is wrong with it, whether it can be used."""

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
"""Kinds of flaws that are named before a training, which they do not hinder."""

_RULES = 2
"""To be raised with every change in what is found: kept reports are made anew then."""

OnProgress = Callable[[ProgressRecord], None]


def check(dataset: DataSet, on_progress: OnProgress = lambda progress: None) -> DataReport:
    """Judge every file. The user's files are read and never written.

    Args:
        dataset: as `resolve` found it.
        on_progress: told how far it is, now and then.

    Raises:
        DataError: an image crashes what reads it, or memory ran out.
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
            f"Every image must be readable, but one of the {len(images)} of {dataset.source} ended the process "
            "that read it, or memory ran out; check parts of the data set to find it."
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
    """The same, from an earlier check where no file has changed since; it is kept in the user's cache folder.

    Raises:
        DataError: as `check`, or a file has gone since the data set was resolved.
    """
    kept = cache_folder() / "data-checks" / f"{_state(dataset)}.json"
    try:
        return decode_report(kept.read_text("ascii"))
    except (OSError, ValueError):
        report = check(dataset, on_progress)
    with suppress(OSError):  # without a place to keep it, it is made anew the next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_whole(kept, encode_report(report).encode())
    return report


def usable(dataset: DataSet, report: DataReport) -> DataSet:
    """The data set without the images that cannot be trained on."""
    lost = set(report.left_out)
    if not lost:
        return dataset
    kept = {
        name: replace(split, images=tuple(p for p in split.images if str(p.path) not in lost))
        for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=kept)


def notes(report: DataReport) -> tuple[str, ...]:
    """What to say of a data set that is trained on: what is left out, each other error, how much there is besides."""
    lines = [
        f"{lost}; they are left out"
        for split in report.splits
        if (lost := lost_images(split, report.splits, report.findings))
    ]
    lines += [
        headline(found) for found in report.findings if found.level == Level.ERROR and not kinds.loses_image(found)
    ]
    others = list({found.kind: found.what for found in report.findings if found.level == Level.WARNING}.values())
    if others:
        more = f", and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        lines.append(f"seen in the data: {', '.join(others[:_MOST_NAMED])}{more}; `tune data check` says where")
    return tuple(lines)


def _numbers(dataset: DataSet) -> dict[str, range]:
    """The numbers of the images of each split, when all are counted one after the other."""
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
    """Labels of images that have none where training looks; nothing is searched where none is missing."""
    bare = [image for image, has_labels in zip(images, seen.has_labels, strict=True) if not has_labels]
    if not bare:
        return Elsewhere(labels={}, foreign=())
    return search(bare, {label_path(image) for image in images}, dataset.folders())


def _of_forms(found: Iterable[Finding], seen: Scan, dataset: DataSet) -> list[Finding]:
    """What was found in the files; rows that are keypoints by what they have in common are told as such."""
    number = seen.form.keypoints
    if not number:
        return list(found)
    told = f"{seen.form.rows} rows of {seen.form.columns} columns: a box and {number} points within it"
    as_outlines = {kinds.ROWS[flaw].name for flaw in (RowFlaw.OUTLINES, RowFlaw.TURNED_BOXES)}
    keypoints = kinds.finding(kinds.ROWS[RowFlaw.KEYPOINTS], "", [Place(file=str(dataset.source), found=told)])
    return [keypoints, *(each for each in found if each.kind not in as_outlines)]


def _foreign(dataset: DataSet, lost: Elsewhere) -> list[Finding]:
    places = [Place(file=str(file), found=kind) for file, kind in lost.foreign]
    return [kinds.finding(kinds.FOREIGN_LABELS, "", places)] if places else []


def _orphans(dataset: DataSet, known: Collection[Path]) -> list[Finding]:
    """Label files without an image, but for those that belong to one elsewhere."""
    left = {split: [file for file in files if file not in known] for split, files in orphan_labels(dataset).items()}
    return [
        kinds.finding(kinds.ORPHAN_LABELS, split, [Place(file=str(file)) for file in orphans])
        for split, orphans in left.items()
        if orphans
    ]


def _state(dataset: DataSet) -> str:
    """Changes with the rules, the data set file, and names, sizes and times of all images and label files."""
    read_as = [str(dataset.source), dataset.names, dataset.channels, dataset.keypoints, dataset.notes]
    digest = hashlib.sha256(json.dumps([_RULES, VERSION, *read_as]).encode())
    for name, split in dataset.splits.items():
        for image in split.images:
            of_both = [_stamp(image.path), _stamp(label_path(image.path))]
            digest.update(json.dumps([name, str(image.path), of_both]).encode())
    return digest.hexdigest()


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Size, time of the last change, and the one that programs cannot set back; none where there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
