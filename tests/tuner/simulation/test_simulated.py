"""Simulate our own strategies on tables, and print the results."""

import json

import numpy as np
import pytest

from tests.tuner.simulation.test_tables import losses
from tuner.cli.main import main
from tuner.simulation.measures import measures
from tuner.simulation.replay import Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import save_arrays
from tuner.space import STRATEGIES


def searched(table, strategy="auto", *, seed=0, workers=4, budget=8):
    search = SimulatedSearch(table, Pool(table), strategy, seed=seed)
    return measures(table, replay(table, search, workers=workers, budget=budget))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_decisions_and_another_seed_others(smooth, strategy):
    first, again, other = (searched(smooth, strategy, seed=seed) for seed in (0, 0, 1))
    assert first["decision_log_sha256"] == again["decision_log_sha256"] != other["decision_log_sha256"]
    assert first["regret"] == again["regret"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_ends_in_the_epoch_in_which_it_dies(smooth, strategy):
    search = SimulatedSearch(smooth, Pool(smooth), strategy, seed=0)
    outcome = replay(smooth, search, workers=4, budget=30)
    dead = [e for row, e in zip(outcome.rows, outcome.epochs, strict=True) if e >= smooth.dead_from[row]]
    assert dead
    assert outcome.dead_epochs == len(dead)


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_no_worker_is_idle_while_rows_are_left(smooth, workers):
    assert searched(smooth, workers=workers, budget=2)["idle_share"] == 0.0


def test_the_search_ends_when_the_table_is_used_up(smooth):
    values = searched(smooth, budget=100)
    assert values["trials"] == 60
    assert values["idle_share"] > 0


@pytest.mark.parametrize("strategy", ["auto", "asha-promotion"])
def test_paused_runs_resume_with_the_remaining_budget_once_no_row_is_left(smooth, strategy):
    living = np.isfinite(smooth.metric[:, -1]).sum()
    assert searched(smooth, strategy, budget=100)["full_runs"] == living


def test_given_configurations_are_tried_first(table, smooth):
    made = table(smooth.metric[:40], points=smooth.points[:40], baseline=17)
    first = [made.points[row] for row in (30, 2, 17)]
    outcome = replay(made, SimulatedSearch(made, Pool(made), "auto", seed=0, first=first), workers=4, budget=8)
    assert outcome.rows[:3] == [17, 30, 2]
    assert len(set(outcome.rows)) == len(outcome.rows)


def test_the_default_configuration_is_tried_first_and_to_its_end(table, smooth):
    made = table(smooth.metric[:40], points=smooth.points[:40], baseline=17)
    outcome = replay(made, SimulatedSearch(made, Pool(made), "auto", seed=0), workers=4, budget=8)
    assert (outcome.rows[0], outcome.epochs[0]) == (17, 27)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["simulate", *map(str, arguments)])
    return left.value.code, *capsys.readouterr()


def test_the_command_prints_its_values_as_json(capsys, tmp_path, smooth):
    save_arrays(smooth, tmp_path / "t.npz")
    code, out, _ = run(capsys, "--curves", tmp_path / "t.npz", "--workers", 2, "--budget", 5, "--seed", 3, "--json")
    values = json.loads(out)
    assert code == 0
    assert values["regret"].keys() == {"10", "25", "50", "100"}
    assert values.keys() >= {"trials", "full_runs", "dead_epoch_share", "decision_ms", "decision_log_sha256"}
    assert values["decision_ms"].keys() == {"p50", "p95"}


def test_the_command_ends_a_search_with_its_last_trial(capsys, tmp_path, smooth):
    save_arrays(smooth, tmp_path / "t.npz")
    _, out, _ = run(capsys, "--curves", tmp_path / "t.npz", "--trials", 12, "--budget", 1000, "--json")
    values = json.loads(out)
    assert values["trials"] == 12
    assert values["full_runs"] < 12  # the others were behind when no new trial could begin
    assert values["idle_share"] < 0.5


def test_a_search_of_more_trials_than_the_table_has_configurations_is_refused(capsys, tmp_path, smooth):
    save_arrays(smooth, tmp_path / "t.npz")
    code, _, error = run(capsys, "--curves", tmp_path / "t.npz", "--trials", 61)
    assert code == 2
    assert "--trials must be at most 60" in error


def test_the_command_prints_its_values_as_text(capsys, tmp_path):
    code, out, _ = run(capsys, "--curves", losses(tmp_path / "small.npz"), "--strategy", "asha-stopping", "--budget", 2)
    assert code == 0
    assert "asha-stopping on small: 4 workers, 2 full runs" in out
    assert "regret at 50 % of the budget" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--curves", "none.npz"), 4, "no such file"),
        (("--curves", "none.parquet"), 4, "none.parquet"),
        (
            ("--curves", "x.npz", "--strategy", "best"),
            2,
            "--strategy must be one of auto, asha-promotion, asha-stopping",
        ),
        (("--curves", "x.npz", "--budget", "0"), 2, "--budget must be above 0"),
        (("--curves", "x.npz", "--budget", "nan"), 2, "--budget must be above 0"),
        (("--curves", "x.npz", "--workers", "0"), 2, "workers"),
    ],
)
def test_wrong_input_is_reported_in_one_line_with_an_exit_code(capsys, arguments, code, words):
    left, out, error = run(capsys, *arguments)
    assert (left, out) == (code, "")
    assert words.lower() in error.lower()
