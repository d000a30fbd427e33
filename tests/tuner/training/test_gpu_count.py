"""Choose the GPUs of one run: each gets an equal part of the batch, and enough images for batch normalization."""

import pytest

from tuner.training.gpu_count import fewer_gpus_note, gpus_for, small_parts_note


@pytest.mark.parametrize(
    ("batches", "gpus", "expected"),
    [
        ([64], 8, 8),
        ([4], 8, 1),
        ([12], 8, 1),
        ([16], 8, 2),
        ([20], 8, 2),
        ([64], 6, 4),
        ([96], 8, 8),
        ([63], 8, 7),
        ([64, 32], 8, 4),
        ([64, 20], 8, 2),
        ([16], 1, 1),
        ([16], 0, 0),
    ],
)
def test_each_gpu_gets_an_equal_part_of_at_least_eight_images(batches, gpus, expected):
    assert gpus_for(batches, gpus) == expected


def test_the_notes_name_the_batch_and_the_numbers():
    assert fewer_gpus_note([20], 2, 8).startswith("the run uses 2 of 8 GPUs: with more, a batch of 20 would not divide")
    assert "each batch (32, 64)" in fewer_gpus_note([64, 32], 4, 8)
    assert small_parts_note([16], 8) == (
        "each of 8 GPUs gets 2 images of a batch, few for batch normalization; --gpus 2 or a larger batch avoids this"
    )
    assert small_parts_note([64], 8) == ""
    assert small_parts_note([4], 1) == small_parts_note([4], 0) == ""
