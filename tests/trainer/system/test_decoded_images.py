"""The decoded images that runs share: limited in size, never wrong, and never the cause of a failed run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trainer.system import decoded_images
from trainer.system.decoded_images import Decoded, DecodedImages, Lease

MIB = 2**20
PLENTY = 100 * MIB


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded_images, "_LEFT_FREE_BYTES", 0)
    decoded_images.lease.cache_clear()
    yield tmp_path / "cache"
    decoded_images.lease.cache_clear()


def image(seed=0, height=21, width=13, channels=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return Decoded(pixels, (height * 2 + 1, width * 2))


def key(number):
    return f"{number:032x}"


def kept():
    """Return the entries, without drafts."""
    return sorted(path for path in decoded_images.folder().glob("??/*") if not path.name.startswith("."))


def counted():
    return decoded_images.used_bytes()


def an_hour_older(paths, hours=1.0):
    for path in paths:
        then = path.stat().st_mtime - hours * 3600
        os.utime(path, (then, then))


@pytest.mark.parametrize("shape", [(21, 13, 3), (1, 1, 1), (8, 8, 4), (5, 7, 1), (320, 240, 3)])
def test_an_image_is_returned_unchanged_and_writable(shape):
    added = image(0, *shape)
    DecodedImages(PLENTY).add(key(1), added)
    found = DecodedImages(PLENTY).get(key(1))
    assert (found.pixels == added.pixels).all()
    assert (found.pixels.shape, found.pixels.dtype, found.original) == (shape, np.uint8, added.original)
    found.pixels[:] = 0
    assert (DecodedImages(PLENTY).get(key(1)).pixels == added.pixels).all(), "the entry is not changed"


def test_pixels_in_another_memory_order_keep_that_order():
    added = image()
    DecodedImages(PLENTY).add(key(1), Decoded(np.asfortranarray(added.pixels[:, ::-1]), added.original))
    assert (DecodedImages(PLENTY).get(key(1)).pixels == added.pixels[:, ::-1]).all()


def test_an_image_that_was_not_added_is_missing():
    assert DecodedImages(PLENTY).get(key(1)) is None


BREAK = {
    "empty": lambda content: b"",
    "a byte short": lambda content: content[:-1],
    "a block short": lambda content: content[:-8],
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[:-256] + bytes(256),
    "a bit of the pixels": lambda content: content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
    "the size": lambda content: content[:16] + bytes([content[16] ^ 1]) + content[17:],
    "the mark": lambda content: b"DECODED2" + content[8:],
    "something else": lambda content: b"\x93NUMPY" + content[6:],
}


@pytest.mark.parametrize("damage", BREAK)
def test_a_damaged_entry_is_missing_reported_once_and_written_again(damage, caplog):
    images = DecodedImages(PLENTY)
    for number in (1, 2):
        images.add(key(number), image(number))
    before = counted()
    for path in kept():
        path.write_bytes(BREAK[damage](path.read_bytes()))
    assert [images.get(key(number)) for number in (1, 2)] == [None, None]
    assert caplog.text.count("is damaged") == 1
    for number in (1, 2):
        images.add(key(number), image(number))
        assert (images.get(key(number)).pixels == image(number).pixels).all()
    assert counted() in (before, before + 4096 * 2), "an empty file takes no block"


def test_a_writer_stops_at_the_bound_and_what_is_there_stays_readable():
    images = DecodedImages(10 * 4096)
    for number in range(20):
        images.add(key(number), image(number))
    assert len(kept()) == 10
    assert counted() == 10 * 4096
    assert [images.get(key(number)) is not None for number in range(20)] == [True] * 10 + [False] * 10


def test_the_oldest_entries_of_earlier_runs_are_removed_first():
    for number in range(10):
        DecodedImages(PLENTY).add(key(number), image(number))
    paths = {path.name: path for path in kept()}
    for number in range(10):
        an_hour_older([paths[key(number)]], hours=20 - number)
    images = DecodedImages(10 * 4096)
    for number in range(10, 13):
        images.add(key(number), image(number))
    # A twentieth of the bound is freed at once: one more entry than needed, at the first and the third.
    assert [path.name for path in kept()] == [key(number) for number in range(4, 13)]
    assert counted() == 9 * 4096


def test_entries_that_this_run_has_read_stay():
    for number in range(10):
        DecodedImages(PLENTY).add(key(number), image(number))
    an_hour_older(kept())
    decoded_images.lease.cache_clear()
    images = DecodedImages(10 * 4096)
    for number in range(8):
        images.get(key(number))
    for number in range(10, 20):
        images.add(key(number), image(number))
    assert {path.name for path in kept()} == {key(number) for number in (*range(8), 10, 11)}


HOLDER = """
import sys
from trainer.system import decoded_images
began = decoded_images.lease().began_ns
for number in range(5):
    decoded_images.DecodedImages(10**9).get(f"{number:032x}")
print("ready", flush=True)
sys.stdin.read()
"""


def test_entries_that_a_live_trainer_has_used_stay_until_it_ends():
    """The other process is killed, so that only the kernel can report its end."""
    for number in range(10):
        DecodedImages(PLENTY).add(key(number), image(number))
    an_hour_older(kept())
    other = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "ready\n"
        decoded_images.lease.cache_clear()
        time.sleep(0.02)  # this trainer starts later: file times have a resolution of a few milliseconds
        images = DecodedImages(10 * 4096)
        for number in range(10, 30):
            images.add(key(number), image(number))
        assert {path.name for path in kept()} >= {key(number) for number in range(5)}
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    decoded_images.lease.cache_clear()
    for path in (decoded_images.folder() / "trainers").iterdir():
        if path.name.startswith(f"{os.getpid()}-"):
            path.unlink()  # as if the trainer of this test had ended as well
    an_hour_older(kept())
    forget_fruitless_look()
    later = DecodedImages(10 * 4096)
    for number in range(30, 40):
        later.add(key(number), image(number))
    assert {path.name for path in kept()} == {key(number) for number in range(30, 40)}
    assert len(list((decoded_images.folder() / "trainers").iterdir())) == 1, "the sign of the dead one is removed"


def forget_fruitless_look():
    (decoded_images.folder() / "sum").write_bytes(decoded_images._SUM.pack(counted(), 0.0))


def test_a_lease_lasts_as_long_as_a_fork_of_its_process():
    held = Lease()
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    os.close(held._file)
    try:
        assert decoded_images._live_since_ns(decoded_images.folder()) == held.began_ns
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert decoded_images._live_since_ns(decoded_images.folder()) > held.began_ns


WRITER = """
import sys
import numpy as np
from trainer.system import decoded_images
decoded_images._LEFT_FREE_BYTES = 0
images = decoded_images.DecodedImages(int(sys.argv[2]))
for number in range(300):
    pixels = np.full((20, 20, 3), number % 256, np.uint8)
    images.add(f"{int(sys.argv[1]) * 1000 + number:032x}", decoded_images.Decoded(pixels, (20, 20)))
"""


def test_several_writers_together_stay_within_the_bound():
    """A count can miss another writer's entry during its renaming."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(n), str(500 * 4096)]) for n in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    assert 500 <= len(kept()) <= 500 + 2
    assert 500 * 4096 <= counted() <= len(kept()) * 4096


def test_leftovers_of_killed_writers_are_removed_and_the_sum_is_right_again():
    images = DecodedImages(PLENTY)
    images.add(key(1), image())
    (entry,) = kept()
    assert counted() == 4096
    old, new = (entry.with_name(f".{key(n)}.{n:08x}.tmp") for n in (1, 2))
    for draft in (old, new):
        draft.write_bytes(b"half")
    an_hour_older([old], hours=2)
    images._change(40 * MIB)  # counted in, and killed before it was written
    an_hour_older([decoded_images.folder() / "sum"])
    images.tidy()
    assert not old.exists()
    assert new.exists(), "its writer may be alive"
    assert counted() == 2 * 4096


def test_entries_that_were_not_used_for_a_month_are_removed():
    images = DecodedImages(PLENTY)
    for number in (1, 2):
        images.add(key(number), image(number))
    first, second = kept()
    an_hour_older([first], hours=31 * 24)
    an_hour_older([second], hours=29 * 24)
    an_hour_older([decoded_images.folder() / "sum"])
    images.tidy()
    assert kept() == [second]


def test_a_smaller_bound_removes_what_is_above_it():
    images = DecodedImages(PLENTY)
    for number in range(10):
        images.add(key(number), image(number))
    an_hour_older(kept())
    decoded_images.lease.cache_clear()
    DecodedImages(5 * 4096).tidy()
    assert 3 <= len(kept()) <= 5
    assert counted() == len(kept()) * 4096


@pytest.mark.parametrize("content", [b"", b"x", b"y" * 15, b"z" * 17])
def test_a_damaged_sum_is_counted_again_at_the_bound(content):
    images = DecodedImages(5 * 4096)
    images.add(key(0), image())
    (decoded_images.folder() / "sum").write_bytes(content)
    for number in range(1, 20):
        images.add(key(number), image(number))
    assert len(kept()) <= 6
    an_hour_older([decoded_images.folder() / "sum"])
    images.tidy()
    assert counted() == len(kept()) * 4096


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null"])
def test_without_a_place_nothing_is_shared_and_the_log_says_so_once(home, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    images = DecodedImages(PLENTY)
    images.tidy()
    for number in range(3):
        images.add(key(number), image(number))
        assert images.get(key(number)) is None
    assert caplog.text.count("are not added") == 1


def test_a_nearly_full_disk_is_left_alone(monkeypatch, caplog):
    caplog.set_level("INFO", logger="trainer")
    images = DecodedImages(PLENTY)
    images.add(key(1), image())
    monkeypatch.setattr(decoded_images, "_LEFT_FREE_BYTES", 2**60)
    for number in (2, 3):
        images.add(key(number), image(number))
    assert len(kept()) == 1
    assert caplog.text.count("nearly full") == 1
    assert images.get(key(1)) is not None


SMALL_DISK = """
import logging, sys
logging.basicConfig()
from tests.trainer.system.test_decoded_images import decoded_images, DecodedImages, image, key, kept
decoded_images._LEFT_FREE_BYTES = -(10**9)
images = DecodedImages(10**9)
for number in range(40):
    images.add(key(number), image(number, 200, 200))
found = [images.get(key(number)) for number in range(40)]
print(len(kept()), sum(each is not None for each in found))
print(sum(path.name.startswith(".") for path in decoded_images.folder().glob("??/.*")))
"""


def in_a_small_tmpfs(folder, *command):
    script = f'mount -t tmpfs -o size=2m none "{folder}" && exec "$@"'
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip


def test_a_full_disk_stops_adding_and_leaves_no_partial_file(tmp_path):
    (folder := tmp_path / "small").mkdir()
    if in_a_small_tmpfs(folder, "true").returncode:
        pytest.skip("this system does not let a user mount a tmpfs (unshare -Urm)")
    done = in_a_small_tmpfs(folder, sys.executable, "-c", SMALL_DISK)
    assert done.returncode == 0, done.stderr
    numbers, drafts = done.stdout.splitlines()
    entries, readable = map(int, numbers.split())
    assert 5 < entries < 40
    assert (readable, drafts) == (entries, "0")
    assert done.stderr.count("are not added") == 1
    assert "No space left" in done.stderr


READ_ONLY = """
import logging
logging.basicConfig()
from tests.trainer.system.test_decoded_images import DecodedImages, image, key
images = DecodedImages(10**9)
images.tidy()
assert (images.get(key(1)).pixels == image(1).pixels).all()
images.add(key(2), image(2))
assert images.get(key(2)) is None
"""


def test_entries_in_a_read_only_folder_are_read(cache_home):
    DecodedImages(PLENTY).add(key(1), image(1))
    script = f'mount --bind "{cache_home}" "{cache_home}" && mount -o remount,bind,ro "{cache_home}" && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a user mount a folder read-only (unshare -Urm)")
    done = subprocess.run([*command, sys.executable, "-c", READ_ONLY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("are not added") == 1


def test_a_folder_that_cannot_be_entered_stops_adding(monkeypatch, caplog):
    images = DecodedImages(PLENTY)

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)
    monkeypatch.setattr(Path, "open", refused)
    for number in range(3):
        images.add(key(number), image(number))
    assert caplog.text.count("are not added") == 1


STOPPED = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_stops_with_the_lock_costs_a_second_and_not_the_run():
    images = DecodedImages(PLENTY)
    lock = decoded_images.folder() / "sum"
    holder = subprocess.Popen([sys.executable, "-c", STOPPED, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        began = time.monotonic()
        for number in range(20):
            images.add(key(number), image(number))
        images.tidy()
        assert time.monotonic() - began < 4
        assert kept() == []
    finally:
        holder.kill()
        holder.communicate()


def test_an_entry_that_is_removed_while_it_is_read_does_no_harm(monkeypatch):
    images = DecodedImages(PLENTY)
    images.add(key(1), image())
    readv = os.readv

    def late(file, buffers):
        for path in kept():
            Path(path).unlink()
        return readv(file, buffers)

    monkeypatch.setattr(os, "readv", late)
    assert (images.get(key(1)).pixels == image().pixels).all()
