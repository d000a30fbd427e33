"""Find repeated images in a data set: exact copies and near-duplicates.

Metrics are wrong if an image of val is also in train. Exact copies are found by size and checksum, and then compared.
Near-duplicates (the same image saved again, scaled, brightened or mirrored) are found by small grey versions of the
images.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.checking.images import SMALL_SIDE

SIMILAR = 0.95
"""Minimum correlation of the small grey versions of two near-duplicates.

Measured on the sample data set: images saved at JPEG quality 30, at half the size, brightened by a fifth, without
colours, with noise of 4 % or without 2 % at each edge have 0.953 to 1.0 with their original. None of its 281,000 pairs
of different images has more than 0.814.
"""

_AXES = 16
_ROWS, _COLUMNS = 1024, 4096  # images compared at a time, so that their product fits the CPU cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """An image and the earlier one that it repeats."""

    image: int
    earlier: int
    """Numbers of the two images, in the order in which they were given."""
    similarity: float
    """Correlation of the small versions, `SIMILAR` to 1; 1 for equal bytes."""


def exact_twins(images: Sequence[Path], num_bytes: NDArray[np.int64], checksums: NDArray[np.uint32]) -> list[Twin]:
    """Return each image that is an exact copy of an earlier one, with the first of the copies.

    Args:
        images: paths of the images.
        num_bytes: sizes of the files; 0 skips a file.
        checksums: checksums of any kind; files with different checksums are not compared.
    """
    same_key: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, key in enumerate(zip(num_bytes.tolist(), checksums.tolist(), strict=True)):
        if key[0]:
            same_key[key].append(number)
    groups = [group for group in same_key.values() if len(group) > 1]
    return sorted(
        (
            Twin(image=number, earlier=first, similarity=1.0)
            for group in groups
            for first, *others in _equal(images, group)
            for number in others
        ),
        key=lambda twin: twin.image,
    )


def _equal(images: Sequence[Path], group: Sequence[int]) -> Iterator[list[int]]:
    """Yield the members of the group with equal content."""
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for number in group:
        by_content[images[number].read_bytes()].append(number)
    yield from by_content.values()


def comparable(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalise small grey versions to mean 0 and norm 1: (images, 256); all 0 for an image of one grey."""
    values = small.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return np.asarray(values / lengths, np.float32)


def near_twins(small: NDArray[np.float32], groups: Sequence[range]) -> list[Twin]:
    """Return each image that looks like an earlier one, mirrored or not.

    The earlier one is the most similar image of the first group that has a similar one.

    Args:
        small: small grey versions from `comparable`: (images, 256).
        groups: numbers of images that belong together, such as those of a split, in order.
    """
    mirrored = small.reshape(-1, SMALL_SIDE, SMALL_SIDE)[:, :, ::-1].reshape(small.shape)
    axes = _axes(small)
    found: dict[int, Twin] = {}
    for number, earlier in enumerate(groups):
        for later in groups[number:]:
            twins: dict[int, Twin] = {}
            for own in (small, mirrored):
                for twin in _near(own, small, axes, later, earlier):
                    if twin.image not in twins or twin.similarity > twins[twin.image].similarity:
                        twins[twin.image] = twin
            found = twins | found
    return [found[image] for image in sorted(found)]


def _axes(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the directions in which the small versions differ most: (256, 16).

    The distance of two images along them is at most their full distance, so a pair that is too far apart along them
    can be skipped.
    """
    _, directions = np.linalg.eigh(small.T @ small)
    return np.ascontiguousarray(directions[:, -_AXES:])


def _near(
    own: NDArray[np.float32], small: NDArray[np.float32], axes: NDArray[np.float32], later: range, earlier: range
) -> Iterator[Twin]:
    """Yield for each image of `later`, taken from `own`, the most similar earlier one in each block of `earlier`."""
    for rows in _blocks(later, _ROWS):
        left = _with_lengths(own[rows.start : rows.stop] @ axes, first=True)
        for columns in _blocks(earlier, _COLUMNS):
            if columns.start >= rows.stop:
                break
            # Minus half of the squared distance, as one matrix product for all pairs.
            closeness = left @ _with_lengths(small[columns.start : columns.stop] @ axes, first=False).T
            if columns.stop > rows.start:
                closeness[np.subtract.outer(np.array(rows), np.array(columns)) <= 0] = -np.inf
            near = np.nonzero(closeness.max(axis=1) >= SIMILAR - 1)[0]
            similarities = own[rows.start + near] @ small[columns.start : columns.stop].T
            similarities[np.isneginf(closeness[near])] = -1.0
            for row, column in zip(near.tolist(), similarities.argmax(axis=1).tolist(), strict=True):
                yield from _twin(rows.start + row, columns.start + column, own[rows.start + row], small)


def _twin(image: int, earlier: int, own: NDArray[np.float32], small: NDArray[np.float32]) -> Iterator[Twin]:
    similarity = min(float(own @ small[earlier]), 1.0)
    if similarity >= SIMILAR:
        yield Twin(image=image, earlier=earlier, similarity=similarity)


def _blocks(whole: range, size: int) -> Iterator[range]:
    yield from (whole[start : start + size] for start in range(0, len(whole), size))


def _with_lengths(placed: NDArray[np.float32], *, first: bool) -> NDArray[np.float32]:
    """Append two columns, so that the product of a first and a second is minus half their squared distance."""
    lengths = -0.5 * np.square(placed).sum(axis=1, keepdims=True)
    ones = np.ones_like(lengths)
    return np.hstack([placed, lengths, ones] if first else [placed, ones, lengths])
