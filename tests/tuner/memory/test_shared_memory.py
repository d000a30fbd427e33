"""Limit the data loaders to shared memory: too many end in a bus error, with the trial."""

import pytest

from tuner.exceptions import MachineError
from tuner.memory.shared_memory import fitting_loaders, loaders_bytes

GIB = 2**30


def fitting(wanted=8, *, trials=8, batch=64, imgsz=640, num_images=10_000, free_gib=64.0):
    return fitting_loaders(
        wanted, trials=trials, batch=batch, imgsz=imgsz, num_images=num_images, free_bytes=int(free_gib * GIB)
    )


@pytest.mark.parametrize(("loaders", "batches"), [(8, 48), (4, 24), (3, 20), (1, 12)])
def test_training_loaders_are_four_batches_ahead_and_half_as_many_for_validation_hold_four_each(loaders, batches):
    assert loaders_bytes(loaders, 64, 640) == batches * 64 * 3 * 640 * 640


@pytest.mark.parametrize(("free_gib", "loaders"), [(64.0, 8), (36.0, 8), (34.0, 7), (20.0, 4), (9.0, 1)])
def test_eight_trials_get_the_loaders_that_fit(free_gib, loaders):
    assert fitting(free_gib=free_gib) == loaders


def test_the_remedy_is_shown_if_not_even_one_loader_fits():
    with pytest.raises(MachineError) as raised:
        fitting(free_gib=1 / 16)
    assert str(raised.value) == (
        "Data loaders of 8 trial(s) with batch 64 at imgsz 640 need 9,000 MiB of shared memory (/dev/shm), but 64 MiB "
        "are free; give a container more (`docker run --shm-size=16g`, or `--ipc=host`), or enlarge /dev/shm."
    )


def test_small_images_fit_into_the_default_of_a_container():
    assert fitting(wanted=2, trials=1, batch=16, imgsz=64, free_gib=1 / 16) == 2


def test_loaders_that_would_get_no_batch_do_not_count():
    """Use three batches: ultralytics starts at most three loaders."""
    assert fitting(wanted=8, trials=1, batch=64, num_images=150, free_gib=1.9) == 8
    assert fitting(wanted=8, trials=1, batch=64, num_images=150, free_gib=1.2) == 1


def test_a_batch_is_no_larger_than_the_data_set():
    assert fitting(wanted=1, trials=1, batch=128, num_images=10, free_gib=0.2) == 1
