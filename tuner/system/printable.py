"""Text of unknown origin, made safe to show: names, paths and messages that a user, a file or a trainer chose."""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line breaks end a comment or a row, ESC orders a terminal about
    "\u2028\u2029"  # line breaks too, for many readers
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of writing: a name reads as another one
    "\ud800-\udfff]"  # halves of characters, from file names that are no UTF-8: they cannot be written at all
)


def printable(text: str) -> str:
    """The text on one line, with what is unsafe to show as Python would escape it; all else stays as it is."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
