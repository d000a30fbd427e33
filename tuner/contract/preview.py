"""Define the preview of augmentation: which contact sheets to draw, and what was drawn."""

from dataclasses import dataclass
from typing import ClassVar

from tuner.contract.messages import Params


@dataclass(frozen=True, kw_only=True, slots=True)
class SheetSettings:
    """Describe one contact sheet."""

    name: str
    """Name of the file, without the suffix."""
    title: str
    """Heading on the sheet."""
    params: Params
    """Hyper-parameters, as in a `TrainRequest`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRequest:
    """Draw training images as each configuration augments them, one sheet for each."""

    type: ClassVar[str] = "preview"
    data: str
    """Data set, as in a `PrepareRequest`."""
    directory: str
    """Absolute path of an existing folder for the log."""
    out: str
    """Absolute path of the folder for the sheets; the trainer creates it if it is missing."""
    sheets: tuple[SheetSettings, ...]
    images: int
    """Number of rows of a sheet, at least 1; each sheet shows the same images."""
    draws: int
    """Number of augmented images in a row, at least 1."""
    seed: int
    """Random seed, 0 or more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRecord:
    """List the sheets that were written."""

    type: ClassVar[str] = "previewed"
    files: tuple[str, ...]
    """Absolute paths, in the order of the request's sheets."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one line each."""
