"""Provide one finished study for the tests of its page."""

import pytest

from tests.support.synthetic_study import synthetic_study
from tuner.study import StoredStudy, read_timeline


@pytest.fixture(scope="session")
def finished_paths(tmp_path_factory):
    """Return the paths of a finished study of 12 trials on 2 slots. Its seed gives a winner and several candidates."""
    return synthetic_study(tmp_path_factory.mktemp("finished"), trials=12, slots=2, seed=6)


@pytest.fixture
def finished(finished_paths):
    stored = StoredStudy.in_folder(finished_paths.root)
    yield stored
    stored.close()


@pytest.fixture
def spans(finished_paths):
    return read_timeline(finished_paths.timeline)


def rows(spec, *names):
    """Return the rows of a chart that have these columns."""
    return [row for data in spec["datasets"].values() for row in data if set(names) <= set(row)]
