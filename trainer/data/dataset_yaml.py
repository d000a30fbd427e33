"""Parser for data set YAML files as Roboflow, CVAT and people write them; it returns a plain record.

This module checks only the text; `dataset` checks the contents of the folders. Nothing in the file is ever executed or
downloaded: tags stay data and `download` is ignored.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent

from trainer.data.dataset_keys import Keypoints, RefusedKeyError, channels_of, keypoints_of, passed_over
from trainer.exceptions import DataError

MAX_BYTES = 1 << 18
"""Maximum size in bytes of a YAML file; V3Det's 13,204 class names fit."""
MAX_NODES = 30_000
"""Maximum number of keys and values in a file; the loader takes about a second for 10,000."""
MAX_DEPTH = 32
"""Maximum nesting depth of lists and mappings in a file."""
MAX_CLASSES = 100_000
"""Maximum value of nc, the number of classes."""
SPLIT_KEYS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "valid"),
    "test": ("test",),
}
"""Alternative keys of each split; the first one present counts."""

_SHOWN = 120  # characters of a value repeated in a message
_SHOWN_ITEMS = 8
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b")
_LONG_TAG = re.compile(r"!\S{500}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Position of a value in a file."""

    file: Path
    line: int | None = None
    """Line number, 1-based."""

    def __str__(self) -> str:
        shown = _one_line(str(self.file))
        return shown if self.line is None else f"{shown}:{self.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitEntry:
    """One folder or list file of a split, as written."""

    text: str
    candidates: tuple[Path, ...]
    """Absolute paths that it may mean, most likely first."""
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """Contents of a data set YAML."""

    file: Path
    root: Path
    """Absolute folder that the splits are relative to."""
    names: tuple[str, ...]
    splits: Mapping[str, tuple[SplitEntry, ...]]
    channels: int
    """Number of channels of the images."""
    keypoints: Keypoints | None
    """Layout of the keypoints after each box in the labels; None if there are none."""
    download: bool
    """True if the file has a download source for the data."""
    notes: tuple[str, ...]
    """Ignored keys, one line each."""


def read_description(source: Path) -> Description:
    """Parse the file; relative paths in it start from its own folder, never from the working directory.

    Raises:
        DataError: The file does not exist, is not readable YAML, or does not describe a data set.
    """
    file = Path(os.path.abspath(source))  # noqa: PTH100 - resolve() would follow a link away from the data
    document = parsed(file)
    if not isinstance(document, CommentedMap):
        raise data_error(
            Place(file=file),
            f"A data set YAML must be a mapping with train, val and names, but got {shown(document)}",
            "write lines such as 'train: images/train'",
        )
    root = root_of(document, file)
    splits = {split: _entries(document, file, root, split) for split in SPLIT_KEYS}
    try:
        channels, keypoints = channels_of(document), keypoints_of(document)
    except RefusedKeyError as error:
        rule = f"{error.rule} {shown(document[error.key])}"
        raise data_error(place_of(document, file, error.key), rule, error.remedy) from error
    return Description(
        file=file,
        root=root,
        names=names_of(document, file),
        splits={split: entries for split, entries in splits.items() if entries},
        channels=channels,
        keypoints=keypoints,
        download=bool(document.get("download")),
        notes=tuple(_one_line(f"{place_of(document, file, key)}: {why}.") for key, why in passed_over(document)),
    )


def data_error(place: Place, rule: str, remedy: str) -> DataError:
    """Build a one-line DataError: the position, the rule with the given value, the remedy."""
    return DataError(_one_line(f"{place}: {rule}; {remedy}."))


def shown(value: object) -> str:
    """Format a value for a message: on one line, short, and fast for a value of any depth."""
    if isinstance(value, Mapping):
        text = f"{{{', '.join(f'{_scalar(k)}: {_scalar(v)}' for k, v in islice(value.items(), _SHOWN_ITEMS))}}}"
    elif isinstance(value, list):
        text = f"[{', '.join(_scalar(item) for item in value[:_SHOWN_ITEMS])}]"
    else:
        text = _scalar(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _scalar(value: object) -> str:
    # A few nested YAML anchors can print as gigabytes, so containers are not expanded.
    return repr(value) if value is None or isinstance(value, str | int | float) else "…"


def _one_line(text: str) -> str:
    """Remove line breaks and the lone surrogates that unusual file names contain."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


# Reading


def parsed(file: Path) -> Any:
    text = _text(file)
    try:
        _check_size(text, file)
        # The round-trip loader keeps line numbers, and keeps unknown tags as data.
        return YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file=file, line=None if mark is None else mark.line + 1)
        raise data_error(place, *_syntax(error.problem or "")) from error
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # Only the first is the reader's own error. The others come from values that it cannot convert, such as a 13th
        # month or a number without digits.
        rule = f"The file must be valid YAML, but it could not be read ({type(error).__name__}: {error!s:.80})"
        raise data_error(Place(file=file), rule, "correct the file") from error


def _check_size(text: str, file: Path) -> None:
    """Refuse text that would take the loader minutes or gigabytes, based on the parser's stream of events."""
    if long_tag := _LONG_TAG.search(text):  # the parser's time for a tag grows with the square of its length
        place = Place(file=file, line=text.count("\n", 0, long_tag.start()) + 1)
        raise data_error(place, "A data set YAML needs no tags, but got a tag of 500 characters", "delete it")
    depth = num_nodes = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        num_nodes += isinstance(event, NodeEvent)
        if depth > MAX_DEPTH or num_nodes > MAX_NODES:
            rule = f"A data set YAML may have {MAX_NODES} keys and values in {MAX_DEPTH} levels, but this file has more"
            place = Place(file=file, line=event.start_mark.line + 1)
            raise data_error(place, rule, "check that this is the right file")


def _syntax(problem: str) -> tuple[str, str]:
    problem = problem.strip().splitlines()[0][: 2 * _SHOWN] if problem.strip() else "the parser gives no detail"
    if "duplicate key" in problem:
        return f"Every key may occur only once, but {problem}", "delete one of them"
    if "escape" in problem:
        return f"The file must be valid YAML, but {problem}", "write paths with / or in single quotes"
    return f"The file must be valid YAML, but {problem}", "correct that line"


def _text(file: Path) -> str:
    place = Place(file=file)
    if is_folder(file):
        raise data_error(place, "A data set must be given as a YAML file, but got a folder", "give the YAML file in it")
    if not is_file(file):
        rule = "A data set must be a YAML file, a COCO JSON file or a folder with COCO JSON, but it does not exist"
        raise data_error(place, rule, "check the path")
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        rule = f"The file must be readable, but got {error.strerror!r}"
        raise data_error(place, rule, "check its permissions") from error
    if content.startswith(_ARCHIVES):
        rule = "A data set must be a YAML file, a COCO JSON file or a folder with COCO JSON, but got an archive"
        raise data_error(place, rule, "unpack it, and give the file or folder in it")
    if len(content) > MAX_BYTES:
        rule = f"A data set YAML may have at most {MAX_BYTES} bytes, but this file has more"
        raise data_error(place, rule, "list the images in a .txt file and give that file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        rule = f"A data set YAML must be UTF-8 text, but got byte {content[error.start]:#04x}"
        raise data_error(Place(file=file, line=line), rule, "check the path, or save the file as UTF-8") from error


# Interpretation


def place_of(document: CommentedMap, file: Path, key: str) -> Place:
    try:
        return Place(file=file, line=int(document.lc.key(key)[0]) + 1)
    except (KeyError, TypeError):  # a key from a YAML merge has no line of its own
        return Place(file=file)


def root_of(document: CommentedMap, file: Path) -> Path:
    value = document.get("path")
    if value is None:
        return file.parent
    place = place_of(document, file, "path")
    if not isinstance(value, str):
        rule = f"path must be the data set's folder, but got {shown(value)}"
        raise data_error(place, rule, "write the path of a folder, or delete the line")
    root = joined(file.parent, value)
    if not is_folder(root):
        raise data_error(
            place,
            f"path must be a folder, absolute or relative to the folder of this file, but got {shown(value)} "
            f"and the folder {shown(str(root))} does not exist",
            "correct the path, or delete the line if this file is in the data set's folder",
        )
    return root


def _entries(document: CommentedMap, file: Path, root: Path, split: str) -> tuple[SplitEntry, ...]:
    key = next((key for key in SPLIT_KEYS[split] if document.get(key) not in (None, "", [])), None)
    if key is None:
        if split == "test":
            return ()
        rule = f"A data set must have training and validation images, but {split} is missing"
        raise data_error(Place(file=file), rule, f"add a line '{split}: images/{split}'")
    place = place_of(document, file, key)
    value = document[key]
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        rule = f"{key} must be a folder, a list of folders or a .txt file, but got {shown(value)}"
        raise data_error(place, rule, f"write it as '{key}: images/{split}'")
    return tuple(SplitEntry(text=text, candidates=_candidates(root, text.strip()), place=place) for text in texts)


def _candidates(root: Path, text: str) -> tuple[Path, ...]:
    first = joined(root, text)
    slashed = text.replace("\\", "/")
    # Roboflow writes '../train/images' into a file that is next to train.
    return (first, joined(root, slashed[3:])) if slashed.startswith("../") else (first,)


def joined(base: Path, text: str) -> Path:
    """Return `text`, which may come from Windows, as an absolute path; a relative path starts from `base`."""
    # By text, not resolve(): labels are searched next to the path as written, not at the target of its links.
    return Path(os.path.normpath(base / text.replace("\\", "/")))


def is_folder(path: Path) -> bool:
    """Check for a folder; False if the path is too long or inaccessible, where Path.is_dir may raise."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Check for a file; False if the path is too long or inaccessible, where Path.is_file may raise."""
    return os.path.isfile(path)  # noqa: PTH113


def names_of(document: CommentedMap, file: Path) -> tuple[str, ...]:
    names, number = document.get("names"), _class_count(document, file)
    if names is None and number is None:
        rule = "A data set must name its classes, but names and nc are both missing"
        raise data_error(Place(file=file), rule, "add a line such as 'names: [cat, dog]'")
    if names is None:
        return tuple(f"class_{index}" for index in range(number or 0))
    place = place_of(document, file, "names")
    listed = _listed_names(names, place)
    if not listed:
        raise data_error(place, "A data set must have at least one class, but names is empty", "name the classes")
    if number is not None and number != len(listed):
        rule = f"nc must be the number of names, but got nc {number} and {len(listed)} names"
        raise data_error(place_of(document, file, "nc"), rule, "correct one of them, or delete nc")
    return listed


def _class_count(document: CommentedMap, file: Path) -> int | None:
    value = document.get("nc")
    if value is None:
        return None
    place = place_of(document, file, "nc")
    try:
        # Some tools write '10' or 10.0.
        number = float(value)
        whole = not isinstance(value, bool) and number == int(number)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not 1 <= number <= MAX_CLASSES:
        rule = f"nc must be the number of classes, 1 to {MAX_CLASSES}, but got {shown(value)}"
        raise data_error(place, rule, "write the number of classes, or delete nc")
    return int(number)


def _listed_names(names: object, place: Place) -> tuple[str, ...]:
    if isinstance(names, Mapping):
        by_id = {str(key): name for key, name in names.items() if isinstance(key, int | str)}
        names = [by_id.get(str(index)) for index in range(len(by_id))]
        if None in names:
            rule = f"The keys of names must be 0 to {len(by_id) - 1}, but got {shown(list(by_id))}"
            raise data_error(place, rule, "number the classes from 0 without gaps")
    if not isinstance(names, list):
        rule = f"names must be a list, or a mapping from class id to name, but got {shown(names)}"
        raise data_error(place, rule, "write it as 'names: [cat, dog]'")
    for index, name in enumerate(names):
        if name is None or isinstance(name, list | Mapping) or not str(name).strip():
            rule = f"Every class must have a name, but class {index} got {shown(name)}"
            raise data_error(place, rule, "name the class")
    return tuple(_one_line(str(name)) for name in names)
