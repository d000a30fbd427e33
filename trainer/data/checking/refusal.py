"""Decide whether a data set is refused, and say why."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.data.checking import kinds
from trainer.data.checking.labels import RowFlaw
from tuner.contract.data_report import Finding, SplitFacts, told

MAX_BROKEN_FRACTION = 0.01
"""With more images of train or val than this that cannot be used, the data set is hardly the one that is meant."""

MAX_LEAK = 0.01
"""The largest part of val that may be in train too: values on images that were trained on say nothing."""


def refusal(facts: Mapping[str, SplitFacts], found: Sequence[Finding], source: Path) -> str:
    """Say in one line why the data set cannot be trained on; empty if it can."""
    for each in found:
        if each.kind == kinds.ROWS[RowFlaw.KEYPOINTS].name and _is_many(each, facts):
            return (
                f"Labels of a detector must be boxes, but these are boxes with keypoints: {told(each.places[0])}; "
                f"say so by a line such as `kpt_shape: [17, 3]` in {source}, and the boxes are trained on."
            )
    leaks = [each for each in found if each.kind == kinds.LEAK.name and each.split == "val"]
    if leaks and len(leaks[0].places) > MAX_LEAK * facts["val"].images:
        return (
            f"Validation images must not be trained on, but {len(leaks[0].places)} of {facts['val'].images} "
            f"images of val are in train too, the first: {told(leaks[0].places[0])}; take them out of one of the two."
        )
    for split in ("train", "val"):
        if _are_too_many(facts[split].images - facts[split].usable, facts[split]):
            return (
                f"At most {MAX_BROKEN_FRACTION:.0%} of a split may be broken, but {lost_images(split, facts, found)}; "
                "mend or remove them."
            )
    return ""


def _is_many(each: Finding, facts: Mapping[str, SplitFacts]) -> bool:
    """Tell whether it is found in all of a data set, or in more label files than may be broken."""
    return not each.split or _are_too_many(len({place.file for place in each.places}), facts[each.split])


def _are_too_many(broken: int, of: SplitFacts) -> bool:
    return broken > MAX_BROKEN_FRACTION * of.images


def lost_images(split: str, facts: Mapping[str, SplitFacts], found: Sequence[Finding]) -> str:
    """Say how many images of a split cannot be used, and why the first cannot; empty if all can."""
    lost, total = facts[split].images - facts[split].usable, facts[split].images
    if not lost:
        return ""
    first = next(each for each in found if each.split == split and kinds.loses_image(each))
    place = told(first.places[0])
    return f"{lost} of {total} images of {split} cannot be used, the first: {place}: {first.what}"
