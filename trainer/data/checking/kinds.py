"""Name every kind of finding in a data set: how bad it is, and what to do about it."""

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
    """Follows the number of places."""
    remedy: str


_LEFT_OUT = "ultralytics leaves the whole image out"
IMAGES: Mapping[ImageFlaw, Kind] = {
    ImageFlaw.UNREADABLE: Kind(
        "unreadable-image", Level.ERROR, "images that cannot be read", "get the files anew, or remove them"
    ),
    ImageFlaw.TRUNCATED: Kind("truncated-image", Level.ERROR, "images that are cut off", "get the files anew"),
    ImageFlaw.UNDECODABLE: Kind(
        "undecodable-image",
        Level.ERROR,
        "images that OpenCV, which training decodes with, cannot decode",
        "save them as JPEG or PNG of 8 bits a channel",
    ),
    ImageFlaw.SAMPLES: Kind(
        "image-samples",
        Level.ERROR,
        "images whose samples are not whole numbers of 8 or 16 bits",
        "scale them to 0 to 255 and save them with 8 bits a channel",
    ),
    ImageFlaw.CHANNELS: Kind(
        "image-channels",
        Level.ERROR,
        "images with another number of channels than the data set",
        "save them with as many channels as `channels` in the YAML says, or change `channels`",
    ),
    ImageFlaw.TOO_SMALL: Kind("tiny-image", Level.ERROR, "images below 10 pixels", "remove them"),
    ImageFlaw.FORMAT: Kind(
        "image-format", Level.ERROR, "images of a format that is not trained on", "save them as JPEG or PNG"
    ),
    ImageFlaw.TRAILING_BYTES: Kind(
        "trailing-bytes",
        Level.WARNING,
        "JPEGs with more bytes after their end",
        "save them anew: plain ultralytics overwrites such files where they lie",
    ),
    ImageFlaw.BAD_ORIENTATION: Kind(
        "bad-orientation",
        Level.WARNING,
        "images with an EXIF orientation that does not exist",
        "see that they stand upright, and save them without it",
    ),
    ImageFlaw.ROTATED: Kind(
        "rotated-image",
        Level.NOTE,
        "images turned by their EXIF orientation, as they are for training",
        "see that boxes sit on the turned image: some labelling tools do not turn it",
    ),
    ImageFlaw.GREY: Kind("grey-image", Level.NOTE, "images without colours", "fine if what is to be found is grey too"),
    ImageFlaw.DEEP: Kind(
        "deep-image",
        Level.NOTE,
        "images with 16 bits a channel, of which training sees the upper 8",
        "scale them to the full range if they use less of it, or training sees them dark",
    ),
}
ROWS: Mapping[RowFlaw, Kind] = {
    RowFlaw.UNREADABLE: Kind(
        "unreadable-labels", Level.ERROR, "label files that cannot be read", "mend their permissions"
    ),
    RowFlaw.ENCODING: Kind("label-encoding", Level.ERROR, "label files that are no UTF-8 text", "save them as UTF-8"),
    RowFlaw.COLUMNS: Kind(
        "label-columns",
        Level.ERROR,
        "rows that are neither a box of 5 columns nor an outline",
        f"write class, centre x, centre y, width, height; {_LEFT_OUT}",
    ),
    RowFlaw.SIXTH_COLUMN: Kind(
        "label-sixth-column",
        Level.ERROR,
        "rows with a sixth column, as predictions have with their confidence",
        f"delete the sixth column; {_LEFT_OUT}",
    ),
    RowFlaw.KEYPOINTS: Kind(
        "keypoint-labels",
        Level.ERROR,
        "rows of a box and keypoints, where the YAML has no `kpt_shape` of that kind",
        "give `kpt_shape` in the YAML, and their boxes are trained on; or cut the rows after the box",
    ),
    RowFlaw.CLASS_NAME: Kind(
        "label-class-name",
        Level.ERROR,
        "rows with the name of a class",
        f"write its number, counted from 0 in names; {_LEFT_OUT}",
    ),
    RowFlaw.NUMBER: Kind("label-number", Level.ERROR, "rows with what is no finite number", f"mend them; {_LEFT_OUT}"),
    RowFlaw.CLASS_ID: Kind(
        "class-id", Level.ERROR, "rows of a class that the data set does not have", f"mend them or names; {_LEFT_OUT}"
    ),
    RowFlaw.RANGE: Kind(
        "label-range", Level.ERROR, "rows outside 0 to 1", f"divide by width and height of the image; {_LEFT_OUT}"
    ),
    RowFlaw.PIXELS: Kind(
        "label-pixels",
        Level.ERROR,
        "rows in pixels",
        f"divide x by the width of the image and y by its height; {_LEFT_OUT}",
    ),
    RowFlaw.MIXED: Kind(
        "mixed-labels", Level.ERROR, "label files with boxes and outlines", f"write either; {_LEFT_OUT}"
    ),
    RowFlaw.ZERO_SIZE: Kind("zero-size-box", Level.WARNING, "boxes without width or height", "delete these rows"),
    RowFlaw.BEYOND_BORDER: Kind("box-beyond-border", Level.WARNING, "boxes that reach beyond the image", "cut them"),
    RowFlaw.DUPLICATE: Kind("duplicate-row", Level.WARNING, "rows that repeat an earlier one", "delete them"),
    RowFlaw.NEAR_DUPLICATE: Kind(
        "near-duplicate-box",
        Level.WARNING,
        "boxes that cover nearly the same as another of their class",
        "see whether one object was labelled twice",
    ),
    RowFlaw.TURNED_BOXES: Kind(
        "turned-boxes",
        Level.WARNING,
        "label files of turned boxes, given by four corners, trained on as the upright boxes around them",
        "fine for upright boxes; turned ones are another task, which is not trained here",
    ),
    RowFlaw.OUTLINES: Kind(
        "outline-labels",
        Level.NOTE,
        "label files of outlines, trained on as the boxes around them",
        "fine for boxes; outlines are another task, which is not trained here",
    ),
}
MISSING_LABELS = Kind(
    "missing-labels",
    Level.WARNING,
    "images without a label file, trained on as background",
    "label them; give images that show nothing an empty file",
)
LABELS_ELSEWHERE = Kind(
    "labels-elsewhere",
    Level.ERROR,
    "images without a label file where training looks for one, though one of their name lies elsewhere",
    "move the label files there, or training takes the images for background",
)
SHARED_LABELS = Kind(
    "shared-labels",
    Level.ERROR,
    "images that share the label file of another image, so that one is trained on with the boxes of the other",
    "give them names that differ in more than the suffix",
)
FOREIGN_LABELS = Kind(
    "foreign-labels",
    Level.WARNING,
    "annotations of another format, which are not read, beside images without a label file",
    "convert them: one .txt for each image, with rows of class, centre x, centre y, width, height as shares",
)
SAME_NAME = Kind(
    "same-class-name",
    Level.WARNING,
    "classes of the same name, or of names that differ only in case or blanks",
    "give each class one id: a detector cannot tell them apart",
)
IDS_FROM_ONE = Kind(
    "class-ids-from-one",
    Level.ERROR,
    "class ids that are counted from 1",
    "subtract 1 from every class id: they are counted from 0",
)
CORNER_BOXES = Kind(
    "corner-boxes",
    Level.WARNING,
    "boxes that read like two corners",
    "write centre x, centre y, width, height in place of x1, y1, x2, y2",
)
EMPTY_LABELS = Kind("empty-labels", Level.NOTE, "images labelled as background", "see that they show nothing")
ORPHAN_LABELS = Kind(
    "orphan-labels", Level.WARNING, "label files without an image", "find the images, or delete the files"
)
LEAK = Kind(
    "leaked-image",
    Level.ERROR,
    "images that are in an earlier split too, byte for byte",
    "take them out of one of the two: values on images that were trained on say nothing",
)
NEAR_LEAK = Kind(
    "near-leaked-image",
    Level.WARNING,
    "images that look like one of an earlier split",
    "keep images of one scene or film in one split",
)
DUPLICATE = Kind("duplicate-image", Level.WARNING, "images that are in the split already", "delete them")
NEAR_DUPLICATE = Kind(
    "near-duplicate-image",
    Level.NOTE,
    "images that look like another of the split",
    "fine if the split is of films; they count for little more than one",
)
CLASS_NEVER = Kind("class-without-boxes", Level.WARNING, "classes without any box", "label them, or delete the names")
CLASS_NOT_TRAINED = Kind(
    "class-not-in-train", Level.ERROR, "classes that are validated but never trained", "bring some into train"
)
CLASS_NOT_VALIDATED = Kind(
    "class-not-in-val", Level.WARNING, "classes that are trained but never validated", "bring some into val"
)
RARE_CLASS = Kind(
    "rare-class", Level.WARNING, "classes that are hardly there", "collect more; cls_pw above 0 weighs rare classes up"
)
SPLIT_RATIO = Kind("split-ratio", Level.WARNING, "odd shares of train and val", "80 to 15 to 5 is usual")
SMALL_VALIDATION = Kind(
    "noisy-validation",
    Level.WARNING,
    "too few validation images to tell good configurations apart",
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
    """Make one finding of all places of a kind in a split."""
    return Finding(
        kind=kind.name,
        level=kind.level,
        split=split,
        what=kind.what,
        remedy=kind.remedy,
        places=tuple(sorted(places, key=lambda place: (place.file, place.line))),
    )


def loses_image(found: Finding) -> bool:
    """Tell whether the images at these places cannot be trained on."""
    return found.kind in _LOSING


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings as a report lists them."""
    levels, splits = list(Level), ["", "train", "val", "test"]
    return tuple(sorted(findings, key=lambda f: (levels.index(f.level), _ORDER[f.kind], splits.index(f.split))))
