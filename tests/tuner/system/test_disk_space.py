"""Check the space on the disk."""

import pytest

from tuner.exceptions import MachineError
from tuner.system.disk_space import discard_weights, free_bytes, needed_bytes, require, reserve_bytes, shortage

MIB = 2**20
SEARCH = {"checkpoint_bytes": 10 * MIB, "slots": 2, "trials": 30, "reduction_factor": 3, "promote_epochs": 0}


@pytest.mark.parametrize(
    ("changed", "checkpoints"),
    [
        ({}, 2 * 4 + (10 + 2) * 2),
        ({"slots": 1}, 1 * 4 + (10 + 1) * 2),
        ({"trials": 31}, 2 * 4 + (11 + 2) * 2),
        ({"trials": 0}, 2 * 4 + 2 * 2),
        ({"reduction_factor": 1}, 2 * 4 + (30 + 2) * 2),
        ({"promote_epochs": 300}, 2 * 4 + (10 + 2) * 2 + 30 + 4),
    ],
)
def test_a_search_needs_room_for_what_it_keeps(changed, checkpoints):
    assert needed_bytes(**{**SEARCH, **changed}) == checkpoints * 10 * MIB + 64 * MIB


def test_one_more_checkpoint_a_trial_must_stay_free():
    assert reserve_bytes(checkpoint_bytes=10 * MIB, slots=3) == 30 * MIB + 16 * MIB


def test_a_search_with_enough_disk_space_begins(tmp_path):
    require(tmp_path, 1, "The search")
    assert shortage(tmp_path, 1) is None


def test_a_search_without_enough_disk_space_is_refused_with_both_values(tmp_path):
    needed = free_bytes(tmp_path) + 2**50
    with pytest.raises(MachineError, match=r"^The search needs about [\d,]+ MiB in '.*', but only [\d,]+ MiB are"):
        require(tmp_path, needed, "The search")


def test_a_nearly_full_disk_is_reported(tmp_path):
    assert str(tmp_path) in shortage(tmp_path, 2**60)


def test_weights_are_removed_and_records_stay(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.pt").touch()
    (tmp_path / "trainer.log").touch()
    for _ in range(2):
        discard_weights(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["trainer.log"]


def test_linked_weights_outside_the_folder_are_not_removed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious.pt").touch()
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "weights").symlink_to(tmp_path / "elsewhere")
    discard_weights(tmp_path / "trial")
    assert (tmp_path / "elsewhere" / "precious.pt").exists()
