"""Define the check of a data set: the request, its progress, and the report, a JSON file of plain records.

A report is too large for the pipe. The trainer writes it to `run_folder.DATA_REPORT` in the request's directory.
docs/data-check.md explains the findings.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar

from tuner.contract._json_values import record_of

REPORT_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCheckRequest:
    """Check a data set and write a report. The user's files are only read."""

    type: ClassVar[str] = "check_data"
    data: str
    """As in a `PrepareRequest`."""
    directory: str
    """Absolute path of an existing folder for the report and the log."""
    samples: bool = False
    """Add small images of the worst findings to the report."""
    clean_copy: str = ""
    """Absolute path of a new folder for a data set without the flaws that were found; empty for none."""
    use_cache: bool = False
    """Accept the report of an earlier check if no file has changed since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressRecord:
    """Tell how far a check is."""

    type: ClassVar[str] = "progress"
    step: str
    done: int
    total: int
    """Images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanedRecord:
    """Describe the clean copy of a data set."""

    type: ClassVar[str] = "cleaned"
    data: str
    """Absolute path of its YAML."""
    num_images: int
    num_left_out: int
    """Images that cannot be used, copies, and images that would leak from train into val or test."""
    num_rewritten: int
    """Images copied without the bytes after their end; all others are links."""
    num_rows: int
    """Rows of label files that were deleted, or cut at the border of the image."""


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Images are lost to it, or values of merit are wrong."""
    WARNING = "warning"
    """Training runs, but most likely not as it should."""
    NOTE = "note"
    """As it should be in many data sets; worth a look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something was found."""

    file: str
    line: int = 0
    """1-based; 0 for the whole file."""
    found: str = ""
    """What stands there."""
    other: str = ""
    """The file that this one repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """All places of one split where the same thing is wrong or odd."""

    kind: str
    """Such as truncated-image; one of those in docs/data-check.md."""
    level: Level
    split: str
    """train, val or test; empty where it is about the whole data set."""
    what: str
    """What the places are, in the plural."""
    remedy: str
    places: tuple[Place, ...]
    """All of them, in the order of files and lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFacts:
    """What a split holds."""

    images: int
    usable: int
    """Images that can be trained on or validated with."""
    background: int
    """Of these, images without a box."""
    unlabelled: int
    """Images without a label file."""
    boxes: int
    """On usable images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFacts:
    """How often a class is there, by split."""

    name: str
    images: Mapping[str, int]
    boxes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeFacts:
    """How large images and objects are; objects as they are when the longer side of their image is `imgsz`."""

    imgsz: int
    image_sizes: tuple[tuple[int, int, int], ...]
    """The most frequent ones: width, height, number of images."""
    small: float
    medium: float
    large: float
    """Shares of the boxes with an area below 32 x 32 pixels, below 96 x 96, and above, as COCO parts them."""
    median_side: float
    """In pixels: square root of the area."""
    tiny: float
    """Share of the boxes whose shorter side is below 8 pixels, one step of the finest grid of the detector."""
    boxes_per_image: float
    """On images that have any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFacts:
    """How much mAP50-95 would change with other validation images of the kind, estimated before any training."""

    images: int
    """Validation images with a box."""
    standard_deviation: float
    """Of one configuration's value."""
    least_difference: float
    """Two configurations that differ by less on these images cannot be told apart (two standard deviations)."""
    images_for_a_point: int
    """Validation images of the kind that would tell apart what differs by 0.01; two digits of it count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to do with such a data set."""

    about: str
    """start, model, space or imgsz. `tune run` without a model takes the choice about model."""
    choice: str
    """What to give on the command line; empty where there is nothing to give."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A small image of a place, with its boxes, for people to look at."""

    kind: str
    """Of the finding."""
    split: str
    place: Place
    jpeg: str
    """The file, in base64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """A whole check."""

    data: str
    """Absolute path of the data set YAML."""
    root: str
    """Absolute folder that the paths in it count from."""
    splits: Mapping[str, SplitFacts]
    classes: tuple[ClassFacts, ...]
    """By class id."""
    sizes: SizeFacts
    noise: NoiseFacts | None
    """None where no validation image has a box."""
    findings: tuple[Finding, ...]
    """The worst first."""
    notes: tuple[str, ...]
    """What else is worth knowing of how it was read, a line each."""
    left_out: tuple[str, ...]
    """Absolute paths of the images that cannot be trained on."""
    advice: tuple[Advice, ...]
    refusal: str
    """Why the data set cannot be trained on as it is, one line; empty where it can."""
    samples: tuple[Sample, ...] = ()
    """Of the worst findings, where they were asked for."""


def told(place: Place) -> str:
    """The place, for a message."""
    where = f"{place.file}:{place.line}" if place.line else place.file
    more = [part for part in (place.found, f"as {place.other}" if place.other else "") if part]
    return f"{where} ({', '.join(more)})" if more else where


def headline(found: Finding) -> str:
    """The finding in one line: how many, what, the first place, the remedy."""
    split = f" in {found.split}" if found.split else ""
    first, number = told(found.places[0]), len(found.places)
    if number == 1:
        return f"{found.what}{split}: {first}; {found.remedy}"
    return f"{number} {found.what}{split}, the first: {first}; {found.remedy}"


def encode_report(report: DataReport) -> str:
    """As JSON, in ASCII: names of files need not be valid text."""
    return json.dumps({"version": REPORT_VERSION, **asdict(report)}, allow_nan=False, indent=1) + "\n"


def decode_report(text: str) -> DataReport:
    """Read what `encode_report` wrote.

    Raises:
        ValueError: it is no report, or one of another version.
    """
    body = json.loads(text)
    if not isinstance(body, dict) or body.get("version") != REPORT_VERSION:
        raise ValueError(f"A data report must have version {REPORT_VERSION}")
    try:
        return record_of(DataReport, body)
    except TypeError as error:
        raise ValueError(f"Not a whole data report: {error}") from error
