"""Escape text from users, files and trainers (names, paths, messages) so that it is safe to print."""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line breaks end a comment or a row, and ESC controls a terminal
    "\u2028\u2029"  # also line breaks for many programs
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of writing, so one name looks like another
    "\ud800-\udfff]"  # surrogates, from file names in invalid UTF-8: they cannot be encoded
)


def printable(text: str) -> str:
    """Return the text on one line, with unsafe characters escaped as in Python and all others unchanged."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
