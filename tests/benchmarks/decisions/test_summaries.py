"""A report lists results by family, default and cost, and mixes none of them."""

import pytest

from benchmarks.decisions.layout import as_columns, as_markdown
from benchmarks.decisions.results import Key, Run, Setting
from benchmarks.decisions.summaries import comparison, grouped, main_table, overview
from tests.benchmarks.decisions.conftest import run_with


def run(method: str, final: float, *, family="a", task="one", seed=0, default="first", cost="seconds") -> Run:
    """Make a run with this regret at the end, and 0.5 before."""
    key = Key(family, task, method, seed, Setting(4, 20.0, default, cost))
    return run_with(key, {10: 0.5, 25: 0.5, 50: 0.5, 100: final})


def test_runs_of_another_family_default_or_cost_are_another_group():
    runs = [
        run("x", 0.1, family="b"),
        run("x", 0.1, cost="epochs"),
        run("x", 0.1, cost="seconds"),
        run("x", 0.1, default="none"),
        run("y", 0.2, default="none"),
    ]
    groups = grouped(runs)
    assert [tuple(group) for group in groups] == [
        ("a", "none", "seconds"),
        ("a", "first", "seconds"),
        ("a", "first", "epochs"),
        ("b", "first", "seconds"),
    ]
    assert [len(within) for within in groups.values()] == [2, 1, 1, 1]
    assert next(iter(groups)).title == "a, default none, regret over seconds"


def test_the_table_of_a_group_leaves_out_methods_without_runs_there():
    headers, rows = main_table([run("x", 0.25), run("x", 0.75, task="two")], ["x", "y"])
    (row,) = rows
    told = dict(zip(headers, row, strict=True))
    assert (told["method"], told["runs"], told["100 %"]) == ("x", "2", "0.500")


def test_the_comparison_leaves_out_the_reference_and_methods_without_a_pair():
    runs = [run("x", 0.1), run("y", 0.3), run("z", 0.2, seed=1)]
    _, rows = comparison(runs, ["x", "y", "z"], "y")
    assert [(row[0], row[1], row[-2], row[-1]) for row in rows] == [("x", "1", "-0.200 [-0.200, -0.200]*", "100 %")]


def test_the_overview_has_columns_for_each_family_and_says_where_a_method_has_no_runs():
    runs = [run("x", 0.1), run("y", 0.3), run("y", 0.4, family="b"), run("z", 0.9, family="b")]
    headers, rows = overview(grouped(runs), ["x", "y", "z", "none"], "y")
    assert headers == ["method", "a 25 %", "a 50 %", "a 100 %", "a at", "b 25 %", "b 50 %", "b 100 %", "b at"]
    assert rows == [
        ["x", "+0.000", "+0.000", "-0.200*", "100 %", "-", "-", "-", "-"],
        ["z", "-", "-", "-", "-", "+0.000", "+0.000", "+0.500*", "never"],
    ]


def test_the_overview_names_the_cost_of_a_family_that_has_both():
    runs = [run(method, 0.1, cost=cost) for method in ("x", "y") for cost in ("seconds", "epochs")]
    headers, _ = overview(grouped(runs), ["x", "y"], "y")
    assert headers[1::4] == ["a seconds 25 %", "a epochs 25 %"]


@pytest.mark.parametrize(
    ("layout", "lines"),
    [
        (as_columns, ["method       10 %", "a           0.123", "longer one      1"]),
        (
            as_markdown,
            [
                "| method     |  10 % |",
                "| ---------- | ----: |",
                "| a          | 0.123 |",
                "| longer one |     1 |",
            ],
        ),
    ],
)
def test_tables_align_names_left_and_values_right(layout, lines):
    assert layout(["method", "10 %"], [["a", "0.123"], ["longer one", "1"]]).splitlines() == lines
