"""Describe spaces by their canonical forms, and list the differences between two of them."""

from collections.abc import Iterator, Mapping

_IN_THE_LABEL = frozenset({"name", "when"})
"""Keys of a canonical parameter that repeat its label; older forms lack them."""


def differences_between(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Describe the differences between two canonical forms, one line each; an older form may lack parts."""
    return [
        *_part_differences("parameters", "", old, new),
        *_part_differences("baseline", "baseline ", old, new),
        *_part_differences("settings", "search ", old, new),
    ]


def described(canonical: Mapping[str, object]) -> dict[str, str]:
    """Describe the parameters of a canonical form and their default values, as in YAML, by name."""
    parameters, baseline = _mapping(canonical.get("parameters")), _mapping(canonical.get("baseline"))
    return {
        **{label: _text(parameters[label]) for label in sorted(parameters)},
        **{f"default {name}": _text(baseline[name]) for name in sorted(baseline)},
    }


def _part_differences(part: str, prefix: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    before, now = _mapping(old.get(part)), _mapping(new.get(part))
    for name in sorted({*before, *now}):
        if name not in before:
            yield f"{prefix}{name}: added, {_text(now[name])}"
        elif name not in now:
            yield f"{prefix}{name}: removed, was {_text(before[name])}"
        elif _text(before[name]) != _text(now[name]):
            yield f"{prefix}{name}: {_text(before[name])} -> {_text(now[name])}"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """Format a canonical value as in YAML."""
    if isinstance(value, Mapping):
        shown = {key: item for key, item in value.items() if key not in _IN_THE_LABEL and item not in (None, False)}
        return ", ".join(f"{key} {_text(item)}" for key, item in shown.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
