"""What a trainer finds out about a data set: plain records, and the JSON file that they are in.

The records of a check are too many for the pipe, so the trainer leaves them in a file and names it. Like the contract,
this module needs nothing but the standard library, so that both sides can import it. docs/data-check.md explains what
is found.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar, cast

REPORT_VERSION = 1

Record = TypeVar("Record")


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Pictures are lost to it, or figures of merit are wrong."""
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
    """Such as truncated-picture; one of those in docs/data-check.md."""
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

    pictures: int
    usable: int
    """Pictures that can be trained on or validated with."""
    background: int
    """Of these, pictures without a box."""
    unlabelled: int
    """Pictures without a label file."""
    boxes: int
    """On usable pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFacts:
    """How often a class is there, by split."""

    name: str
    pictures: Mapping[str, int]
    boxes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeFacts:
    """How large pictures and objects are; objects as they are when the longer side of their picture is `imgsz`."""

    imgsz: int
    picture_sizes: tuple[tuple[int, int, int], ...]
    """The most frequent ones: width, height, number of pictures."""
    small: float
    medium: float
    large: float
    """Shares of the boxes with an area below 32 x 32 pixels, below 96 x 96, and above, as COCO parts them."""
    median_side: float
    """In pixels: square root of the area."""
    tiny: float
    """Share of the boxes whose shorter side is below 8 pixels, one step of the finest grid of the detector."""
    boxes_per_picture: float
    """On pictures that have any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseFacts:
    """How much mAP50-95 would change with other validation pictures of the kind, estimated before any training."""

    pictures: int
    """Validation pictures with a box."""
    standard_deviation: float
    """Of one configuration's figure."""
    least_difference: float
    """Two configurations that differ by less on these pictures cannot be told apart (two standard deviations)."""
    pictures_for_a_point: int
    """Validation pictures of the kind that would tell apart what differs by 0.01; two digits of it count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What to do with such a data set."""

    about: str
    """start, model, space or imgsz."""
    choice: str
    """What to give on the command line; empty where there is nothing to give."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A small picture of a place, with its boxes, for people to look at."""

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
    """None where no validation picture has a box."""
    findings: tuple[Finding, ...]
    """The worst first."""
    notes: tuple[str, ...]
    """What else is worth knowing of how it was read, a line each."""
    left_out: tuple[str, ...]
    """Absolute paths of the pictures that cannot be trained on."""
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
        return _report(body)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"Not a whole data report: {error}") from error


def _report(body: Mapping[str, Any]) -> DataReport:
    built = {
        "splits": {name: _made(SplitFacts, facts) for name, facts in body["splits"].items()},
        "classes": tuple(_made(ClassFacts, facts) for facts in body["classes"]),
        "sizes": _made(SizeFacts, body["sizes"], picture_sizes=tuple(map(tuple, body["sizes"]["picture_sizes"]))),
        "noise": _made(NoiseFacts, body["noise"]) if body["noise"] else None,
        "findings": tuple(map(_finding, body["findings"])),
        "left_out": tuple(body["left_out"]),
        "notes": tuple(body["notes"]),
        "samples": tuple(_made(Sample, each, place=_made(Place, each["place"])) for each in body["samples"]),
        "advice": tuple(_made(Advice, advice) for advice in body["advice"]),
    }
    return _made(DataReport, body, **built)


def _finding(body: Mapping[str, Any]) -> Finding:
    places = tuple(_made(Place, place) for place in body["places"])
    return _made(Finding, body, places=places, level=Level(body["level"]))


def _made(kind: type[Record], body: Mapping[str, Any], **built: Any) -> Record:
    """A record of this kind; fields that it does not know are left out."""
    known = {field.name for field in fields(cast(Any, kind))}
    return kind(**{name: value for name, value in body.items() if name in known} | built)
