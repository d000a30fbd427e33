"""Restore a space from its canonical form, which studies and tables store."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._reader import parse_space
from tuner.space._space import CANONICAL_VERSION, Space
from tuner.space._yaml_nodes import plain_value

_VERSIONS = (1, CANONICAL_VERSION)
"""Known versions; version 1 had names and conditions only in the labels."""


def space_of(canonical: Mapping[str, Any], *, name: str) -> Space:
    """Restore a space; description, data, model and the settings that a study may change get their defaults.

    Args:
        canonical: the result of `Space.canonical`.
        name: the name of the space.

    Raises:
        SpaceError: the form has an unknown version, or does not describe a valid space.
    """
    version = canonical.get("version") if isinstance(canonical, Mapping) else None
    if version not in _VERSIONS:
        raise SpaceError(
            f"A canonical space must have version {' or '.join(map(str, _VERSIONS))}, but got {version!r}; "
            "use the version of tune that wrote it."
        )
    try:
        parameters = canonical["parameters"]
        tree = {
            "search": {**canonical["settings"]},
            "parameters": _variants(_from_labels(parameters) if version == 1 else parameters),
            "baseline": {**canonical["baseline"]},
        }
        text = json.dumps(tree, indent=0, allow_nan=False)  # JSON is YAML, so this checks all rules of a space again
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpaceError(
            f"A canonical space must have settings, parameters and baseline as `Space.canonical` writes them, "
            f"but this one does not ({type(error).__name__}: {error})."
        ) from error
    return replace(parse_space(text, name=name, file=f"{name} (canonical)"), file="")


def _variants(canonical: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the variants by name, in their YAML form."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for form in canonical.values():
        variant = {key: value for key, value in form.items() if value not in (None, False) or key == "fixed"}
        name = variant.pop("name")
        if variant.get("step") == 1 and "int" in variant:
            del variant["step"]  # the default for a range of whole numbers
        if not variant["when"]:
            del variant["when"]
        variants.setdefault(name, []).append(variant)
    return variants


def _from_labels(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add names and conditions to forms of version 1, from labels like `lr0 [optimizer=AdamW|Adam, cos_lr=true]`.

    Values in a label are words, numbers and booleans, which contain no separators.
    """
    forms = {}
    for label, form in parameters.items():
        name, _, conditions = label.partition(" [")
        named = (condition.partition("=") for condition in conditions.removesuffix("]").split(", ") if condition)
        when: dict[str, list[ParamValue | None]] = {
            parameter: [plain_value(value) for value in values.split("|")] for parameter, _, values in named
        }
        forms[label] = {"name": name, **form, "when": when}
    return forms
