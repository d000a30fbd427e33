"""The journal: only what it contains is safe."""

import contextlib
import resource

import pytest

from tuner.exceptions import MachineError
from tuner.study._changes import Change
from tuner.study._journal import Journal

CHANGES = tuple(
    Change(trial=number, curve={3: number / 10}, attributes={"device": "Straße \u2028"}) for number in range(3)
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


@contextlib.contextmanager
def no_file_larger_than(size):
    """Limit files to this size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_changes_are_read_in_their_order(journal, path):
    for change in CHANGES:
        journal.append(change)
    assert Journal(path).read() == CHANGES


def test_a_new_journal_is_empty(journal):
    assert journal.read() == ()


def test_a_cleared_journal_is_empty_and_takes_new_changes(journal):
    journal.append(CHANGES[0])
    journal.clear()
    assert journal.read() == ()
    journal.append(CHANGES[1])
    assert journal.read() == (CHANGES[1],)


def test_a_truncated_last_line_is_left_out_wherever_it_is_cut(journal, path):
    for change in CHANGES[:2]:
        journal.append(change)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(first, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert journal.read() == CHANGES[:1], whole[:size]
    path.write_bytes(whole[:-1])
    assert journal.read() == CHANGES[:2]


def test_a_tail_that_the_disk_never_wrote_is_left_out(journal, path):
    journal.append(CHANGES[0])
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    assert journal.read() == CHANGES[:1]


@pytest.mark.parametrize("room", [0, 1, 10])
def test_a_full_disk_leaves_the_journal_as_it_was_and_says_what_to_do(journal, path, room):
    journal.append(CHANGES[0])
    before = path.read_bytes()
    with no_file_larger_than(len(before) + room), pytest.raises(MachineError, match=r"journal\.jsonl.*free disk space"):
        journal.append(CHANGES[1])
    assert path.read_bytes() == before
    journal.append(CHANGES[2])
    assert journal.read() == (CHANGES[0], CHANGES[2])


def test_changes_set_aside_are_kept_next_to_the_journal(journal, path):
    for change in CHANGES[:2]:
        journal.append(change)
        kept = journal.set_aside()
        assert journal.read() == ()
    assert Journal(kept).read() == CHANGES[:2]
    assert kept.parent == path.parent
