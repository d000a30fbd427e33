"""Provide a study on a running Ray cluster."""

import pytest

from tests.support.arena import Arena


@pytest.fixture
def arena(tmp_path, ray_cluster):
    arena = Arena(tmp_path, address=ray_cluster)
    yield arena
    arena.kill_everything()
