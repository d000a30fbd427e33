"""Parse a data set YAML that names COCO JSON files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from trainer.data.coco.layout import Annotated
from trainer.data.dataset_keys import RefusedKeyError, channels_of, passed_over
from trainer.data.dataset_yaml import (
    SPLIT_KEYS,
    Place,
    data_error,
    is_file,
    is_folder,
    joined,
    names_of,
    parsed,
    place_of,
    root_of,
    shown,
)

_EXAMPLE = "write it as 'train: {annotations: train.json, images: train}'"


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoSource:
    """A data set in COCO JSON, as the user names it."""

    source: Path
    """Absolute path of the YAML, or of the JSON file of train."""
    splits: Mapping[str, Annotated]
    names: tuple[str, ...] | None = None
    """Names of the classes that the JSON files must have; None for any."""
    channels: int = 3
    """Number of channels of the images."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one line each."""


def read_coco_yaml(file: Path) -> CocoSource | None:
    """Parse a YAML that names a JSON file, or JSON file and image folder, for each split; None for any other YAML.

    Raises:
        DataError: It names a file or folder that does not exist.
    """
    document = parsed(file)
    if not isinstance(document, CommentedMap) or not any(_is_coco(document.get(key)) for key in _keys()):
        return None
    root = root_of(document, file)
    splits = {}
    for split, keys in SPLIT_KEYS.items():
        key = next((key for key in keys if document.get(key) not in (None, "", [])), None)
        if key is not None:
            splits[split] = _annotated(document[key], place_of(document, file, key), key, root)
    if "train" not in splits:
        rule = "A data set must have training images, but train is missing"
        raise data_error(Place(file=file), rule, "add a line 'train: train.json'")
    try:
        channels = channels_of(document)
    except RefusedKeyError as error:
        rule = f"{error.rule} {shown(document[error.key])}"
        raise data_error(place_of(document, file, error.key), rule, error.remedy) from error
    return CocoSource(
        source=file,
        splits=splits,
        names=None if document.get("names") is None else names_of(document, file),
        channels=channels,
        notes=tuple(f"{place_of(document, file, key)}: {' '.join(why.split())}." for key, why in passed_over(document)),
    )


def _keys() -> list[str]:
    return [key for keys in SPLIT_KEYS.values() for key in keys]


def _is_coco(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "annotations" in value or any(_is_coco(inner) for inner in value.values() if isinstance(inner, str))
    values = value if isinstance(value, list) else [value]
    return any(isinstance(text, str) and text.strip().lower().endswith(".json") for text in values)


def _annotated(value: Any, place: Place, key: str, root: Path) -> Annotated:
    json, images = (value.get("annotations"), value.get("images")) if isinstance(value, Mapping) else (value, None)
    extra = set(value) - {"annotations", "images"} if isinstance(value, Mapping) else set()
    is_json = isinstance(json, str) and json.strip().lower().endswith(".json")
    if not isinstance(json, str) or not is_json or not isinstance(images, str | None) or extra:
        rule = f"If a split is a JSON file, {key} must be one, or annotations and images, but got {shown(value)}"
        raise data_error(place, rule, _EXAMPLE)
    file = joined(root, json.strip())
    if not is_file(file):
        rule = f"annotations of {key} must be a JSON file, but {shown(str(file))} does not exist"
        raise data_error(place, rule, "correct the path in this line")
    folder = joined(root, images.strip()) if images else None
    if folder is not None and not is_folder(folder):
        rule = f"images of {key} must be a folder, but {shown(str(folder))} does not exist"
        raise data_error(place, rule, "correct the path in this line")
    return Annotated(json=file, images=folder)
