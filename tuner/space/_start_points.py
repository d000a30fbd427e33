"""Read starting points: configurations that a search tries after the default, from a shipped list or a space."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._arguments import ARGUMENTS, UnfitError, listed, nearest, shown
from tuner.space._parameter_reader import unknown_argument
from tuner.space._shipped import SHIPPED_SPACES
from tuner.space._yaml_nodes import Mapping as YamlMapping
from tuner.space._yaml_nodes import Node, Problem, Refused, Scalar, Sequence, read_tree

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_KEYS = ("name", "source", "values")
_EXAMPLE = "{name: gentle, values: {lr0: 0.005, mosaic: 0.5}}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StartPoint:
    """Configuration that is known to train detectors well, independent of any space."""

    name: str
    values: Mapping[str, ParamValue]
    """Values by ultralytics' names; a space uses those that it searches."""
    source: str = ""
    """Where it is published: an address."""

    @property
    def origin(self) -> str:
        """Name and source, for people and records."""
        return f"{self.name} ({self.source})" if self.source else self.name


def start_point_of(origin: str) -> str:
    """Return the name of the starting point with this origin."""
    return origin.partition(" ")[0]


def read_start_points(node: Node) -> tuple[list[StartPoint], list[Problem]]:
    """Return the starting points of a node, which is the name of a shipped list or a list, and the problems."""
    if isinstance(node, Scalar):
        return _shipped(node)
    problems: list[Problem] = []
    return [] if isinstance(node, Refused) else list(_points(node, problems)), problems


def shipped_start_points(name: str) -> tuple[StartPoint, ...]:
    """Return a shipped list.

    Raises:
        SpaceError: there is no such list, or it has problems.
    """
    points, problems = _shipped(Scalar(line=0, value=name))
    if problems:
        raise SpaceError("\n".join(problem.text for problem in problems))
    return tuple(points)


def _shipped(node: Scalar) -> tuple[list[StartPoint], list[Problem]]:
    lists = {file.stem: file for file in sorted((SHIPPED_SPACES / "start_points").glob("*.yaml"))}
    file = lists.get(str(node.value))
    if file is None:
        near = nearest(str(node.value), lists)
        remedy = f"did you mean {near}?" if near else f"name a list, or write points such as [{_EXAMPLE}]"
        text = f"`start_points` takes the name of a list ({listed(lists)}) or a list, but got {shown(node.value)}"
        return [], [Problem(line=node.line, text=f"{text}; {remedy}")]
    root, problems = read_tree(file.read_text(encoding="utf-8"))
    points: list[StartPoint] = []
    if root is not None and not problems:
        points, problems = read_start_points(root)
    return points, [Problem(line=node.line, text=f"{file}:{each.line}: {each.text}") for each in problems]


def _points(node: Node, problems: list[Problem]) -> Iterator[StartPoint]:
    items = node.items if isinstance(node, Sequence) else []
    if not items:
        text = f"`start_points` takes the name of a list, or a list of points, but got neither; write [{_EXAMPLE}]"
        problems.append(Problem(line=node.line, text=text))
    names: set[str] = set()
    for item in items:
        if isinstance(item, YamlMapping):
            before = len(problems)
            point = _point(item, problems)
            if point.name in names:
                text = f"starting points must have different names, but got {shown(point.name)} again; rename one"
                problems.append(Problem(line=item.line, text=text))
            names.add(point.name)
            if len(problems) == before:
                yield point
        elif not isinstance(item, Refused):
            text = f"a starting point must be a mapping, but got something else; write {_EXAMPLE}"
            problems.append(Problem(line=item.line, text=text))


def _point(item: YamlMapping, problems: list[Problem]) -> StartPoint:
    for key in item.entries:
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            remedy = f"did you mean {near}?" if near else "write arguments below `values`"
            text = f"a starting point takes {', '.join(_KEYS)}, but got {shown(key)}; {remedy}"
            problems.append(Problem(line=item.key_lines[key], text=text))
    name, source = (_text(item, key, problems) for key in _KEYS[:2])
    if name and not _NAME.fullmatch(name):
        text = f"the name of a starting point takes letters, digits, dots and hyphens, but got {shown(name)}; rename it"
        problems.append(Problem(line=item.key_lines["name"], text=text))
    return StartPoint(name=name, source=source, values=dict(_values(item, problems)))


def _text(item: YamlMapping, key: str, problems: list[Problem]) -> str:
    node = item.entries.get(key)
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.value.strip():
        return node.value.strip()
    is_left_out = node is None and key != "name"
    if not is_left_out and not isinstance(node, Refused):
        given = "it is missing" if node is None else "got something else"
        line = item.line if node is None else node.line
        text = f"`{key}` of a starting point takes text, but {given}; write it as in {_EXAMPLE}"
        problems.append(Problem(line=line, text=text))
    return ""


def _values(item: YamlMapping, problems: list[Problem]) -> Iterator[tuple[str, ParamValue]]:
    node = item.entries.get("values")
    if not isinstance(node, YamlMapping) or not node.entries:
        if not isinstance(node, Refused):
            line = item.line if node is None else node.line
            text = f"`values` of a starting point must map arguments to values; write it as in {_EXAMPLE}"
            problems.append(Problem(line=line, text=text))
        return
    for name, value in node.entries.items():
        line = node.key_lines[name]
        if isinstance(value, Refused):
            continue
        try:
            yield name, _checked(name, value)
        except UnfitError as unfit:
            problems.append(Problem(line=line, text=str(unfit)))


def _checked(name: str, node: Node) -> ParamValue:
    argument = ARGUMENTS.get(name)
    if argument is None:
        raise UnfitError(unknown_argument(name))
    if argument.fixed_only:
        raise UnfitError(f"`{name}` cannot be in a starting point: {argument.fixed_only}; remove it")
    if not isinstance(node, Scalar):
        raise UnfitError(f"`{name}` takes one value, but got a list or mapping; choose one value")
    return argument.checked(node.value)
