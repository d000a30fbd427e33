"""Describe the content of a page, whatever it is about."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuner.report.page.charts.style import Spec, Style


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Chart with a name of its own."""

    name: str
    """Name of its file, without extension; unique on the page."""
    draw: Callable[[Style], Spec]
    title: str = ""
    """Title, if the section has several charts."""
    description: str = ""
    """What it shows, for readers who cannot see it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Table of texts; columns of numbers are aligned to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    """0-based columns that hold numbers."""
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """Image that the page carries in itself."""

    content: bytes
    media_type: str
    """Such as `image/png`."""
    alt: str
    """What it shows, for readers who cannot see it."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Preformatted text: a part of a log, a command or a file."""

    content: str
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """Sentences between other items."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """Items that are folded until the reader opens them; in print they are open."""

    summary: str
    items: tuple["Item", ...]
    is_dense: bool = False
    """True if several of its items fit side by side."""


Item = Chart | Table | Image | Text | Paragraph | Details


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Items under one heading."""

    title: str
    """What the section shows, as a statement if possible."""
    note: str
    """How to read it; empty if there is nothing to say."""
    items: tuple[Item, ...]
    is_dense: bool = False
    """True if several of its items fit side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Content of a page."""

    title: str
    headline: str
    """Result in one sentence."""
    lead: str
    """What a reader needs next, in a few sentences; can be empty."""
    sections: tuple[Section, ...]
    notice: str = ""
    """Warning above all else, such as that the run is still in progress; empty for none."""

    def charts(self) -> Iterator[Chart]:
        """Yield all charts in their order on the page, folded ones too."""
        for section in self.sections:
            yield from _charts(section.items)


def _charts(items: tuple[Item, ...]) -> Iterator[Chart]:
    for item in items:
        if isinstance(item, Chart):
            yield item
        elif isinstance(item, Details):
            yield from _charts(item.items)
