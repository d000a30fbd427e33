"""A service with a study of bob's and one of cat's, recorded and over, and one that nobody submitted."""

import pytest

from tests.support.team_service import recorded_study, running_team
from tuner.study_queue.entries import State


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The folder of a recorded study; to make it takes longer than to copy it."""
    return recorded_study(tmp_path_factory.mktemp("template"), "template")


def filled(team, template):
    for study, owner in (("bobs", "bob"), ("cats", "cat")):
        recorded_study(team.home, study, template)
        team.submitted(study, owner, State.DONE)
    recorded_study(team.home, "nobodys", template)
    return team


@pytest.fixture(scope="module")
def team(tmp_path_factory, template):
    """A service that shows all studies to all users."""
    with running_team(tmp_path_factory.mktemp("home")) as team:
        yield filled(team, template)


@pytest.fixture(scope="module")
def private_team(tmp_path_factory, template):
    """A service that shows users only their own studies."""
    with running_team(tmp_path_factory.mktemp("private"), is_private=True) as team:
        yield filled(team, template)


@pytest.fixture
def empty_team(tmp_path):
    """A service of this test alone, without studies; data may lie in `data` of the home's parent."""
    (tmp_path / "data").mkdir()
    with running_team(tmp_path / "home", data_roots=(tmp_path / "data",)) as team:
        yield team
