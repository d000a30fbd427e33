"""Read the `parameters` of a space from YAML nodes, and record every problem with its line."""

from collections.abc import Iterator

from tuner.contract import ParamValue
from tuner.space._arguments import (
    ARGUMENTS,
    REFUSED,
    Argument,
    Kind,
    UnfitError,
    listed,
    meant_argument,
    nearest,
    shown,
)
from tuner.space._foreign import YOLOV5_NAMES
from tuner.space._parameters import (
    ChoiceParameter,
    Condition,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
)
from tuner.space._table import TABLE, Fate
from tuner.space._yaml_nodes import Mapping, Node, Problem, Refused, Scalar, Sequence

_FORMS = ("float", "int", "choice", "fixed")
_KEYS = (*_FORMS, "log", "step", "when")
_LIST_FORMS = {
    "float": ("[low, high]", "[0.1, 0.9]"),
    "int": ("[low, high]", "[1, 9]"),
    "choice": ("a list of values", "[a, b]"),
}
_EXAMPLE = "{float: [low, high]}, {int: [low, high]}, {choice: [a, b]} or a bare value to fix it"


def unknown_argument(name: str) -> str:
    """Explain why a space cannot name an argument, with a remedy."""
    reason = REFUSED.get(name.lower()) or _reason_of_the_table(name)
    if reason:
        return f"`{name}` {reason}"
    meant = meant_argument(name)
    remedy = f"did you mean {meant}?" if meant else "leave it out, or see search_spaces/README.md for the names"
    return f"parameters are ultralytics' training arguments, but got {shown(name)}; {remedy}"


def _reason_of_the_table(name: str) -> str:
    """Explain why an argument of YOLOv5 or of another version cannot be in a space; empty if it is unknown."""
    if name in YOLOV5_NAMES:
        return "is a hyper-parameter of YOLOv5, which ultralytics 8 does not have; leave it out"
    row = TABLE.get(name)
    if row is None:
        return ""
    return row.says if row.fate is Fate.REFUSED else "plays no role in training a detector; leave it out"


class ParameterReader:
    """A reader of single parameters that remembers which of them could not be read."""

    def __init__(self, problems: list[Problem]) -> None:
        self.unreadable: set[str] = set()
        """Names that already have a problem, so other rules do not report them again."""
        self._problems = problems

    def read(self, part: Mapping) -> list[Parameter]:
        """Return the parameters that could be read."""
        parameters: list[Parameter] = []
        for name, node in part.entries.items():
            before = len(self._problems)
            found = self._read_one(name, node, part.key_lines[name])
            if len(self._problems) > before or not found:
                self.unreadable.add(name)
            else:
                parameters.extend(found)
        return parameters

    def _refuse(self, line: int, text: str) -> None:
        self._problems.append(Problem(line=line, text=text))

    def _read_one(self, name: str, node: Node, line: int) -> list[Parameter]:
        argument = ARGUMENTS.get(name)
        if argument is None:
            self._refuse(line, unknown_argument(name))
            return []
        match node:
            case Scalar():
                value = self._checked(argument, node)
                return [] if value is None else [FixedParameter(name=name, value=value, line=line)]
            case Mapping():
                return list(self._variant(argument, node, line))
            case Sequence():
                return self._variants(argument, node, line)
            case Refused():
                return []

    def _variants(self, argument: Argument, node: Sequence, line: int) -> list[Parameter]:
        if not node.items or not all(isinstance(item, Mapping | Refused) for item in node.items):
            values = listed(item.value for item in node.items if isinstance(item, Scalar))
            kind = {Kind.FLOAT: "float", Kind.INT: "int"}.get(argument.kind)
            is_range = kind is not None and len(node.items) == 2 and not argument.fixed_only
            self._refuse(
                line,
                f"`{argument.name}`: a list must contain variants with `when`, but got [{values}]; "
                f"write {{choice: [{values or 'a, b'}]}} to search these values"
                + (f", or {{{kind}: [{values}]}} for the range between them" if is_range else ""),
            )
            return []
        return [
            parameter
            for item in node.items
            if isinstance(item, Mapping)
            for parameter in self._variant(argument, item, item.line)
        ]

    def _variant(self, argument: Argument, node: Mapping, line: int) -> Iterator[Parameter]:
        name, before = argument.name, len(self._problems)
        for key in node.entries:
            if key not in _KEYS:
                near = nearest(key, _KEYS)
                remedy = f"did you mean {near}?" if near else f"write {_EXAMPLE}"
                self._refuse(node.key_lines[key], f"`{name}` takes {', '.join(_KEYS)}, but got {shown(key)}; {remedy}")
        forms = [form for form in _FORMS if form in node.entries]
        if len(forms) != 1:
            if len(self._problems) == before:
                given = " and ".join(forms) or "none"
                self._refuse(line, f"`{name}` needs one of {', '.join(_FORMS)}, but got {given}; write {_EXAMPLE}")
            return
        self._check_form(argument, forms[0], node)
        when = self._conditions(argument, node)
        if len(self._problems) == before:
            parameter = self._parameter(argument, forms[0], node, line, when)
            if parameter is not None and len(self._problems) == before:
                for text in parameter.problems():
                    self._refuse(line, text)
                yield parameter

    def _check_form(self, argument: Argument, form: str, node: Mapping) -> None:
        name, line = argument.name, node.key_lines[form]
        if argument.fixed_only and form != "fixed":
            value = "" if argument.default is None else f" such as `{name}: {shown(argument.default)}`"
            self._refuse(
                line,
                f"`{name}` must be the same for every trial: {argument.fixed_only}; write one value{value}",
            )
        elif form == "int" and argument.kind is Kind.FLOAT:
            self._refuse(line, f"`{name}` takes real numbers, but got int; write {{float: [low, high], step: 1}}")
        elif form == "float" and argument.kind is Kind.INT:
            self._refuse(line, f"`{name}` takes whole numbers, but got float; write {{int: [low, high]}}")
        elif form in ("int", "float") and argument.kind in (Kind.BOOL, Kind.CHOICE):
            values = "true, false" if argument.kind is Kind.BOOL else listed(argument.options[:2])
            self._refuse(line, f"`{name}` cannot have a range, but got {form}; write {{choice: [{values}]}}")
        if form in ("choice", "fixed"):
            for key in ("log", "step"):
                if key in node.entries:
                    self._refuse(
                        node.key_lines[key],
                        f"`{name}`: `{key}` belongs to a range, but got it with {form}; leave it out",
                    )

    def _parameter(
        self, argument: Argument, form: str, node: Mapping, line: int, when: tuple[Condition, ...]
    ) -> Parameter | None:
        content, name = node.entries[form], argument.name
        if form == "fixed":
            value = self._checked(argument, content)
            return None if value is None else FixedParameter(name=name, value=value, when=when, line=line)
        values = self._listed_values(argument, form, content)
        if values is None:
            return None
        if form == "choice":
            return ChoiceParameter(name=name, choices=tuple(values), when=when, line=line)
        return self._range(argument, values, node, line, when)

    def _range(
        self,
        argument: Argument,
        bounds: list[ParamValue],
        node: Mapping,
        line: int,
        when: tuple[Condition, ...],
    ) -> Parameter | None:
        low, high = bounds
        log, step = self._log(argument, node), self._step(argument, node)
        if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
            if argument.multiple_of > 1 and (step or 1) % argument.multiple_of:
                unit = argument.multiple_of
                self._refuse(
                    line,
                    f"`{argument.name}` moves in steps of {unit}, but got {step or 1}; add `step: {unit}`",
                )
            return IntParameter(name=argument.name, low=low, high=high, log=log, step=step, when=when, line=line)
        if isinstance(low, float) and isinstance(high, float):
            return FloatParameter(name=argument.name, low=low, high=high, log=log, step=step, when=when, line=line)
        return None

    def _listed_values(self, argument: Argument, form: str, content: Node) -> list[ParamValue] | None:
        """Return the values of a list, or None if any of them is refused."""
        if not isinstance(content, Sequence) or (form != "choice" and len(content.items) != 2):
            wanted, example = _LIST_FORMS[form]
            given = f"{len(content.items)} values" if isinstance(content, Sequence) else "something else"
            if not isinstance(content, Refused):
                self._refuse(
                    content.line,
                    f"`{argument.name}`: {form} takes {wanted}, but got {given}; write {{{form}: {example}}}",
                )
            return None
        values = [self._checked(argument, item) for item in content.items]
        known = [value for value in values if value is not None]
        return known if len(known) == len(values) else None

    def _checked(self, argument: Argument, node: Node) -> ParamValue | None:
        if isinstance(node, Refused):
            return None
        if not isinstance(node, Scalar):
            self._refuse(
                node.line,
                f"`{argument.name}` takes one value here, but got a list or mapping; write {_EXAMPLE}",
            )
            return None
        try:
            return argument.checked(node.value)
        except UnfitError as unfit:
            self._refuse(node.line, str(unfit))
            return None

    def _log(self, argument: Argument, node: Mapping) -> bool:
        content = node.entries.get("log")
        if content is None or isinstance(content, Refused):
            return False
        if isinstance(content, Scalar) and isinstance(content.value, bool):
            return content.value
        given = shown(content.value) if isinstance(content, Scalar) else "a list or mapping"
        self._refuse(content.line, f"`{argument.name}`: log takes true or false, but got {given}; write `log: true`")
        return False

    def _step(self, argument: Argument, node: Mapping) -> float | int | None:
        content = node.entries.get("step")
        if content is None or isinstance(content, Refused):
            return None
        value = content.value if isinstance(content, Scalar) else None
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if is_whole or (isinstance(value, float) and argument.kind is Kind.FLOAT):
            assert isinstance(value, int | float)
            return float(value) if argument.kind is Kind.FLOAT else value
        wanted = "a number" if argument.kind is Kind.FLOAT else "a whole number"
        given = shown(value) if isinstance(content, Scalar) else "a list or mapping"
        self._refuse(
            content.line,
            f"`{argument.name}`: step takes {wanted}, but got {given}; write a number or leave it out",
        )
        return None

    def _conditions(self, argument: Argument, node: Mapping) -> tuple[Condition, ...]:
        content = node.entries.get("when")
        if content is None or isinstance(content, Refused):
            return ()
        if not isinstance(content, Mapping) or not content.entries:
            self._refuse(
                content.line,
                f"`{argument.name}`: when takes another parameter and its values, but got something else; "
                "write `when: {optimizer: [AdamW, Adam]}`",
            )
            return ()
        conditions = [
            Condition(parameter=other, values=values)
            for other, values_node in sorted(content.entries.items())
            if (values := self._condition_values(other, values_node, content.key_lines[other]))
        ]
        return tuple(conditions)

    def _condition_values(self, other: str, node: Node, line: int) -> tuple[ParamValue, ...]:
        argument = ARGUMENTS.get(other)
        if argument is None:
            self._refuse(line, unknown_argument(other))
            return ()
        items = node.items if isinstance(node, Sequence) else [node]
        if not items:
            self._refuse(line, f"`when` needs a value of `{other}`, but got an empty list; list at least one")
        values = [self._checked(argument, item) for item in items]
        return tuple(value for value in values if value is not None)
