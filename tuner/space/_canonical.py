"""A space's canonical form, as a study or a table keeps it, back to the space."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._reader import parse_space
from tuner.space._space import _CANONICAL_VERSION, Space
from tuner.space._yaml_nodes import plain_value


def space_of(canonical: Mapping[str, Any], *, name: str) -> Space:
    """The space whose `canonical` this is; description, data, model and what a study may change are the defaults.

    Raises:
        SpaceError: it is no canonical form of this version, or what it describes is no space.
    """
    version = canonical.get("version") if isinstance(canonical, Mapping) else None
    if version != _CANONICAL_VERSION:
        raise SpaceError(f"A canonical space must have version {_CANONICAL_VERSION}, but got {version!r}.")
    try:
        tree = {
            "search": {**canonical["settings"]},
            "parameters": _parameters(canonical["parameters"]),
            "baseline": {**canonical["baseline"]},
        }
        text = json.dumps(tree, indent=0, allow_nan=False)  # JSON is YAML: all rules of a space are checked once more
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpaceError(
            f"A canonical space must have settings, parameters and baseline as `Space.canonical` writes them, "
            f"but it has not ({type(error).__name__}: {error})."
        ) from error
    return replace(parse_space(text, name=name, file=f"{name} (canonical)"), file="")


def _parameters(canonical: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By name, the variants as YAML has them."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for label, form in canonical.items():
        name, _, conditions = label.partition(" [")
        variant = {key: value for key, value in form.items() if value not in (None, False) or key == "fixed"}
        if variant.get("step") == 1 and "int" in variant:
            del variant["step"]  # what a range of whole numbers has without it
        if conditions:
            variant["when"] = _when(conditions.removesuffix("]"))
        variants.setdefault(name, []).append(variant)
    return variants


def _when(text: str) -> dict[str, list[ParamValue | None]]:
    """`optimizer=AdamW|Adam, cos_lr=true`: values are words, numbers and truths, none with a mark in it."""
    return {
        parameter: [plain_value(value) for value in values.split("|")]
        for parameter, _, values in (condition.partition("=") for condition in text.split(", "))
    }
