"""Limit the decoded images that runs share, so that sharing is never slower than decoding."""

import pytest

from tuner.contract import ImageCache
from tuner.memory.image_cache import CacheChoice, Room, cache_bound, chosen_cache, copies_note, decoded_bytes, room_for
from tuner.memory.limits import image_sizes_of
from tuner.space import load_space

GIB = 2**30
COCO = ImageCache(folder="/home/u/.cache/decoded", used_bytes=0, num_images=100_000, bytes_per_square=0.75 * 3e5)
SMALL = ImageCache(folder="/home/u/.cache/decoded", used_bytes=0, num_images=1000, bytes_per_square=0.75 * 3000)


def room(memory_gib=64.0, disk_gib=1000.0, kind="ext4"):
    return Room(memory_bytes=int(memory_gib * GIB), disk_bytes=int(disk_gib * GIB), file_system=kind)


def test_the_size_of_decoded_images_follows_from_their_pixels():
    assert decoded_bytes(SMALL, [640]) == 1000 * (3 * 640 * 480 + 4096)
    assert decoded_bytes(SMALL, [320, 640]) == decoded_bytes(SMALL, [320]) + decoded_bytes(SMALL, [640])
    assert decoded_bytes(COCO, [640]) / GIB == pytest.approx(86, abs=1)


def test_few_images_that_fit_are_shared_silently_and_many_with_a_note():
    assert chosen_cache(None, SMALL, [640], room()) == CacheChoice(bound_bytes=32 * GIB)
    assert chosen_cache(None, SMALL, [640], room(disk_gib=100)) == CacheChoice(bound_bytes=20 * GIB)
    choice = chosen_cache(None, COCO, [640], room(memory_gib=256))
    assert choice.bound_bytes == 128 * GIB
    assert choice.notes == (
        "all trials share decoded images, 86.2 GiB in '/home/u/.cache/decoded'; --cache-gib 0 keeps none",
    )


@pytest.mark.parametrize(
    ("sizes", "where", "said"),
    [
        ([640], room(memory_gib=128), "decoded they are 86.2 GiB, more than half of the 128 GiB of free memory"),
        ([640], room(256, disk_gib=400), "decoded they are 86.2 GiB, more than a fifth of the 400 GiB of free disk"),
        ([320, 480, 640], room(memory_gib=256), "decoded they are 157 GiB, more than half of the 256 GiB"),
        ([32], room(kind="nfs4"), "their folder '/home/u/.cache/decoded' is on a network file system (nfs4)"),
        ([32], room(kind="fuse.sshfs"), "is on a network file system (fuse.sshfs)"),
        ([32], None, "the memory and the disks of a cluster's machines are not known"),
    ],
)
def test_auto_shares_none_if_sharing_could_be_slower_and_says_why_and_what_to_do(sizes, where, said):
    choice = chosen_cache(None, COCO, sizes, where)
    assert choice.bound_bytes == 0
    (line,) = choice.notes
    assert line.startswith("images are decoded again in each epoch: ")
    assert said in line
    assert line.endswith("; --cache-gib N keeps up to N GiB of them for all trials")


@pytest.mark.parametrize("where", [room(), room(memory_gib=1), room(kind="nfs"), None])
def test_a_number_is_obeyed_everywhere(where):
    assert chosen_cache(100 * GIB, COCO, [640], where) == CacheChoice(bound_bytes=100 * GIB)
    assert chosen_cache(0, COCO, [640], where) == CacheChoice(bound_bytes=0)
    choice = chosen_cache(10 * GIB, COCO, [640], where)
    assert choice.bound_bytes == 10 * GIB
    assert choice.notes == (
        "--cache-gib 10 holds part of the 86.2 GiB of decoded images; the others are decoded in each epoch",
    )


def test_a_trainer_without_a_cache_is_only_mentioned_if_a_cache_was_requested():
    assert chosen_cache(None, None, [640], None) == CacheChoice(bound_bytes=0)
    choice = chosen_cache(GIB, None, [640], None)
    assert choice.bound_bytes == 0
    assert choice.notes == ("--cache-gib has no effect, because this trainer does not share decoded images",)


def test_memory_that_the_cache_already_holds_counts_as_free(tmp_path):
    """Count them as free, or the second run would find less room than the first for the same images."""
    new = ImageCache(folder=str(tmp_path / "a/b"), used_bytes=0, num_images=1, bytes_per_square=1.0)
    full = ImageCache(folder=str(tmp_path / "a/b"), used_bytes=50 * GIB, num_images=1, bytes_per_square=1.0)
    assert room_for(full).disk_bytes - room_for(new).disk_bytes == pytest.approx(50 * GIB, abs=GIB)


def test_the_space_that_a_study_needs_is_not_free(tmp_path):
    cache = ImageCache(folder=str(tmp_path), used_bytes=7, num_images=1, bytes_per_square=1.0)
    free = room_for(cache).disk_bytes
    assert room_for(cache, GIB).disk_bytes == pytest.approx(free - GIB, abs=GIB / 2)
    assert room_for(cache, 2**60).disk_bytes == 7


def test_a_run_checks_this_machine_unless_it_trains_elsewhere(tmp_path):
    cache = ImageCache(folder=str(tmp_path), used_bytes=0, num_images=1, bytes_per_square=1.0)
    told = []
    assert cache_bound(None, cache, [64], is_here=True, tell=told.append) > 0
    assert told == []
    assert cache_bound(None, cache, [64], is_here=False, tell=told.append) == 0
    assert "a cluster's machines" in told[0]
    assert cache_bound(GIB, cache, [64], is_here=False, tell=told.append) == GIB


def test_a_warning_says_that_copies_in_memory_do_not_fit_together():
    note = copies_note(SMALL, [320, 640], "ram", trials=8, room=room(memory_gib=4))
    assert note == (
        "`cache: ram` keeps a copy of the decoded images in each of 8 trials, up to 6.9 GiB, but 4 GiB of memory are "
        "free; leave it out of the space: all trials share one copy (--cache-gib)"
    )
    assert copies_note(SMALL, [320, 640], True, trials=8, room=room(memory_gib=4)) == note
    assert copies_note(SMALL, [320, 640], "ram", trials=8, room=room(memory_gib=8)) == ""
    assert copies_note(SMALL, [320], "ram", trials=8, room=room(memory_gib=4)) == ""
    assert copies_note(SMALL, [640], "ram", trials=1, room=room(memory_gib=0.1)) == ""
    for value in ("disk", False):
        assert copies_note(SMALL, [640], value, trials=8, room=room(memory_gib=1)) == ""
    assert copies_note(None, [640], "ram", trials=8, room=room(memory_gib=1)) == ""


@pytest.mark.parametrize(
    ("imgsz", "sizes"),
    [
        ("320", [320]),
        ("{choice: [640, 320, 416]}", [320, 416, 640]),
        ("{int: [320, 480], step: 32}", [320, 352, 384, 416, 448, 480]),
    ],
)
def test_every_image_size_of_a_space_counts(tmp_path, imgsz, sizes):
    parameters = f"parameters: {{imgsz: {imgsz}, lr0: {{float: [0.0001, 0.1]}}, optimizer: SGD}}\n"
    baseline = "baseline: {lr0: 0.01" + ("}" if len(sizes) == 1 else ", imgsz: 320}")
    (tmp_path / "space.yaml").write_text(f"search: {{epochs: 9}}\n{parameters}{baseline}\n")
    assert image_sizes_of(load_space(tmp_path / "space.yaml")) == sizes
