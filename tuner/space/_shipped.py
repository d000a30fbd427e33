"""Locate the shipped files of search spaces."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")
"""Folders of the shipped spaces in an installed package and in a checkout."""

SHIPPED_SPACES = next((place for place in _PLACES if place.is_dir()), _PLACES[0])
"""Folder of the shipped spaces; its folder `start_points` has the lists of starting points."""
