"""Parse a large JSON file item by item: memory depends on the largest item, not on the file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from trainer.data.dataset_yaml import Place, data_error, shown

_CHUNK = 1 << 20
"""Characters to read at once."""
_CUT = 16
"""Maximum distance in characters from the end of the text at which the rest of a literal or escape may be missing."""
_MOST = 1 << 28
"""Maximum length of one item in characters; real ones have a thousandth of it."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

TOP = ""
"""Key of the items of a file that is one list."""


def items(file: Path) -> Iterator[tuple[str, object]]:
    """Yield each item of the lists in a JSON object with the list's key, and each other value with its own key.

    An empty list is yielded as a value. If the file is one list, the key of its items is `TOP`.

    Raises:
        DataError: The file cannot be read, or is not JSON.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield from _Reader(stream, file).items()
    except UnicodeDecodeError as error:
        rule = f"A JSON file must be UTF-8 text, but got byte {error.object[error.start]:#04x}"
        raise data_error(Place(file=file), rule, "save it as UTF-8") from error
    except OSError as error:
        rule = f"A JSON file must be readable, but got {error.strerror!r}"
        raise data_error(Place(file=file), rule, "check the path and its permissions") from error


class _Reader:
    """A part of the file, and the position in it."""

    def __init__(self, stream: TextIO, file: Path) -> None:
        self._stream, self._file = stream, file
        self._text, self._at = "", 0
        self._lines = 1
        """Line number of the beginning of the text."""

    def items(self) -> Iterator[tuple[str, object]]:
        first = self._next()
        if first == "[":
            yield from self._list(TOP)
        elif first == "{":
            yield from self._members()
        else:
            self._at = 0
            raise self._refused(_beginning(self._text), _remedy(self._text))
        if rest := self._next():
            raise self._refused(f"{rest!r} after its end", "delete the rest of the file")

    def _members(self) -> Iterator[tuple[str, object]]:
        for _ in self._separated("}"):
            key = self._value()
            if not isinstance(key, str):
                raise self._refused(f"{shown(key)} where a key in quotes belongs", "export the file again")
            if self._next() != ":":
                raise self._unexpected("':'")
            self._at += 1
            if self._next() == "[":
                yield from self._list(key)
            else:
                yield key, self._value()

    def _list(self, key: str) -> Iterator[tuple[str, object]]:
        empty = True
        for _ in self._separated("]"):
            yield key, self._value()
            empty = False
        if empty:
            yield key, []

    def _separated(self, end: str) -> Iterator[None]:
        """Pass a bracket, the commas, and the closing bracket; yield where each item begins."""
        self._at += 1
        if self._next() == end:
            self._at += 1
            return
        while True:
            yield
            after = self._next()
            self._at += 1
            if after == end:
                return
            if after != ",":
                self._at -= 1
                raise self._unexpected(f"',' or '{end}'")

    def _next(self) -> str:
        """Skip white space and return the next character without passing it; empty at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _value(self) -> object:
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error) and self._read_on():
                    continue
                self._at = error.pos
                raise self._unexpected("a value" if error.msg == "Expecting value" else error.msg) from error
            except (ValueError, RecursionError) as error:  # a number of 5000 digits, a thousand brackets
                raise self._refused(f"a value that no program reads ({type(error).__name__})", _EXPORT) from error
            # A number near the end of the text may continue: 6 of `6.` or `6e+`.
            if end <= len(self._text) - _CUT or not self._read_on():
                self._at = end
                return value

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self._text) - _CUT or error.msg.startswith("Unterminated string")

    def _read_on(self) -> bool:
        """Read the next part and forget what is passed; return False at the end of the file."""
        left = len(self._text) - self._at
        if left > _MOST:
            raise self._refused(f"one item of more than {_MOST:,} characters", _EXPORT)
        # At least as much again: the time for one long item then grows with its length, not with the square.
        part = self._stream.read(max(_CHUNK, left))
        if not part:
            return False
        self._lines += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + part, 0
        return True

    def _unexpected(self, wanted: str) -> Exception:
        if self._at >= len(self._text.rstrip()) or wanted.startswith("Unterminated string"):
            return self._refused("a file that ends early", "copy or export it again")
        return self._refused(f"{self._text[self._at : self._at + 20]!r} instead of {wanted}", _EXPORT)

    def _refused(self, found: str, remedy: str) -> Exception:
        line = self._lines + self._text.count("\n", 0, self._at)
        return data_error(Place(file=self._file, line=line), f"The file must be JSON, but got {found}", remedy)


_EXPORT = "export the file again"


def _beginning(text: str) -> str:
    return "an empty file" if not text.strip() else f"text that begins with {text.lstrip()[:20]!r}"


def _remedy(text: str) -> str:
    if text.startswith("version https://git-lfs"):
        return "this is a pointer of Git LFS: fetch the file with `git lfs pull`"
    return "check the path"
