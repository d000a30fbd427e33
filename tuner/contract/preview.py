"""Define the preview of augmentation: which contact sheets to draw, and what was drawn."""

from dataclasses import dataclass
from typing import ClassVar

from tuner.contract.messages import Params


@dataclass(frozen=True, kw_only=True, slots=True)
class SheetSettings:
    """Describe one contact sheet."""

    name: str
    """Of its file, without the suffix."""
    title: str
    """The heading on the sheet."""
    params: Params
    """As in a `TrainRequest`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRequest:
    """Draw training images as each configuration augments them, one sheet for each."""

    type: ClassVar[str] = "preview"
    data: str
    """As in a `PrepareRequest`."""
    directory: str
    """Absolute path of an existing folder for the log."""
    out: str
    """Absolute path of the folder for the sheets; the trainer makes it if it is missing."""
    sheets: tuple[SheetSettings, ...]
    images: int
    """Rows of a sheet, at least 1: the same images on each sheet."""
    draws: int
    """Augmented images in a row, at least 1."""
    seed: int
    """0 or more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRecord:
    """List the sheets that were written."""

    type: ClassVar[str] = "previewed"
    files: tuple[str, ...]
    """Absolute paths, in the order of the request's sheets."""
    notes: tuple[str, ...] = ()
    """What the user should know, one line each."""
