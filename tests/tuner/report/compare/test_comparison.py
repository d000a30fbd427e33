"""Compare studies side by side: show what differs, and say what must not be compared."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.support.browser import opened_page
from tuner.report.compare.comparison import COMPARE_VERSION, Row, comparison_facts, comparison_of
from tuner.report.compare.page import comparison_page
from tuner.report.compare.study import FinalRunResult, compared_study, labels
from tuner.report.compare.terminal import comparison_text
from tuner.report.page.page import render
from tuner.study import StoredStudy, StudyPaths


def read(folder, label="s"):
    study = StoredStudy.in_folder(folder)
    try:
        return compared_study(study, label, StudyPaths(folder), is_driven=False)
    finally:
        study.close()


def shown(comparison, width=80):
    console = Console(file=StringIO(), width=width)
    console.print(*comparison_text(comparison), sep="\n")
    return console.file.getvalue()


@pytest.fixture
def pair(make_study):
    return [read(make_study("a"), "a"), read(make_study("b", best=0.4, settings={"seed": 1}), "b")]


def test_only_settings_that_differ_are_listed(pair):
    comparison = comparison_of(pair)
    assert [(row.name, row.values) for row in comparison.settings] == [("seed", (0, 1))]
    assert comparison.comparable


def test_ranges_and_defaults_of_the_spaces_are_settings(make_study, space):
    canonical = space.canonical()
    wider = {**canonical["parameters"], "lr0": {**canonical["parameters"]["lr0"], "float": [0.001, 1.0]}}
    other = {**canonical, "parameters": wider, "baseline": {"lr0": 0.02}}
    comparison = comparison_of([read(make_study("a")), read(make_study("b", space=other))])
    assert [(row.name, row.values) for row in comparison.settings] == [
        ("space: lr0", ("float [0.0001, 1.0], log true", "float [0.001, 1.0], log true")),
        ("space: default lr0", ("0.01", "0.02")),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_sha256": "1" * 64}, "different contents, although their names are the same"),
        (
            {"data_sha256": "1" * 64, "data": "other"},
            "different contents (sample, other), so values of one study must not be",
        ),
        ({"metric": "mAP50"}, "The metrics differ (mAP50-95, mAP50)"),
    ],
)
def test_values_of_other_data_or_another_metric_must_not_be_compared(make_study, changes, said):
    comparison = comparison_of([read(make_study("a"), "a"), read(make_study("b", **changes), "b")])
    assert [said in line for line in comparison.obstacles] == [True]
    assert comparison.equal_cost is None
    assert "Do not compare values: " in shown(comparison)
    page = comparison_page(comparison)
    assert page.headline == "Values of these studies must not be compared."
    assert list(page.charts()) == []


def test_data_that_was_moved_can_be_compared(make_study):
    comparison = comparison_of([read(make_study("a")), read(make_study("b", data="/moved/data.yaml"))])
    assert [row.name for row in comparison.settings] == ["data"]
    assert comparison.comparable


def test_different_units_lengths_and_states_are_reported(pair):
    one, other = pair
    on_gpu = replace(other, cost=replace(other.cost, unit="GPU-hours"), epochs=30, state="running")
    cautions = " ".join(comparison_of([one, on_gpu]).cautions)
    for said in ("different units (slot-hours, GPU-hours)", "different lengths (9, 30 epochs)", "Not finished: b;"):
        assert said in cautions
    assert comparison_of([one, on_gpu]).equal_cost is None


def test_every_comparison_says_that_a_difference_between_studies_has_no_interval(pair):
    assert "A difference between two studies has no interval" in comparison_of(pair).cautions[-1]


def test_costs_are_those_of_the_trials_and_equal_cost_is_that_of_the_cheapest_search(pair):
    one, other = pair
    assert one.cost.search == pytest.approx(2 * 9 * 2.0 / 3600)
    assert one.cost.until_best == pytest.approx(one.cost.search)
    points = other.best_over_cost.points
    longer = replace(
        other.best_over_cost, hours=1.0, points=(points[0], replace(points[1], hours=1.0))
    )  # its best value came after the end of the other search
    equal = comparison_of([one, replace(other, best_over_cost=longer)]).equal_cost
    assert equal.hours == pytest.approx(one.cost.search)
    assert equal.best == (0.3, 0.25)


def test_trials_of_different_lengths_have_no_value_at_equal_cost(pair):
    one, other = pair
    assert comparison_of([one, other]).equal_cost is not None
    comparison = comparison_of([one, replace(other, epochs=30)])
    assert comparison.equal_cost is None
    assert "equal cost" not in shown(comparison)


def test_parameters_of_the_winners_that_differ_come_first(pair):
    one, other = pair
    rows = comparison_of([replace(one, params={"a": 1, "z": 1}), replace(other, params={"a": 1.0, "z": 2})]).params
    assert [(row.name, row.differs) for row in rows] == [("z", True), ("a", False)]


def test_a_number_is_not_a_boolean_and_a_missing_value_differs():
    assert Row(name="n", values=(1, True)).differs
    assert Row(name="n", values=(0.5, None)).differs
    assert not Row(name="n", values=(1, 1.0)).differs


def test_labels_are_the_shortest_ends_that_differ():
    assert labels([Path("/x/a"), Path("/y/b")]) == ["a", "b"]
    assert labels([Path("/x/0/a"), Path("/x/1/a")]) == ["0/a", "1/a"]
    assert labels([Path("/x/a"), Path("/x/a")]) == ["/x/a (1)", "/x/a (2)"]


def test_a_study_without_a_complete_trial_is_compared_too(pair):
    one, other = pair
    result = replace(other.result, winner=None, best=None, statement="No trial of 'b' is complete.")
    nothing = replace(other, result=result, best_over_cost=None, params={})
    comparison = comparison_of([one, nothing])
    assert "b: No trial of 'b' is complete." in shown(comparison)
    assert len(list(comparison_page(comparison).charts())) == 1
    assert comparison.equal_cost is None


def test_the_json_is_versioned_and_strict(pair):
    facts = json.loads(json.dumps(comparison_facts(comparison_of(pair)), allow_nan=False))
    assert facts["version"] == COMPARE_VERSION
    assert facts["differing_settings"] == [{"name": "seed", "differs": True, "values": {"a": 0, "b": 1}}]
    assert [study["result"]["best"] for study in facts["studies"]] == [0.3, 0.4]
    assert facts["studies"][1]["best_over_cost"][-1]["best"] == 0.4


@pytest.mark.parametrize("number", [2, 5, 12])
def test_no_line_is_wider_than_80_columns_and_no_value_is_cut(pair, number):
    named = [replace(pair[0], label=f"{'long-name-' * 6}{i}") for i in range(number - 1)]
    text = shown(comparison_of([*named, pair[1]]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "0.3000" in text
    assert "0.4000" in text


def test_final_runs_show_every_metric_that_any_has(pair):
    one, other = pair
    done = FinalRunResult(trial=1, epochs=20, state=TrialState.COMPLETE.name, metrics={"mAP50": 0.5})
    text = shown(comparison_of([replace(one, final_run=done), other]))
    assert "0.5000" in text
    assert "none" in text


@pytest.mark.parametrize("width_px", [1400, 400])
def test_chromium_draws_the_page_without_a_request_or_an_error_and_nothing_overflows(pair, tmp_path, width_px):
    target = tmp_path / "compare.html"
    named = replace(pair[0], label="</script><b>a</b>")
    target.write_text(render(comparison_page(comparison_of([named, pair[1]]))), encoding="utf-8")
    with opened_page(width_px=width_px) as (page, witness):
        page.goto(target.as_uri())
        page.wait_for_selector("svg.marks")
        lines = page.locator("svg.marks g.mark-line path").count()
        width = page.evaluate("document.documentElement.scrollWidth")
        cells = page.locator("td:visible").evaluate_all("all => all.map(cell => cell.offsetHeight)")
    assert (lines, witness.errors, witness.hosts()) == (2, [], {""})
    assert width <= width_px
    assert max(cells) < 200  # no text is broken after every letter
