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
    """Data set, as in a `PrepareRequest`."""
    directory: str
    """Absolute path of an existing folder for the report and the log."""
    samples: bool = False
    """Add small images of the worst findings to the report."""
    clean_copy: str = ""
    """Absolute path of a new folder for a data set without the flaws that were found; empty for none."""
    use_cache: bool = False
    """Accept the report of an earlier check if no file has changed since."""


TRAIN_STEP = "train"
"""Step of the progress within an epoch."""


COMPILE_STEP = "compile"
"""Step of a preparation that compiles for the GPUs, which takes seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressRecord:
    """Report the progress of a check, of a preparation, or of training within an epoch."""

    type: ClassVar[str] = "progress"
    step: str
    """Part of a check; in training, `TRAIN_STEP`: batches of the epoch that follows the last `EpochRecord`; in a
    preparation, `COMPILE_STEP`."""
    done: int
    total: int
    """Number of images in this step of a check, of batches in the epoch, or of kinds of GPUs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanedRecord:
    """Describe the clean copy of a data set."""

    type: ClassVar[str] = "cleaned"
    data: str
    """Absolute path of its YAML."""
    num_images: int
    num_left_out: int
    """Number of unusable images, copies, and images that would leak from train into val or test."""
    num_rewritten: int
    """Number of images copied without the bytes after their end; all others are links."""
    num_rows: int
    """Number of label rows that were deleted, or cut at the border of the image."""


class Level(StrEnum):
    """Severity of a finding."""

    ERROR = "error"
    """Finding that loses images or makes metrics wrong."""
    WARNING = "warning"
    """Finding that lets training run, but most likely not as intended."""
    NOTE = "note"
    """Finding that is normal in many data sets, but worth a look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Place of a finding."""

    file: str
    line: int = 0
    """Line number, 1-based; 0 for the whole file."""
    found: str = ""
    """Content of the place."""
    other: str = ""
    """File that this one repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """All places of one split that have the same problem or oddity."""

    kind: str
    """Name of the kind, such as truncated-image; docs/data-check.md lists all."""
    level: Level
    split: str
    """Name of the split (train, val or test); empty if the finding is about the whole data set."""
    what: str
    """Description of the places, in the plural."""
    remedy: str
    places: tuple[Place, ...]
    """All places, in the order of files and lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFacts:
    """Content of a split."""

    images: int
    usable: int
    """Number of images that training or validation can use."""
    background: int
    """Number of usable images without a box."""
    unlabelled: int
    """Number of images without a label file."""
    boxes: int
    """Number of boxes on usable images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFacts:
    """Frequency of a class, by split."""

    name: str
    images: Mapping[str, int]
    boxes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeFacts:
    """Sizes of images and objects; those of objects apply when the longer side of the image is `imgsz`."""

    imgsz: int
    image_sizes: tuple[tuple[int, int, int], ...]
    """Most frequent sizes: width, height, number of images."""
    small: float
    medium: float
    large: float
    """Shares of the boxes with an area below 32 x 32 pixels, below 96 x 96, and above, as COCO divides them."""
    median_side: float
    """Median size in pixels: square root of the area."""
    tiny: float
    """Share of the boxes whose shorter side is below 8 pixels, one step of the finest grid of the detector."""
    boxes_per_image: float
    """Mean number of boxes on images that have any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFacts:
    """Estimate, before any training, of how much mAP50-95 varies between validation sets of the same kind."""

    images: int
    """Number of validation images with a box."""
    standard_deviation: float
    """Standard deviation of mAP50-95 of one configuration."""
    least_difference: float
    """Smallest difference between two configurations that these images can resolve (two standard deviations)."""
    images_for_a_point: int
    """Number of validation images that resolves a difference of 0.01; two digits are significant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Advice for training on the data set."""

    about: str
    """Subject: start, model, space or imgsz. `tune run` without a model uses the choice for model."""
    choice: str
    """Value for the command line; empty if there is none."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Small image of a place, with its boxes, for people."""

    kind: str
    """Kind of the finding."""
    split: str
    place: Place
    jpeg: str
    """JPEG file, in base64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """Result of a check."""

    data: str
    """Absolute path of the data set YAML, or of the COCO JSON file for train."""
    root: str
    """Absolute path of the folder that the paths in the YAML are relative to."""
    splits: Mapping[str, SplitFacts]
    classes: tuple[ClassFacts, ...]
    """Classes, in the order of their ids."""
    sizes: SizeFacts
    noise: NoiseFacts | None
    """Noise of the validation set; None if no validation image has a box."""
    findings: tuple[Finding, ...]
    """Findings, the worst first."""
    notes: tuple[str, ...]
    """Further notes on how the data set was read, one line each."""
    left_out: tuple[str, ...]
    """Absolute paths of the images that cannot be trained on."""
    advice: tuple[Advice, ...]
    refusal: str
    """Reason why the data set cannot be trained on as it is, on one line; empty if it can."""
    samples: tuple[Sample, ...] = ()
    """Samples of the worst findings, if requested."""


def told(place: Place) -> str:
    """Describe the place in a message."""
    where = f"{place.file}:{place.line}" if place.line else place.file
    more = [part for part in (place.found, f"matches {place.other}" if place.other else "") if part]
    return f"{where} ({', '.join(more)})" if more else where


def headline(found: Finding) -> str:
    """Summarise the finding on one line: number, description, first place, remedy."""
    split = f" in {found.split}" if found.split else ""
    first, number = told(found.places[0]), len(found.places)
    if number == 1:
        return f"{found.what}{split}: {first}; {found.remedy}"
    return f"{number} {found.what}{split}, the first: {first}; {found.remedy}"


def encode_report(report: DataReport) -> str:
    """Encode a report as JSON in ASCII, since file names need not be valid text."""
    return json.dumps({"version": REPORT_VERSION, **asdict(report)}, allow_nan=False, indent=1) + "\n"


def decode_report(text: str) -> DataReport:
    """Read what `encode_report` wrote.

    Raises:
        ValueError: the text is not a report, or has another version.
    """
    body = json.loads(text)
    if not isinstance(body, dict) or body.get("version") != REPORT_VERSION:
        raise ValueError(f"A data report must have version {REPORT_VERSION}")
    try:
        return record_of(DataReport, body)
    except TypeError as error:
        raise ValueError(f"A data report must be complete and valid: {error}") from error
