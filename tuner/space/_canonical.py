"""A space's canonical form, as a study or a table keeps it, back to the space."""

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
"""Version 1 had no names and conditions but those in the labels."""


def space_of(canonical: Mapping[str, Any], *, name: str) -> Space:
    """Make the space whose `canonical` this is; description, data, model and what a study may change are the defaults.

    Raises:
        SpaceError: it is no canonical form of a known version, or it describes no space.
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
        text = json.dumps(tree, indent=0, allow_nan=False)  # JSON is YAML: all rules of a space are checked once more
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpaceError(
            f"A canonical space must have settings, parameters and baseline as `Space.canonical` writes them, "
            f"but it has not ({type(error).__name__}: {error})."
        ) from error
    return replace(parse_space(text, name=name, file=f"{name} (canonical)"), file="")


def _variants(canonical: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """List the variants by name, in the form that YAML has them."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for form in canonical.values():
        variant = {key: value for key, value in form.items() if value not in (None, False) or key == "fixed"}
        name = variant.pop("name")
        if variant.get("step") == 1 and "int" in variant:
            del variant["step"]  # what a range of whole numbers has without it
        if not variant["when"]:
            del variant["when"]
        variants.setdefault(name, []).append(variant)
    return variants


def _from_labels(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Give forms of version 1 their names and conditions: `lr0 [optimizer=AdamW|Adam, cos_lr=true]`.

    Values in a label are words, numbers and truths, none of which has a mark in it.
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
