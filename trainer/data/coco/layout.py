"""Find the JSON files of a data set, and the folder with the images of each.

The layouts are those of COCO, Roboflow, CVAT, Datumaro, FiftyOne and Label Studio. A YAML names files in any other.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.data.coco.reading import CocoFile
from trainer.data.dataset_yaml import Place, data_error, is_file, is_folder, joined, shown

WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of each split in files and folders."""

_SPLIT_WORD = re.compile(
    rf"(?<![a-z])({'|'.join(sorted((w for words in WORDS.values() for w in words), key=len, reverse=True))})(?![a-z])",
    re.I,
)
_SAMPLE = 200
"""Number of images to look for in each possible folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """A JSON file and, if the user names it, the folder of its images."""

    json: Path
    images: Path | None = None


def splits_in(folder: Path) -> dict[str, Annotated]:
    """Return the JSON file of each split below a folder; only `train` for a data set in one file.

    Raises:
        DataError: The folder has no JSON files, or several for one split.
    """
    found: dict[str, Annotated] = {}
    for split, words in WORDS.items():
        jsons = [file for word in words for file in _jsons(folder / word)]
        if jsons:
            found[split] = Annotated(json=_only(jsons, split, folder))
    if "train" in found:
        return found
    yaml = next((file for suffix in ("yaml", "yml") for file in sorted(folder.glob(f"*.{suffix}"))), None)
    for below in (folder / "annotations", folder, folder / "labels"):
        jsons = _jsons(below)
        by_split = {split: [j for j in jsons if split_of(j.stem) == split] for split in WORDS}
        if by_split["train"]:
            return {split: Annotated(json=_only(of, split, folder)) for split, of in by_split.items() if of}
        if jsons and yaml is None:
            return {"train": Annotated(json=_only(jsons, "train", folder))}
    rule = (
        "A data set must be a YAML file or have COCO JSON, as train/_annotations.coco.json or "
        "annotations/instances_train.json, but got a folder without"
    )
    raise data_error(Place(file=folder), rule, f"give the file {yaml}" if yaml else "give the YAML or JSON file itself")


def splits_with(json: Path) -> dict[str, Annotated]:
    """Return a JSON file and those of the other splits, found by its name or the name of its folder."""
    for name, place in ((json.parent.name, _in_folder), (json.name, _in_name)):
        if (split := split_of(name)) is None:
            continue
        others = {other: _first(place(json, words)) for other, words in WORDS.items() if other != split}
        found = {split: json, **{other: file for other, file in others.items() if file}}
        if "train" in found:
            return {split: Annotated(json=found[split]) for split in WORDS if split in found}
    return {"train": Annotated(json=json)}


def split_of(name: str) -> str | None:
    """Return the split that the name of a file or folder contains; None if it contains none, or several."""
    words = {match[1].lower() for match in _SPLIT_WORD.finditer(name)}
    found = [split for split, of in WORDS.items() if words & set(of)]
    return found[0] if len(found) == 1 else None


def image_folder(coco: CocoFile, given: Path | None) -> "ImageFolder":
    """Return the folder that has most images of a JSON file.

    Only one folder counts: a missing image must not be replaced by one of the same name of another split.

    Raises:
        DataError: No folder has any of the images.
    """
    step = max(1, len(coco.images) // _SAMPLE)
    names = [image.file_name for image in coco.images[::step]]
    folders = [given] if given else list(_folders(coco.file))
    possible = [ImageFolder(path=path, flat=flat) for path in folders for flat in (False, True)]
    best = max(possible, key=lambda folder: sum(folder.find(name) is not None for name in names))  # the first of these
    if any(best.find(image.file_name) for image in coco.images):
        return best
    place = Place(file=coco.file)
    rule = f"The images of the file must exist, but {shown(names[0])} and all others were not found in"
    remedy = "name the folder in a YAML, as 'train: {annotations: FILE.json, images: FOLDER}'"
    others = f" or {len(folders) - 1} folders below and next to it" if len(folders) > 1 else ""
    raise data_error(place, f"{rule} {shown(str(folders[0]))}{others}", remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder:
    """The folder of the images of a JSON file."""

    path: Path
    flat: bool
    """True if only the last part of a file name counts, as for absolute paths of another machine."""

    def find(self, file_name: str) -> Path | None:
        """Return the image of this name; None if it does not exist."""
        name = file_name.replace("\\", "/")
        wanted = joined(self.path, name.rpartition("/")[2] if self.flat else name)
        # macOS composes accents in other ways than the program that wrote the JSON.
        forms = (str(wanted), *(unicodedata.normalize(form, str(wanted)) for form in ("NFC", "NFD")))
        return next((path for path in map(Path, dict.fromkeys(forms)) if is_file(path)), None)


def _folders(json: Path) -> Iterator[Path]:
    """Yield the folders where the images of a JSON file may be, most specific first."""
    parent, stem = json.parent, json.stem.removeprefix("instances_")
    match = _SPLIT_WORD.search(stem)
    split = split_of(stem) or split_of(parent.name)
    from_match = [stem[match.start() :]] if match else []  # train2017 in coco_train2017
    names = list(dict.fromkeys([stem, *from_match, *(WORDS[split] if split else ())]))
    for base in (parent, parent.parent):
        yield base
        yield from (base / inner for inner in (*names, *(f"images/{n}" for n in names), *(f"data/{n}" for n in names)))
        yield from (base / inner for inner in ("images", "data"))
    yield parent.parent / "images" / parent.name


def _jsons(folder: Path) -> list[Path]:
    """Return the JSON files of a folder that may hold boxes."""
    if not is_folder(folder):
        return []
    files = [f for f in sorted(folder.iterdir()) if f.suffix.lower() == ".json" and not f.name.startswith(".")]
    # COCO has captions and keypoints of the same images, and the boxes of keypoints are those of persons only.
    boxes = [file for file in files if file.name.startswith(("instances_", "_annotations.coco"))]
    return [file for file in boxes or files if is_file(file)]


def _only(jsons: Sequence[Path], split: str, folder: Path) -> Path:
    if len(jsons) > 1:
        rule = f"A folder must have one JSON file for {split}, but got {shown([j.name for j in jsons])}"
        raise data_error(Place(file=folder), rule, f"give the file for {split} itself, or name all in a YAML")
    return jsons[0]


def _in_folder(json: Path, words: Sequence[str]) -> Iterator[Path]:
    """Yield files of the same name in the folder of another split."""
    for word in words:
        yield json.parent.with_name(_SPLIT_WORD.sub(word, json.parent.name)) / json.name


def _in_name(json: Path, words: Sequence[str]) -> Iterator[Path]:
    """Yield files in the same folder with another split in their name."""
    for word in words:
        yield json.with_name(_SPLIT_WORD.sub(word, json.stem) + json.suffix)


def _first(files: Iterator[Path]) -> Path | None:
    return next((file for file in files if is_file(file)), None)
