"""Read the YAML text of a space into a checked `Space`, or report all problems at once."""

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._arguments import nearest, shown
from tuner.space._parameter_reader import ParameterReader
from tuner.space._parameters import Parameter
from tuner.space._rules import GivenValue, checked_baseline, in_order, parameter_problems
from tuner.space._settings import SETTING_NAMES, SearchSettings, setting_problems, tracker_problem
from tuner.space._space import Space
from tuner.space._start_points import read_start_points
from tuner.space._yaml_nodes import Mapping, Node, Problem, Refused, Scalar, Sequence, read_tree
from tuner.system.printable import printable

_KEYS = ("description", "data", "model", "log", "search", "parameters", "baseline")
_MOST_LINES = 100


def parse_space(text: str, *, name: str, file: str) -> Space:
    """Read a space from YAML.

    Args:
        text: the YAML text.
        name: the name of the space in records and reports.
        file: the name of the file in messages.

    Raises:
        SpaceError: the text breaks rules; one line "file:line: rule, value given; remedy" for each problem.
    """
    root, problems = read_tree(text)
    reader = _Reader(problems)
    space = reader.read(root, name=name, file=file) if root is not None else None
    if problems or space is None:
        ordered = sorted(problems, key=lambda problem: problem.line)
        lines = list(dict.fromkeys(printable(f"{file}:{problem.line}: {problem.text}") for problem in ordered))
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES:] = [printable(f"{file}: and {len(lines) - _MOST_LINES} more")]
        raise SpaceError("\n".join(lines))
    return space


class _Reader:
    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def read(self, root: Node, *, name: str, file: str) -> Space | None:
        """Return the space, or None if it has problems."""
        if not isinstance(root, Mapping):
            if not isinstance(root, Refused):
                self._refuse(root.line, f"a space must be a mapping, but got something else; start with {_KEYS[-2]}:")
            return None
        if "lr0" in root.entries and "parameters" not in root.entries:
            text = "these are training arguments, not a search space; pass the file to `tune train --params`, or write"
            self._refuse(root.line, f"{text} the arguments to search below `parameters`")
            return None
        self._check_keys(root, _KEYS, "a space takes")
        description, data, model = (self._text(root, key) for key in _KEYS[:3])
        log = self._log(root)
        settings = self._settings(root)
        parameters, baseline = self._parameters_and_baseline(root)
        if self._problems or settings is None:
            return None
        return Space(
            name=name,
            file=file,
            description=description or "",
            data=data,
            model=model,
            log=log,
            settings=settings,
            parameters=tuple(parameters),
            baseline=baseline,
        )

    def _refuse(self, line: int, text: str) -> None:
        self._problems.append(Problem(line=line, text=text))

    def _check_keys(self, part: Mapping, known: tuple[str, ...], rule: str) -> None:
        for key in part.entries:
            if key not in known:
                near = nearest(key, known)
                remedy = f"did you mean {near}?" if near else "remove it"
                self._refuse(part.key_lines[key], f"{rule} {', '.join(known)}, but got {shown(key)}; {remedy}")

    def _text(self, root: Mapping, key: str) -> str | None:
        node = root.entries.get(key)
        if node is None or isinstance(node, Refused):
            return None
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value.strip():
            return node.value.strip()
        self._refuse(node.line, f"`{key}` takes text, but got something else; write it in quotes or leave the key out")
        return None

    def _log(self, root: Mapping) -> tuple[str, ...]:
        """Return the trackers: one name, or a list of names."""
        node = root.entries.get("log")
        if node is None or isinstance(node, Refused):
            return ()
        names = []
        for item in node.items if isinstance(node, Sequence) else (node,):
            if isinstance(item, Scalar):
                problem = tracker_problem(item.value)
                names.append(str(item.value))
            else:
                problem = "takes names of trackers, but got something else; write them as [tensorboard]"
            if problem and not isinstance(item, Refused):
                self._refuse(item.line, f"`log` {problem}")
        return tuple(dict.fromkeys(names))

    def _part(self, root: Mapping, key: str, remedy: str) -> Mapping | None:
        node = root.entries.get(key)
        if isinstance(node, Mapping):
            return node
        if not isinstance(node, Refused):
            line = root.line if node is None else node.line
            given = "it is missing" if node is None else "got something else"
            self._refuse(line, f"`{key}` must be a mapping, but {given}; {remedy}")
        return None

    def _settings(self, root: Mapping) -> SearchSettings | None:
        if "search" not in root.entries:
            return SearchSettings()
        part = self._part(root, "search", "write settings such as `epochs: 50` below it, or leave it out")
        if part is None:
            return None
        self._check_keys(part, SETTING_NAMES, "`search` takes")
        values: dict[str, object] = {}
        for key in SETTING_NAMES:
            node = part.entries.get(key)
            if node is not None and key == "start_points":
                points, problems = read_start_points(node)
                self._problems.extend(problems)
                values[key] = tuple(points)
            elif isinstance(node, Scalar):
                values[key] = node.value
            elif isinstance(node, Sequence) and key == "rungs":
                values[key] = tuple(item.value if isinstance(item, Scalar) else None for item in node.items)
            elif node is not None and not isinstance(node, Refused):
                self._refuse(node.line, f"`{key}` takes one value, but got a list or mapping; write `{key}: value`")
        found = setting_problems(values)
        for key, text in found:
            self._refuse(part.key_lines.get(key, part.line), text)
        return None if found else SearchSettings(**values)  # type: ignore[arg-type]

    def _parameters_and_baseline(self, root: Mapping) -> tuple[list[Parameter], dict[str, ParamValue]]:
        remedy = "write one parameter per line, such as `lr0: {float: [0.001, 0.1], log: true}`"
        part = self._part(root, "parameters", remedy)
        baseline_part = self._part(root, "baseline", "give each searched parameter its default value below it")
        if part is None:
            return [], {}
        reader = ParameterReader(self._problems)
        parameters = reader.read(part)
        line = root.key_lines["parameters"]
        found = parameter_problems(parameters, reader.unreadable, line)
        self._problems.extend(found)
        if found or baseline_part is None:
            # The parameters that are active in the baseline cannot be determined.
            return parameters, {}
        parameters = in_order(parameters)
        given = self._given_values(baseline_part, reader.unreadable)
        baseline, found = checked_baseline(parameters, given, reader.unreadable, root.key_lines["baseline"])
        self._problems.extend(found)
        return parameters, baseline

    def _given_values(self, part: Mapping, unreadable: set[str]) -> dict[str, GivenValue]:
        given = {}
        for name, node in part.entries.items():
            if isinstance(node, Scalar):
                given[name] = GivenValue(line=part.key_lines[name], value=node.value)
                continue
            unreadable.add(name)
            if not isinstance(node, Refused):
                self._refuse(
                    node.line, f"baseline: `{name}` takes one value, but got a list or mapping; choose one value"
                )
        return given
