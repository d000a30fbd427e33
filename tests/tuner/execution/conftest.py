"""A study on a Ray cluster that runs already."""

import pytest

from tests.support.arena import Arena


@pytest.fixture
def arena(tmp_path, ray_cluster):
    arena = Arena(tmp_path, address=ray_cluster)
    yield arena
    arena.kill_everything()
