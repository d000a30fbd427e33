"""What can be found in a data set: names, how bad it is, what to do about it; and what was found, in those words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trainer.data.checking.duplicates import Twin
from trainer.data.checking.images import PictureFlaw
from trainer.data.checking.labels import RowFlaw
from trainer.data.checking.scan import Scan
from trainer.data.dataset import label_path
from tuner.contract.data_report import Finding, Level, Place


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
    PictureFlaw.UNDECODABLE: About(
        "undecodable-picture",
        Level.ERROR,
        "images that OpenCV, which training decodes with, cannot decode",
        "save them as JPEG or PNG of 8 bits a channel",
    ),
    PictureFlaw.SAMPLES: About(
        "picture-samples",
        Level.ERROR,
        "images whose samples are not whole numbers of 8 or 16 bits",
        "scale them to 0 to 255 and save them with 8 bits a channel",
    ),
    PictureFlaw.CHANNELS: About(
        "picture-channels",
        Level.ERROR,
        "images with another number of channels than the data set",
        "save them with as many channels as `channels` in the YAML says, or change `channels`",
    ),
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
    PictureFlaw.DEEP: About(
        "deep-picture",
        Level.NOTE,
        "images with 16 bits a channel, of which training sees the upper 8",
        "scale them to the full range if they use less of it, or training sees them dark",
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
    RowFlaw.SIXTH_COLUMN: About(
        "label-sixth-column",
        Level.ERROR,
        "rows with a sixth column, as predictions have with their confidence",
        f"delete the sixth column; {_LEFT_OUT}",
    ),
    RowFlaw.KEYPOINTS: About(
        "keypoint-labels",
        Level.ERROR,
        "rows of a box and keypoints, where the YAML has no `kpt_shape` of that kind",
        "give `kpt_shape` in the YAML, and their boxes are trained on; or cut the rows after the box",
    ),
    RowFlaw.CLASS_NAME: About(
        "label-class-name",
        Level.ERROR,
        "rows with the name of a class",
        f"write its number, counted from 0 in names; {_LEFT_OUT}",
    ),
    RowFlaw.NUMBER: About("label-number", Level.ERROR, "rows with what is no finite number", f"mend them; {_LEFT_OUT}"),
    RowFlaw.CLASS_ID: About(
        "class-id", Level.ERROR, "rows of a class that the data set does not have", f"mend them or names; {_LEFT_OUT}"
    ),
    RowFlaw.RANGE: About(
        "label-range", Level.ERROR, "rows outside 0 to 1", f"divide by width and height of the picture; {_LEFT_OUT}"
    ),
    RowFlaw.PIXELS: About(
        "label-pixels",
        Level.ERROR,
        "rows in pixels",
        f"divide x by the width of the image and y by its height; {_LEFT_OUT}",
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
    RowFlaw.TURNED_BOXES: About(
        "turned-boxes",
        Level.WARNING,
        "label files of turned boxes, given by four corners, trained on as the upright boxes around them",
        "fine for upright boxes; turned ones are another task, which is not trained here",
    ),
    RowFlaw.OUTLINES: About(
        "outline-labels",
        Level.NOTE,
        "label files of outlines, trained on as the boxes around them",
        "fine for boxes; outlines are another task, which is not trained here",
    ),
}
MISSING_LABELS = About(
    "missing-labels",
    Level.WARNING,
    "pictures without a label file, trained on as background",
    "label them; give pictures that show nothing an empty file",
)
LABELS_ELSEWHERE = About(
    "labels-elsewhere",
    Level.ERROR,
    "images without a label file where training looks for one, though one of their name lies elsewhere",
    "move the label files there, or training takes the images for background",
)
SHARED_LABELS = About(
    "shared-labels",
    Level.ERROR,
    "images that share the label file of another image, so that one is trained on with the boxes of the other",
    "give them names that differ in more than the suffix",
)
FOREIGN_LABELS = About(
    "foreign-labels",
    Level.WARNING,
    "annotations of another format, which are not read, beside images without a label file",
    "convert them: one .txt for each image, with rows of class, centre x, centre y, width, height as shares",
)
SAME_NAME = About(
    "same-class-name",
    Level.WARNING,
    "classes of the same name, or of names that differ only in case or blanks",
    "give each class one id: a detector cannot tell them apart",
)
IDS_FROM_ONE = About(
    "class-ids-from-one",
    Level.ERROR,
    "class ids that are counted from 1",
    "subtract 1 from every class id: they are counted from 0",
)
CORNER_BOXES = About(
    "corner-boxes",
    Level.WARNING,
    "boxes that read like two corners",
    "write centre x, centre y, width, height in place of x1, y1, x2, y2",
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
    IDS_FROM_ONE,
    *ROWS.values(),
    CORNER_BOXES,
    LABELS_ELSEWHERE,
    SHARED_LABELS,
    MISSING_LABELS,
    FOREIGN_LABELS,
    ORPHAN_LABELS,
    DUPLICATE,
    CLASS_NOT_TRAINED,
    CLASS_NOT_VALIDATED,
    CLASS_NEVER,
    SAME_NAME,
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


def in_files(
    pictures: Sequence[Path], scan: Scan, splits: Mapping[str, range], root: Path, elsewhere: Mapping[Path, Path]
) -> Iterator[Finding]:
    """What is wrong with pictures and label files.

    Args:
        pictures: of all splits.
        scan: of these.
        splits: the numbers of the pictures of each.
        root: of the data set.
        elsewhere: label files that lie where none is looked for, by picture.
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
        picture = pictures[number]
        if label := elsewhere.get(picture):
            found_at = f"looked for: {_short(label_path(picture), root)}, found: {_short(label, root)}"
            places[LABELS_ELSEWHERE, split_of[number]].append(Place(file=str(picture), found=found_at))
        else:
            places[about, split_of[number]].append(Place(file=str(picture)))
    yield from (finding(about, split, found) for (about, split), found in places.items())


def _backgrounds(scan: Scan) -> Iterator[tuple[int, About]]:
    flawed = {number for number, _ in scan.row_flaws}
    for number, (has_labels, num_boxes) in enumerate(zip(scan.has_labels, scan.num_boxes, strict=True)):
        if not has_labels:
            yield number, MISSING_LABELS
        elif not num_boxes and number not in flawed:
            yield number, EMPTY_LABELS


def _short(file: Path, root: Path) -> str:
    """From the root of the data set, where it lies in there."""
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def of_shared_labels(
    pictures: Sequence[Path], scan: Scan, splits: Mapping[str, range], root: Path
) -> Iterator[Finding]:
    """Pictures whose names differ in the suffix alone: they read one label file."""
    first: dict[Path, Path] = {}
    usable = scan.usable()
    for split, numbers in splits.items():
        places = []
        for number in numbers:
            if scan.has_labels[number] and usable[number]:
                picture, label = pictures[number], label_path(pictures[number])
                other = first.setdefault(label, picture)
                if other != picture:
                    places.append(
                        Place(file=str(picture), found=f"reads {_short(label, root)}, as {_short(other, root)} does")
                    )
        if places:
            yield finding(SHARED_LABELS, split, places)


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
