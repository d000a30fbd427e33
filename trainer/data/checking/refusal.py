"""Decide whether to refuse a data set, and explain why."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.data.checking import kinds
from trainer.data.checking.labels import RowFlaw
from tuner.contract.data_report import Finding, SplitFacts, told

MAX_BROKEN_FRACTION = 0.01
"""Largest fraction of unusable images in train or val; above it, this is hardly the data set that the user meant."""

MAX_LEAK = 0.01
"""Largest fraction of val that may also be in train: metrics on images seen in training are meaningless."""


def refusal(facts: Mapping[str, SplitFacts], found: Sequence[Finding], source: Path) -> str:
    """Explain in one line why the data set cannot be trained on; empty if it can."""
    for each in found:
        if each.kind == kinds.ROWS[RowFlaw.KEYPOINTS].name and _is_many(each, facts):
            return (
                f"The labels of a detector must be boxes, but got boxes with keypoints: {told(each.places[0])}; "
                f"to train on the boxes, add a line such as `kpt_shape: [17, 3]` to {source}."
            )
    leaks = [each for each in found if each.kind == kinds.LEAK.name and each.split == "val"]
    if leaks and len(leaks[0].places) > MAX_LEAK * facts["val"].images:
        return (
            f"Validation images must not be trained on, but {len(leaks[0].places)} of {facts['val'].images} "
            f"images of val are also in train, the first: {told(leaks[0].places[0])}; remove them from one split."
        )
    for split in ("train", "val"):
        if _are_too_many(facts[split].images - facts[split].usable, facts[split]):
            return (
                f"At most {MAX_BROKEN_FRACTION:.0%} of a split may be unusable, but {lost_images(split, facts, found)}"
                "; correct or remove them."
            )
    return ""


def _is_many(each: Finding, facts: Mapping[str, SplitFacts]) -> bool:
    """Check whether a finding is in the whole data set, or in more label files than may be broken."""
    return not each.split or _are_too_many(len({place.file for place in each.places}), facts[each.split])


def _are_too_many(broken: int, of: SplitFacts) -> bool:
    return broken > MAX_BROKEN_FRACTION * of.images


def lost_images(split: str, facts: Mapping[str, SplitFacts], found: Sequence[Finding]) -> str:
    """Describe how many images of a split are unusable, and why the first one is; empty if all are usable."""
    lost, total = facts[split].images - facts[split].usable, facts[split].images
    if not lost:
        return ""
    first = next(each for each in found if each.split == split and kinds.loses_image(each))
    place = told(first.places[0])
    return f"{lost} of {total} images of {split} cannot be used, the first: {place}: {first.what}"
