"""Number the categories of all files of a data set as classes from 0 without gaps."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainer.data.coco.reading import Category, CocoFile

_Key = tuple[str, int]
"""Name of a category, and its number among the categories of this name in its file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Classes of a data set."""

    names: tuple[str, ...]
    """Names by class id: in the order of the category ids of the first file, then those that only later files have."""
    of_category: Mapping[str, Mapping[int, int]]
    """Class id by category id, by split."""
    groups: tuple[str, ...]
    """Names of categories without boxes that only group others, as the first one in Roboflow's exports."""


def classes_of(files: Mapping[str, CocoFile]) -> Classes:
    """Assign a class id to each category; each file may have category ids of its own."""
    keyed = {split: dict(_keys(coco.categories)) for split, coco in files.items()}
    used = {keyed[split][number] for split, coco in files.items() for number in set(coco.category_of_box.tolist())}
    parents = {
        category.supercategory
        for coco in files.values()
        for category in coco.categories.values()
        if category.supercategory != category.name
    }
    every = list(dict.fromkeys(key for keys in keyed.values() for key in keys.values()))
    kept = [key for key in every if key in used or key[0] not in parents] or every
    numbers = {key: number for number, key in enumerate(kept)}
    return Classes(
        names=tuple(name for name, _ in kept),
        of_category={
            split: {number: numbers[key] for number, key in keys.items() if key in numbers}
            for split, keys in keyed.items()
        },
        groups=tuple(key[0] for key in every if key not in numbers),
    )


def _keys(categories: Mapping[int, Category]) -> Iterator[tuple[int, _Key]]:
    seen: Counter[str] = Counter()
    for number, category in categories.items():
        yield number, (category.name, seen[category.name])
        seen[category.name] += 1
