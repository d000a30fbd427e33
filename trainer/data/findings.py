"""What can be found in a data set: names, how bad it is, what to do about it; and what was found, in those words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trainer.data.dataset import label_path
from trainer.data.duplicates import Twin
from trainer.data.labels import RowFlaw
from trainer.data.pictures import PictureFlaw
from trainer.data.scan import Scan
from tuner.data_report import Finding, Level, Place


class About(NamedTuple):
    """One kind of finding."""

    kind: str
    level: Level
    what: str
    """Follows the number of places."""
    remedy: str


_LEFT_OUT = "ultralytics leaves the whole picture out"
PICTURES: Mapping[PictureFlaw, About] = {
    PictureFlaw.UNREADABLE: About(
        "unreadable-picture", Level.ERROR, "pictures that cannot be read", "get the files anew, or remove them"
    ),
    PictureFlaw.TRUNCATED: About("truncated-picture", Level.ERROR, "pictures that are cut off", "get the files anew"),
    PictureFlaw.TOO_SMALL: About("tiny-picture", Level.ERROR, "pictures below 10 pixels", "remove them"),
    PictureFlaw.FORMAT: About(
        "picture-format", Level.ERROR, "pictures of a format that is not trained on", "save them as JPEG or PNG"
    ),
    PictureFlaw.TRAILING_BYTES: About(
        "trailing-bytes",
        Level.WARNING,
        "JPEGs with more bytes after their end",
        "save them anew: plain ultralytics overwrites such files where they lie",
    ),
    PictureFlaw.BAD_ORIENTATION: About(
        "bad-orientation",
        Level.WARNING,
        "pictures with an EXIF orientation that does not exist",
        "see that they stand upright, and save them without it",
    ),
    PictureFlaw.ROTATED: About(
        "rotated-picture",
        Level.NOTE,
        "pictures turned by their EXIF orientation, as they are for training",
        "see that boxes sit on the turned picture: some labelling tools do not turn it",
    ),
    PictureFlaw.GREY: About(
        "grey-picture", Level.NOTE, "pictures without colours", "fine if what is to be found is grey too"
    ),
}
ROWS: Mapping[RowFlaw, About] = {
    RowFlaw.UNREADABLE: About(
        "unreadable-labels", Level.ERROR, "label files that cannot be read", "mend their permissions"
    ),
    RowFlaw.ENCODING: About("label-encoding", Level.ERROR, "label files that are no UTF-8 text", "save them as UTF-8"),
    RowFlaw.COLUMNS: About(
        "label-columns",
        Level.ERROR,
        "rows that are neither a box of 5 columns nor an outline",
        f"write class, centre x, centre y, width, height; {_LEFT_OUT}",
    ),
    RowFlaw.NUMBER: About("label-number", Level.ERROR, "rows with what is no finite number", f"mend them; {_LEFT_OUT}"),
    RowFlaw.CLASS_ID: About(
        "class-id", Level.ERROR, "rows of a class that the data set does not have", f"mend them or names; {_LEFT_OUT}"
    ),
    RowFlaw.RANGE: About(
        "label-range", Level.ERROR, "rows outside 0 to 1", f"divide by width and height of the picture; {_LEFT_OUT}"
    ),
    RowFlaw.MIXED: About(
        "mixed-labels", Level.ERROR, "label files with boxes and outlines", f"write either; {_LEFT_OUT}"
    ),
    RowFlaw.ZERO_SIZE: About("zero-size-box", Level.WARNING, "boxes without width or height", "delete these rows"),
    RowFlaw.BEYOND_BORDER: About("box-beyond-border", Level.WARNING, "boxes that reach beyond the picture", "cut them"),
    RowFlaw.DUPLICATE: About("duplicate-row", Level.WARNING, "rows that repeat an earlier one", "delete them"),
    RowFlaw.NEAR_DUPLICATE: About(
        "near-duplicate-box",
        Level.WARNING,
        "boxes that cover nearly the same as another of their class",
        "see whether one object was labelled twice",
    ),
}
MISSING_LABELS = About(
    "missing-labels",
    Level.WARNING,
    "pictures without a label file, trained on as background",
    "label them; give pictures that show nothing an empty file",
)
EMPTY_LABELS = About("empty-labels", Level.NOTE, "pictures labelled as background", "see that they show nothing")
ORPHAN_LABELS = About(
    "orphan-labels", Level.WARNING, "label files without a picture", "find the pictures, or delete the files"
)
LEAK = About(
    "leaked-picture",
    Level.ERROR,
    "pictures that are in an earlier split too, byte for byte",
    "take them out of one of the two: figures on pictures that were trained on say nothing",
)
NEAR_LEAK = About(
    "near-leaked-picture",
    Level.WARNING,
    "pictures that look like one of an earlier split",
    "keep pictures of one scene or film in one split",
)
DUPLICATE = About("duplicate-picture", Level.WARNING, "pictures that are in the split already", "delete them")
NEAR_DUPLICATE = About(
    "near-duplicate-picture",
    Level.NOTE,
    "pictures that look like another of the split",
    "fine if the split is of films; they count for little more than one",
)
CLASS_NEVER = About("class-without-boxes", Level.WARNING, "classes without any box", "label them, or delete the names")
CLASS_NOT_TRAINED = About(
    "class-not-in-train", Level.ERROR, "classes that are validated but never trained", "bring some into train"
)
CLASS_NOT_VALIDATED = About(
    "class-not-in-val", Level.WARNING, "classes that are trained but never validated", "bring some into val"
)
RARE_CLASS = About(
    "rare-class", Level.WARNING, "classes that are hardly there", "collect more; cls_pw above 0 weighs rare classes up"
)
SPLIT_RATIO = About("split-ratio", Level.WARNING, "odd shares of train and val", "80 to 15 to 5 is usual")
SMALL_VALIDATION = About(
    "noisy-validation",
    Level.WARNING,
    "too few validation pictures to tell good configurations apart",
    "move pictures from train to val, or label more",
)

KINDS = (
    LEAK,
    NEAR_LEAK,
    *PICTURES.values(),
    *ROWS.values(),
    MISSING_LABELS,
    ORPHAN_LABELS,
    DUPLICATE,
    CLASS_NOT_TRAINED,
    CLASS_NOT_VALIDATED,
    CLASS_NEVER,
    RARE_CLASS,
    SPLIT_RATIO,
    SMALL_VALIDATION,
    EMPTY_LABELS,
    NEAR_DUPLICATE,
)
_ORDER = {about.kind: number for number, about in enumerate(KINDS)}
_LOSING = {about.kind for flaw, about in PICTURES.items() if flaw.loses_picture} | {
    about.kind for flaw, about in ROWS.items() if flaw.loses_picture
}


def finding(about: About, split: str, places: Iterable[Place]) -> Finding:
    """All places of one kind in one split."""
    return Finding(
        kind=about.kind,
        level=about.level,
        split=split,
        what=about.what,
        remedy=about.remedy,
        places=tuple(sorted(places, key=lambda place: (place.file, place.line))),
    )


def loses_picture(found: Finding) -> bool:
    """Whether the pictures of these places cannot be trained on."""
    return found.kind in _LOSING


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of a report."""
    levels, splits = list(Level), ["", "train", "val", "test"]
    return tuple(sorted(findings, key=lambda f: (levels.index(f.level), _ORDER[f.kind], splits.index(f.split))))


def in_files(pictures: Sequence[Path], scan: Scan, splits: Mapping[str, range]) -> Iterator[Finding]:
    """What is wrong with pictures and label files.

    Args:
        pictures: of all splits.
        scan: of these.
        splits: the numbers of the pictures of each.
    """
    places: dict[tuple[About, str], list[Place]] = defaultdict(list)
    split_of = {number: split for split, numbers in splits.items() for number in numbers}
    for number, found in scan.picture_flaws:
        place = Place(file=str(pictures[number]), found=found.value)
        places[PICTURES[found.flaw], split_of[number]].append(place)
    for number, row in scan.row_flaws:
        place = Place(file=str(label_path(pictures[number])), line=row.line, found=row.value)
        places[ROWS[row.flaw], split_of[number]].append(place)
    for number, about in _backgrounds(scan):
        places[about, split_of[number]].append(Place(file=str(pictures[number])))
    yield from (finding(about, split, found) for (about, split), found in places.items())


def _backgrounds(scan: Scan) -> Iterator[tuple[int, About]]:
    flawed = {number for number, _ in scan.row_flaws}
    for number, (has_labels, num_boxes) in enumerate(zip(scan.has_labels, scan.num_boxes, strict=True)):
        if not has_labels:
            yield number, MISSING_LABELS
        elif not num_boxes and number not in flawed:
            yield number, EMPTY_LABELS


def of_twins(
    pictures: Sequence[Path], exact: Sequence[Twin], near: Sequence[Twin], splits: Mapping[str, range]
) -> Iterator[Finding]:
    """Pictures that are there twice. A picture whose file is an earlier one is not near to others too."""
    split_of = {number: split for split, numbers in splits.items() for number in numbers}
    copies = {twin.picture for twin in exact}
    places: dict[tuple[About, str], list[Place]] = defaultdict(list)
    kinds = [(twin, "", LEAK, DUPLICATE) for twin in exact]
    kinds += [
        (twin, f"similarity {twin.similarity:.3f}", NEAR_LEAK, NEAR_DUPLICATE)
        for twin in near
        if twin.picture not in copies
    ]
    for twin, found, across, within in kinds:
        split = split_of[twin.picture]
        place = Place(file=str(pictures[twin.picture]), found=found, other=str(pictures[twin.earlier]))
        places[within if split == split_of[twin.earlier] else across, split].append(place)
    yield from (finding(about, split, found) for (about, split), found in places.items())
