"""The environment variables that a training process sets before it imports torch and ultralytics."""

import os

import pytest

from trainer.ultralytics_bridge import environment

VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


@pytest.mark.parametrize(
    ("users", "then"),
    [
        ({}, {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, {"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, {"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}),
    ],
)
def test_segments_of_gpu_memory_can_grow_unless_the_user_sets_the_allocator(monkeypatch, users, then):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in users.items():
        monkeypatch.setenv(variable, value)
    environment.isolate()
    assert {variable: os.environ[variable] for variable in VARIABLES if variable in os.environ} == then


def test_trainers_of_a_user_share_what_triton_compiles_whatever_their_temporary_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for temporary in ("a", "b"):
        monkeypatch.setenv("TMPDIR", str(tmp_path / temporary))
        environment.isolate()
        found.append(os.environ["TRITON_CACHE_DIR"])
        monkeypatch.delenv("TRITON_CACHE_DIR")
    assert found == [str(tmp_path / "cache" / "mamba-yolo-tuner" / "triton")] * 2


@pytest.mark.parametrize("users", ["/own", None])
def test_a_users_folder_stays_and_one_that_cannot_be_written_is_left_to_triton(monkeypatch, tmp_path, users):
    (tmp_path / "mamba-yolo-tuner").write_text("")  # no folder can be made there
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    if users:
        monkeypatch.setenv("TRITON_CACHE_DIR", users)
    environment.isolate()
    assert os.environ.get("TRITON_CACHE_DIR") == users
