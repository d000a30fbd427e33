"""`tune submit`, `queue`, `logs` and `stop` on a real Ray cluster with a token, through its Jobs API."""

from pathlib import Path

import psutil
import pytest


def test_two_studies_share_a_cluster_and_the_second_gets_what_the_first_gives_up(team):
    assert "study a is in the queue; `tune queue` lists it" in team.submit("a", trials=12)
    team.wait_for(lambda: len({trial for trial, _ in team.epochs("a")}) >= 4)
    team.submit("b", "--priority=5", "--parallel=3", epoch_s=0.5)
    team.wait_for(lambda: [team.entries()[study]["granted"] for study in "ab"] == [1, 3])
    entries = team.over("a", "b")
    assert [(entries[study]["state"], entries[study]["starts"]) for study in "ab"] == [("done", 1), ("done", 1)]
    team.assert_nothing_lost("a", trials=12)
    team.assert_nothing_lost("b")

    code, output = team.tune("logs", "a")
    assert code == 0
    assert "study a in " in output
    assert "trial 0 complete: mAP50-95" in output
    code, output = team.tune("queue")
    assert (code, output) == (0, "the queue is empty; `tune submit` adds a study\n")
    code, output = team.tune("queue", "--all")
    assert [line.split()[:2] for line in output.splitlines()[1:]] == [["a", "done"], ["b", "done"]]


@pytest.mark.slow
def test_a_study_stops_when_asked_and_resumes_when_submitted_again(team):
    team.submit("a")
    team.wait_for(lambda: len(team.epochs("a")) >= 6)
    assert team.tune("stop", "a") == (0, "study a is stopping\n")
    assert team.over("a")["a"]["state"] == "stopped"
    assert "stopped by SIGTERM; run the same command to resume" in team.tune("logs", "a", "--no-follow")[1]
    team.submit("a")
    assert team.over("a")["a"]["state"] == "done"
    team.assert_nothing_lost("a", most_redone=4)


@pytest.mark.slow
def test_a_driver_that_is_killed_is_started_again_and_loses_no_trial(team):
    team.submit("a")
    team.wait_for(lambda: len(team.epochs("a")) >= 6)
    drivers = [process for process in psutil.process_iter() if _is_driver_of(process, "a")]
    assert drivers
    for process in drivers:
        process.kill()
    entries = team.over("a")
    assert (entries["a"]["state"], entries["a"]["starts"]) == ("done", 2)
    team.assert_nothing_lost("a", most_redone=4)


@pytest.mark.slow
def test_a_keeper_that_is_killed_is_started_again_by_ray(team):
    team.submit("a")
    team.wait_for(lambda: team.epochs("a"))
    keepers = [process for process in psutil.process_iter() if _is_keeper(process, team)]
    assert len(keepers) == 1
    keepers[0].kill()
    team.submit("b")
    entries = team.over("a", "b")
    assert [entries[study]["state"] for study in "ab"] == ["done", "done"]
    team.assert_nothing_lost("a")


@pytest.mark.slow
def test_a_driver_that_is_lost_with_its_machine_resumes_elsewhere(team):
    team.head.kill()
    team.head.resources = ["--num-cpus=0", "--num-gpus=0"]  # drivers and trials are on other machines
    team.head.start()
    first = team.head.add_node(num_cpus=4)
    team.submit("a")
    team.wait_for(lambda: len(team.epochs("a")) >= 6)
    team.head.add_node(num_cpus=4)
    team.head.kill_node(first)
    before = len(team.epochs("a"))
    team.wait_for(lambda: len(team.epochs("a")) > before)
    entries = team.over("a")
    assert entries["a"]["state"] == "done"
    assert entries["a"]["starts"] >= 2
    team.assert_nothing_lost("a", most_redone=4)


@pytest.mark.slow
def test_studies_of_a_lost_cluster_resume_with_the_next_submission(team):
    team.submit("a")
    team.submit("b")
    team.wait_for(lambda: len(team.epochs("a")) >= 4 and team.epochs("b"))
    team.head.kill()
    team.head.start()
    team.submit("c")  # starts the keeper
    entries = team.over("a", "b", "c")
    assert [entries[study]["state"] for study in "abc"] == ["done"] * 3
    for study in "ab":
        team.assert_nothing_lost(study, most_redone=4)


@pytest.mark.slow
def test_a_study_that_cannot_succeed_fails_once_with_its_exit_code(team):
    team.submit("a", "--data=/nowhere/data.yaml")
    entry = team.over("a")["a"]
    assert (entry["state"], entry["code"], entry["starts"]) == ("failed", 4, 1)
    assert "/nowhere/data.yaml" in entry["message"]


@pytest.mark.slow
def test_a_log_that_the_cluster_no_longer_has_is_reported(team):
    team.submit("a", "--data=/nowhere/data.yaml")
    team.over("a")
    team.head.kill()
    team.head.start()
    for more in ((), ("--no-follow",)):
        code, output = team.tune("logs", "a", *more)
        assert code == 5
        assert "The cluster does not know the driver's job any more" in output


@pytest.mark.slow
def test_on_a_machine_of_the_cluster_the_token_is_enough(team):
    address = f"127.0.0.1:{team.head.port}"  # other clusters may run on this machine
    code, output = team.tune("queue", environment={"RAY_API_SERVER_ADDRESS": "", "RAY_ADDRESS": address})
    assert (code, output) == (0, "the queue is empty; `tune submit` adds a study\n")


@pytest.mark.slow
def test_without_the_token_nothing_is_answered(team):
    code, output = team.tune("queue", environment={"RAY_AUTH_TOKEN": "0" * 64})
    assert code == 5
    assert "refuses the token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in output
    assert "Traceback" not in output


def _is_driver_of(process, study):
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return "-m" in command and ("tuner.study_queue.driver" in command or f"--study={study}" in command)


def _is_keeper(process, team):
    try:
        return "_KeeperActor" in " ".join(process.cmdline()) and _home(process) == team.studies
    except psutil.Error:
        return False


def _home(process):
    return Path(process.environ().get("TUNE_HOME", "/"))
