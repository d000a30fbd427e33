"""The images of an epoch, and what augmentation makes of them, depend on seed and epoch and on nothing else."""

import pickle

import numpy as np
import pytest
import torch

from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.cfg import get_cfg  # noqa: E402 - only after the environment is set
from ultralytics.data import build_dataloader, build_yolo_dataset  # noqa: E402
from ultralytics.data.utils import check_det_dataset  # noqa: E402

from trainer.data.dataset import resolve  # noqa: E402
from trainer.data.dataset_writer import write_resolved  # noqa: E402
from trainer.ultralytics_bridge.determinism import EpochSampler, Pick, in_epochs  # noqa: E402

BATCH = 3


@pytest.fixture(scope="module")
def make_loader(data_yaml, tmp_path_factory):
    """Return a function that makes ultralytics' own loader over its own data set, as for training."""
    data = write_resolved(resolve(data_yaml), tmp_path_factory.mktemp("resolved") / "data.yaml")
    checked = check_det_dataset(str(data))

    def make(workers: int, seed: int = 0):
        args = get_cfg(overrides={"task": "detect", "imgsz": 64, "mosaic": 1.0, "mixup": 0.5, "data": str(data)})
        dataset = build_yolo_dataset(args, checked["train"], BATCH, checked, mode="train")
        loader = build_dataloader(dataset, batch=BATCH, workers=workers, device="cpu")
        return loader, in_epochs(loader, seed=seed, rank=-1, num_ranks=0)

    return make


def digest(loader) -> list[float]:
    """Reduce the images and boxes of an epoch to a few numbers."""
    return [
        float(value)
        for batch in loader
        for value in (batch["img"].double().sum(), batch["bboxes"].double().sum(), batch["cls"].sum())
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_the_same_whatever_the_process_has_done_before(make_loader, workers):
    loader, sampler = make_loader(workers)
    sampler.begin(0)
    epochs = [digest(loader) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for epoch in (2, 1):
        again, sampler = make_loader(workers)
        sampler.begin(epoch)
        np.random.default_rng().random()
        assert digest(again) == epochs[epoch]
        again.close()
    loader.reset()  # as when mosaics end: it has read ahead
    loader.sampler.begin(1)
    assert digest(loader) == epochs[1]
    loader.close()


def test_another_seed_gives_other_epochs(make_loader):
    loader, _sampler = make_loader(0)
    other, _ = make_loader(0, seed=1)
    assert digest(loader) != digest(other)


@pytest.mark.parametrize(("images", "ranks"), [(10, 1), (10, 2), (11, 4), (3, 5), (1, 1)])
def test_the_ranks_share_an_epoch_evenly_and_leave_no_image_out(images, ranks):
    shares = []
    for rank in range(ranks):
        sampler = EpochSampler(images, batch_size=4, num_workers=2, seed=0, rank=rank, num_ranks=ranks)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler)
    assert len({len(share) for share in shares}) == 1
    assert set().union(*shares) == set(range(images))


def test_partners_of_a_mosaic_are_from_batches_of_the_same_worker():
    sampler = EpochSampler(400, batch_size=4, num_workers=3, seed=0, rank=0, num_ranks=1)
    order = list(sampler)
    place = {int(pick): number // 4 for number, pick in enumerate(order)}
    for number, pick in enumerate(order):
        batch = number // 4
        assert {place[partner] for partner in pick.partners} <= {batch - 3 * back for back in range(8)}


def test_a_pick_reaches_another_process_whole():
    pick = Pick.of(7, 123, (1, 2, 3))
    again = pickle.loads(pickle.dumps(pick))
    assert (again, again.seed, again.partners) == (7, 123, (1, 2, 3))
    assert torch.arange(10)[again] == 7
