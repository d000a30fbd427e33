"""Write files whole or not at all. They exist when the call returns."""

import os
from pathlib import Path

import pytest

from tuner.system.atomic_files import write_whole


def test_a_file_replaces_the_previous_one(tmp_path):
    file = tmp_path / "file"
    for content in (b"old", b"new and longer"):
        write_whole(file, content)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "target", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_content_and_name_are_on_the_disk_when_it_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    write_whole(tmp_path / "file", b"content")
    draft, folder = synced
    assert draft.startswith(f"{tmp_path}/.file.")
    assert folder == str(tmp_path)
