"""Fixtures that the fault tests share."""

import pytest

from tests.support.arena import Arena


@pytest.fixture
def arena(tmp_path, ray_cluster):
    """Return an arena with eight trials on the running cluster."""
    arena = Arena(tmp_path, address=ray_cluster)
    yield arena
    arena.kill_everything()


@pytest.fixture
def lone_arena(tmp_path):
    """Return an arena with eight trials whose run starts its own Ray."""
    arena = Arena(tmp_path)
    yield arena
    arena.kill_everything()
