"""Training data of an epoch, with order and augmentation, as a function of seed and epoch alone.

ultralytics draws order and augmentation from generators whose state carries over from epoch to epoch, in processes that
remember the images they have loaded. A run that is interrupted and resumed therefore sees other images than one that
never stopped. Importing this module makes ultralytics' data sets draw from a new seed for each image of each epoch.
"""

import random
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import ultralytics.data.build
from numpy.typing import NDArray
from torch.utils.data import Sampler
from ultralytics.data.augment import Mosaic
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.data.dataset import YOLODataset

_NEAR_BATCHES = 8
"""Number of batches of the same loading process from which a mosaic takes its other images: still in its memory."""
_PARTNERS = 16


class Pick(int):
    """Index of an image in its data set, together with the inputs of its augmentation."""

    seed: int
    """Seed of 32 bits, derived from run, epoch and image."""
    partners: tuple[int, ...]
    """Images to make a mosaic with."""

    @classmethod
    def of(cls, number: int, seed: int, partners: tuple[int, ...]) -> "Pick":
        pick = cls(number)
        pick.seed, pick.partners = seed, partners
        return pick


class EpochSampler(Sampler[int]):
    """Images of an epoch for one rank, in a new order each epoch. Epochs are 0-based, as in ultralytics."""

    def __init__(
        self, num_images: int, *, batch_size: int, num_workers: int, seed: int, rank: int, num_ranks: int
    ) -> None:
        self._num_images = num_images
        self._batch_size = batch_size
        self._num_workers = max(num_workers, 1)
        self._seed = seed
        self._rank = rank
        self._num_ranks = num_ranks
        self._next = 0

    def begin(self, epoch: int) -> None:
        """Set the epoch of the next iteration; later iterations count up on their own."""
        self._next = epoch

    def set_epoch(self, epoch: int) -> None:
        """Ignore ultralytics' call in multi-device runs: it comes too late for a loader that reads ahead."""

    def __len__(self) -> int:
        return -(-self._num_images // self._num_ranks)

    def __iter__(self) -> Iterator[int]:
        epoch, self._next = self._next, self._next + 1
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._num_images)
        # Every rank gets the same number: the first images fill up the last round.
        mine = np.resize(order, len(self) * self._num_ranks)[self._rank :: self._num_ranks]
        batches = [mine[start : start + self._batch_size] for start in range(0, len(mine), self._batch_size)]
        for number, batch in enumerate(batches):
            near = np.concatenate(batches[number :: -self._num_workers][:_NEAR_BATCHES])
            partners = near[rng.integers(len(near), size=(len(batch), _PARTNERS))]
            for image, others in zip(batch.tolist(), partners.tolist(), strict=True):
                yield Pick.of(image, sample_seed(self._seed, epoch, image), tuple(others))


def sample_seed(*parts: int) -> int:
    """Derive a 32-bit seed from these numbers, the same on every machine."""
    return zlib.crc32(" ".join(map(str, parts)).encode())


def seed_generators(*parts: int) -> None:
    """Set the global generators of this process to the state derived from these numbers."""
    seed = sample_seed(*parts)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def in_epochs(loader: InfiniteDataLoader, *, seed: int, rank: int, num_ranks: int) -> EpochSampler:
    """Make a shuffling loader draw each epoch from its own seed. `begin` sets the next epoch."""
    sampler = EpochSampler(
        len(loader.dataset),
        batch_size=loader.batch_sampler.sampler.batch_size,
        num_workers=loader.num_workers,
        seed=seed,
        rank=max(rank, 0),
        num_ranks=max(num_ranks, 1),
    )
    object.__setattr__(loader, "sampler", sampler)  # a loader that has used a sampler refuses a new one otherwise
    loader.batch_sampler.sampler.sampler = sampler
    return sampler


class _RepeatableDataset(YOLODataset):  # type: ignore[misc]  # ultralytics has no types
    partners: tuple[int, ...] = ()

    def __getitem__(self, index: int) -> Any:
        if isinstance(index, Pick):
            random.seed(index.seed)
            np.random.seed(index.seed)
            self.partners = index.partners
        return super().__getitem__(int(index))


def _mosaic_partners(mosaic: Any) -> list[int]:
    """Choose the partners from the seed instead of from the images this process loaded last."""
    partners: NDArray[np.int64] | tuple[int, ...] = getattr(mosaic.dataset, "partners", ())
    if len(partners) and mosaic.buffer_enabled:
        return random.choices(partners, k=mosaic.n - 1)
    return _stock_partners(mosaic)  # type: ignore[no-any-return]


_stock_partners = Mosaic.get_indexes
Mosaic.get_indexes = _mosaic_partners
ultralytics.data.build.YOLODataset = _RepeatableDataset
