"""Provide a service with an ended study of bob and one of cat, and one that nobody submitted."""

import pytest

from tests.support.team_service import recorded_study, running_team
from tuner.study_queue.entries import State


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Create the folder of a recorded study, once: copying it takes less time."""
    return recorded_study(tmp_path_factory.mktemp("template"), "template")


def filled(team, template):
    for study, owner in (("bobs", "bob"), ("cats", "cat")):
        recorded_study(team.home, study, template)
        team.submitted(study, owner, State.DONE)
    recorded_study(team.home, "nobodys", template)
    return team


@pytest.fixture(scope="module")
def team(tmp_path_factory, template):
    """Start a service that shows all studies to all users."""
    with running_team(tmp_path_factory.mktemp("home")) as team:
        yield filled(team, template)


@pytest.fixture(scope="module")
def private_team(tmp_path_factory, template):
    """Start a service that shows users only their own studies."""
    with running_team(tmp_path_factory.mktemp("private"), is_private=True) as team:
        yield filled(team, template)


@pytest.fixture
def empty_team(tmp_path):
    """Start a service for one test, without studies. Data may be in `data`, next to the home."""
    (tmp_path / "data").mkdir()
    with running_team(tmp_path / "home", data_roots=(tmp_path / "data",)) as team:
        yield team
