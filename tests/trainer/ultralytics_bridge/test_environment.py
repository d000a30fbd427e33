"""What a training process sets before torch and ultralytics are imported."""

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
