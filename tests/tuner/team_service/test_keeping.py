"""Ask the cluster for a keeper of the queue, and report problems to users."""

import pytest

from tests.support.team_service import SPACE, AwayCluster
from tuner.storage.lease import study_lease
from tuner.study_queue.entries import Submission
from tuner.study_queue.table import opened_queue
from tuner.team_service.keeping import KEEPER, Keeping

WISH = Submission(study="s", owner="bob", space_name="x", space=SPACE)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def table(url):
    with opened_queue(url) as table:
        yield table


class Now:
    s = 0.0

    def __call__(self):
        return self.s


def test_a_cluster_is_not_contacted_while_nothing_waits(table, url):
    cluster = AwayCluster()
    Keeping(table, url, lambda: cluster, Now()).turn()
    assert cluster.asked == 0


def test_a_cluster_is_asked_when_a_study_waits_and_not_again_within_a_minute(table, url):
    cluster, now = AwayCluster(), Now()
    keeping = Keeping(table, url, lambda: cluster, now)
    table.add(WISH)
    for now.s in (0.0, 30.0, 59.0, 60.0):
        keeping.turn()
    assert cluster.asked == 2
    assert keeping.problem == cluster.problem


def test_a_cluster_is_not_asked_while_its_keeper_shows_that_it_works(table, url):
    cluster = AwayCluster()
    table.add(WISH)
    with study_lease(url, KEEPER):
        keeping = Keeping(table, url, lambda: cluster, Now())
        keeping.turn()
    assert (cluster.asked, keeping.problem) == (0, "")


def test_a_cluster_is_asked_again_when_its_keeper_is_gone(table, url):
    cluster = AwayCluster()
    table.add(WISH)
    with study_lease(url, KEEPER):
        pass
    Keeping(table, url, lambda: cluster, Now()).turn()
    assert cluster.asked == 1


def test_a_cluster_that_uses_another_database_is_a_problem_that_is_reported(table, url):
    cluster, now = AwayCluster(problem=""), Now()
    keeping = Keeping(table, url, lambda: cluster, now)
    table.add(WISH)
    for now.s in (0.0, 30.0):
        keeping.turn()
    assert "does it use this database?" in keeping.problem


def test_users_learn_that_the_cluster_is_away_but_not_where_it_is(empty_team):
    empty_team.submitted("mine", "bob")
    empty_team.service.keeping.turn()
    with empty_team.client("ann") as client:
        texts = [client.get(path).text for path in ("/", "/api/v1/studies", "/studies/mine")]
    assert all("The cluster does not answer" in text for text in texts)
    assert not any("secret-host" in text for text in texts)
