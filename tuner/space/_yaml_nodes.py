"""Parse YAML text into a tree of plain values with line numbers, and refuse every feature that a space does not need.

The tree is built from the parser's events instead of its objects, so a hostile file is refused before any object
exists: no aliases (a small file can expand to gigabytes), no anchors, no tags (they name classes), and limits on size,
line length and depth, which keep parsing fast. Values follow YAML 1.2: 1e-5 is a number,
`yes` and `on` are text.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from tuner.contract import ParamValue
from tuner.space._arguments import shown

MAX_BYTES = 256 * 1024
"""Maximum file size. The largest shipped space has 4 KiB; the slowest text of this size takes 1/3 of a second."""
MAX_LINE_LENGTH = 10_000
"""Maximum characters in a line. The parser's time for a tag is quadratic in its length, and a tag fits in one line."""
MAX_DEPTH = 32
MAX_NODES = 5000
"""Maximum number of keys and values; the largest shipped space has a few hundred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A broken rule and its line."""

    line: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scalar:
    line: int
    value: ParamValue | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A placeholder for a part that is already reported, so no other rule reports it."""

    line: int


@dataclass(kw_only=True, slots=True)
class Sequence:
    line: int
    items: list["Node"] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Mapping:
    line: int
    entries: dict[str, "Node"] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)


Node = Scalar | Refused | Sequence | Mapping


def read_tree(text: str) -> tuple[Node | None, list[Problem]]:
    """Return the tree of a document, or None if it cannot be read completely, and its problems as YAML."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return None, [Problem(line=1, text=f"a space must not exceed {MAX_BYTES} bytes; is this the right file?")]
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MAX_LINE_LENGTH:
            rule = f"a line must not exceed {MAX_LINE_LENGTH} characters, but this one has {len(line)}"
            return None, [Problem(line=number, text=f"{rule}; is this the right file?")]
    builder = _Builder()
    try:
        # A generator, so the builder sees each event before the parser continues.
        for event in YAML(typ="safe", pure=True).parse(text):
            if not builder.takes(event):
                return None, builder.problems
    except (YAMLError, ValueError) as error:
        builder.problems.append(_syntax_problem(error, text))
        return None, builder.problems
    if builder.root is None:
        builder.refuse(1, "the file is empty; a space needs at least `parameters` and `baseline`")
    return builder.root, builder.problems


def _syntax_problem(error: YAMLError | ValueError, text: str) -> Problem:
    if isinstance(error, ValueError):
        # Escapes beyond Unicode and version numbers with thousands of digits pass the parser's own checks.
        return Problem(line=1, text="not YAML: a number in an escape or a directive is out of range; remove it")
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return Problem(line=error.problem_mark.line + 1, text=f"not YAML: {error.problem}; check the indentation")
    position = getattr(error, "position", 0)
    line = text.count("\n", 0, position if isinstance(position, int) else 0) + 1
    return Problem(line=line, text="not YAML: an invalid character; save the file as UTF-8 text")


def _name(anchor: str) -> str:
    return shown(anchor).strip("'")


class _Key(Enum):
    COMES_NEXT = auto()
    REFUSED = auto()
    """The key's value is dropped."""


class _Builder:
    """A builder that takes events one by one and extends the tree."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._open: list[Sequence | Mapping] = []
        self._keys: list[str | _Key] = []
        """Key that waits for its value, for each open mapping."""
        self._documents = 0
        self._num_nodes = 0

    def refuse(self, line: int, text: str) -> None:
        self.problems.append(Problem(line=line, text=text))

    def takes(self, event: Event) -> bool:
        """Process an event; False to stop reading."""
        line = event.start_mark.line + 1
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self.refuse(line, "a space must be one document, but got a second one after `---`; remove it")
                    return False
            case MappingEndEvent() | SequenceEndEvent():
                closed = self._open.pop()
                if isinstance(closed, Mapping):
                    self._keys.pop()
            case NodeEvent():
                return self._takes_node(event, line)
        return True

    def _takes_node(self, event: NodeEvent, line: int) -> bool:
        if len(self._open) >= MAX_DEPTH:
            self.refuse(line, f"a space must not nest deeper than {MAX_DEPTH} levels; is this the right file?")
            return False
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            self.refuse(line, f"a space must not have more than {MAX_NODES} keys and values; is this the right file?")
            return False
        node = self._node(event, line)
        self._place(Refused(line=line) if getattr(event, "tag", None) is not None else node, line)
        if isinstance(node, Mapping):
            self._keys.append(_Key.COMES_NEXT)
        if isinstance(node, Sequence | Mapping):
            self._open.append(node)
        return True

    def _node(self, event: NodeEvent, line: int) -> Node:
        if isinstance(event, AliasEvent):
            self.refuse(line, f"aliases are not allowed, but got *{_name(event.anchor)}; write the value out")
            return Refused(line=line)
        if event.anchor is not None:
            self.refuse(line, f"anchors are not allowed, but got &{_name(event.anchor)}; remove it")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.refuse(line, f"tags are not allowed, but got {shown(str(tag))}; write the bare value")
        if isinstance(event, SequenceStartEvent):
            return Sequence(line=line)
        if isinstance(event, MappingStartEvent):
            return Mapping(line=line)
        assert isinstance(event, ScalarEvent)
        is_plain = event.implicit[0]
        return Scalar(line=line, value=plain_value(event.value) if is_plain else event.value)

    def _place(self, node: Node, line: int) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = self._keys[-1]
        if key is _Key.COMES_NEXT:
            self._keys[-1] = self._key(parent, node, line)
            return
        if isinstance(key, str):
            parent.entries.setdefault(key, node)
        self._keys[-1] = _Key.COMES_NEXT

    def _key(self, mapping: Mapping, node: Node, line: int) -> str | _Key:
        if not isinstance(node, Scalar):
            self.refuse(line, "a key must be a name, but got something else; write `name: value`")
            return _Key.REFUSED
        key = node.value if isinstance(node.value, str) else str(node.value)
        if key in mapping.entries:
            first = mapping.key_lines[key]
            self.refuse(line, f"a key may occur once, but {shown(key)} is also in line {first}; remove one")
        else:
            mapping.key_lines[key] = line
        return key


_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_HEX_OR_OCTAL = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_DIGITS = 18


def plain_value(text: str) -> ParamValue | None:
    """Return the value of an unquoted scalar in YAML 1.2's core schema."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        # Python refuses to parse thousands of digits; a float fails the range check instead.
        return int(text) if len(text) <= _MOST_DIGITS else float(text)
    if _HEX_OR_OCTAL.fullmatch(text):
        return int(text, 0) if len(text) <= _MOST_DIGITS else float("inf")
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text
