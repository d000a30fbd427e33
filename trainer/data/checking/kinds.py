"""Define every kind of finding in a data set, with its level and its remedy."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trainer.data.checking.images import ImageFlaw
from trainer.data.checking.labels import RowFlaw
from tuner.contract.data_report import Finding, Level, Place


class Kind(NamedTuple):
    """One kind of finding."""

    name: str
    level: Level
    what: str
    """Description of the places in the plural; follows their number."""
    remedy: str


_LEFT_OUT = "ultralytics skips the whole image"
IMAGES: Mapping[ImageFlaw, Kind] = {
    ImageFlaw.UNREADABLE: Kind(
        "unreadable-image", Level.ERROR, "images that cannot be read", "get the files again, or remove them"
    ),
    ImageFlaw.TRUNCATED: Kind("truncated-image", Level.ERROR, "truncated images", "get the files again"),
    ImageFlaw.UNDECODABLE: Kind(
        "undecodable-image",
        Level.ERROR,
        "images that OpenCV, the decoder used in training, cannot decode",
        "save them as JPEG or PNG with 8 bits per channel",
    ),
    ImageFlaw.SAMPLES: Kind(
        "image-samples",
        Level.ERROR,
        "images whose samples are not 8-bit or 16-bit integers",
        "scale them to the range 0 to 255 and save them with 8 bits per channel",
    ),
    ImageFlaw.CHANNELS: Kind(
        "image-channels",
        Level.ERROR,
        "images whose number of channels differs from that of the data set",
        "save them with the number of channels that `channels` in the YAML gives, or change `channels`",
    ),
    ImageFlaw.TOO_SMALL: Kind("tiny-image", Level.ERROR, "images with a side below 10 pixels", "remove them"),
    ImageFlaw.FORMAT: Kind(
        "image-format", Level.ERROR, "images in a format that training does not support", "save them as JPEG or PNG"
    ),
    ImageFlaw.TRAILING_BYTES: Kind(
        "trailing-bytes",
        Level.WARNING,
        "JPEGs with extra bytes after their end",
        "save them again: plain ultralytics overwrites these files in place",
    ),
    ImageFlaw.BAD_ORIENTATION: Kind(
        "bad-orientation",
        Level.WARNING,
        "images with an invalid EXIF orientation",
        "make sure that they are upright, and save them without it",
    ),
    ImageFlaw.ROTATED: Kind(
        "rotated-image",
        Level.NOTE,
        "images rotated by their EXIF orientation, as in training",
        "check that the boxes fit the rotated image: some labelling tools do not rotate it",
    ),
    ImageFlaw.GREY: Kind(
        "grey-image", Level.NOTE, "greyscale images", "fine if you will detect in greyscale images too"
    ),
    ImageFlaw.DEEP: Kind(
        "deep-image",
        Level.NOTE,
        "images with 16 bits per channel, reduced to the upper 8 in training",
        "if they do not use the full range, scale them to it, or training sees them too dark",
    ),
}
ROWS: Mapping[RowFlaw, Kind] = {
    RowFlaw.UNREADABLE: Kind(
        "unreadable-labels", Level.ERROR, "label files that cannot be read", "correct their permissions"
    ),
    RowFlaw.ENCODING: Kind("label-encoding", Level.ERROR, "label files that are not UTF-8 text", "save them as UTF-8"),
    RowFlaw.COLUMNS: Kind(
        "label-columns",
        Level.ERROR,
        "rows that are neither a box with 5 columns nor an outline",
        f"write class, centre x, centre y, width, height; {_LEFT_OUT}",
    ),
    RowFlaw.SIXTH_COLUMN: Kind(
        "label-sixth-column",
        Level.ERROR,
        "rows with a sixth column, such as the confidence of a prediction",
        f"delete the sixth column; {_LEFT_OUT}",
    ),
    RowFlaw.KEYPOINTS: Kind(
        "keypoint-labels",
        Level.ERROR,
        "rows with a box and keypoints, but no matching `kpt_shape` in the YAML",
        "add `kpt_shape` to the YAML to train on the boxes, or delete the columns after the box",
    ),
    RowFlaw.CLASS_NAME: Kind(
        "label-class-name",
        Level.ERROR,
        "rows with a class name instead of a class id",
        f"write the class id, counted from 0 in `names`; {_LEFT_OUT}",
    ),
    RowFlaw.NUMBER: Kind(
        "label-number", Level.ERROR, "rows with a value that is not a finite number", f"correct them; {_LEFT_OUT}"
    ),
    RowFlaw.CLASS_ID: Kind(
        "class-id",
        Level.ERROR,
        "rows with a class that the data set does not have",
        f"correct them or `names`; {_LEFT_OUT}",
    ),
    RowFlaw.RANGE: Kind(
        "label-range",
        Level.ERROR,
        "rows with values outside 0 to 1",
        f"divide by width and height of the image; {_LEFT_OUT}",
    ),
    RowFlaw.PIXELS: Kind(
        "label-pixels",
        Level.ERROR,
        "rows with coordinates in pixels",
        f"divide x by the image width and y by the image height; {_LEFT_OUT}",
    ),
    RowFlaw.MIXED: Kind(
        "mixed-labels", Level.ERROR, "label files with both boxes and outlines", f"use only one of them; {_LEFT_OUT}"
    ),
    RowFlaw.ZERO_SIZE: Kind("zero-size-box", Level.WARNING, "boxes with zero width or height", "delete these rows"),
    RowFlaw.BEYOND_BORDER: Kind(
        "box-beyond-border", Level.WARNING, "boxes that extend beyond the image", "clip them to the image"
    ),
    RowFlaw.DUPLICATE: Kind("duplicate-row", Level.WARNING, "rows that repeat an earlier row", "delete them"),
    RowFlaw.NEAR_DUPLICATE: Kind(
        "near-duplicate-box",
        Level.WARNING,
        "boxes that nearly coincide with another box of their class",
        "check whether one object was labelled twice",
    ),
    RowFlaw.TURNED_BOXES: Kind(
        "turned-boxes",
        Level.WARNING,
        "label files with rotated boxes given by four corners, trained on as the upright boxes around them",
        "fine if you want upright boxes; rotated boxes are another task, which is not supported",
    ),
    RowFlaw.OUTLINES: Kind(
        "outline-labels",
        Level.NOTE,
        "label files with outlines, trained on as the boxes around them",
        "fine if you want boxes; outlines are another task, which is not supported",
    ),
}
MISSING_LABELS = Kind(
    "missing-labels",
    Level.WARNING,
    "images without a label file, trained on as background",
    "label them; for an image without objects, add an empty file",
)
LABELS_ELSEWHERE = Kind(
    "labels-elsewhere",
    Level.ERROR,
    "images without a label file where training looks for one, but with one of that name elsewhere",
    "move the label files there, or training treats the images as background",
)
SHARED_LABELS = Kind(
    "shared-labels",
    Level.ERROR,
    "images that share their label file with another image, so one is trained on with the boxes of the other",
    "rename them so that their names differ in more than the suffix",
)
FOREIGN_LABELS = Kind(
    "foreign-labels",
    Level.WARNING,
    "annotations in another format next to images without a label file",
    "give a COCO JSON file itself as the data set; convert other formats to one .txt per image, with rows of class, "
    "centre x, centre y, width, height as fractions of 1",
)
SAME_NAME = Kind(
    "same-class-name",
    Level.WARNING,
    "classes with the same name, or with names that differ only in case or spaces",
    "use one id per class: a detector cannot distinguish them",
)
IDS_FROM_ONE = Kind(
    "class-ids-from-one",
    Level.ERROR,
    "class ids that start at 1",
    "subtract 1 from every class id: ids start at 0",
)
CORNER_BOXES = Kind(
    "corner-boxes",
    Level.WARNING,
    "boxes that look like two corners",
    "write centre x, centre y, width, height instead of x1, y1, x2, y2",
)
EMPTY_LABELS = Kind("empty-labels", Level.NOTE, "images labelled as background", "check that they show no objects")
ORPHAN_LABELS = Kind(
    "orphan-labels", Level.WARNING, "label files without an image", "find the images, or delete the files"
)
LEAK = Kind(
    "leaked-image",
    Level.ERROR,
    "images that are also in an earlier split, byte for byte",
    "remove them from one split: metrics on images seen in training are meaningless",
)
NEAR_LEAK = Kind(
    "near-leaked-image",
    Level.WARNING,
    "images that look like an image of an earlier split",
    "keep images of one scene or video in one split",
)
DUPLICATE = Kind("duplicate-image", Level.WARNING, "images that are already in the split", "delete them")
NEAR_DUPLICATE = Kind(
    "near-duplicate-image",
    Level.NOTE,
    "images that look like another image of the split",
    "fine for video frames; similar images count for little more than one",
)
CLASS_NEVER = Kind("class-without-boxes", Level.WARNING, "classes without boxes", "label them, or delete the names")
CLASS_NOT_TRAINED = Kind(
    "class-not-in-train", Level.ERROR, "classes with boxes in val but none in train", "add some to train"
)
CLASS_NOT_VALIDATED = Kind(
    "class-not-in-val", Level.WARNING, "classes with boxes in train but none in val", "add some to val"
)
RARE_CLASS = Kind(
    "rare-class",
    Level.WARNING,
    "classes with very few boxes",
    "collect more; cls_pw above 0 gives rare classes more weight",
)
SPLIT_RATIO = Kind(
    "split-ratio", Level.WARNING, "unusual ratio of train to val", "80 % train, 15 % val and 5 % test is usual"
)
SMALL_VALIDATION = Kind(
    "noisy-validation",
    Level.WARNING,
    "too few validation images to distinguish good configurations",
    "move images from train to val, or label more",
)

KINDS = (
    LEAK,
    NEAR_LEAK,
    *IMAGES.values(),
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
_ORDER = {kind.name: number for number, kind in enumerate(KINDS)}
_LOSING = {kind.name for flaw, kind in IMAGES.items() if flaw.loses_image} | {
    kind.name for flaw, kind in ROWS.items() if flaw.loses_image
}


def finding(kind: Kind, split: str, places: Iterable[Place]) -> Finding:
    """Make one finding from all places of a kind in a split."""
    return Finding(
        kind=kind.name,
        level=kind.level,
        split=split,
        what=kind.what,
        remedy=kind.remedy,
        places=tuple(sorted(places, key=lambda place: (place.file, place.line))),
    )


def loses_image(found: Finding) -> bool:
    """Check whether the images at these places are lost for training."""
    return found.kind in _LOSING


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings from errors to notes, as a report lists them."""
    levels, splits = list(Level), ["", "train", "val", "test"]
    return tuple(sorted(findings, key=lambda f: (levels.index(f.level), _ORDER[f.kind], splits.index(f.split))))
