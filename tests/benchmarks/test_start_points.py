"""The runs of starting points are balanced and the same each time, and their report counts what it states."""

import itertools

from benchmarks.start_points import DATA, DEFAULT, MODELS, RANDOM, SEEDS, by_cell, fresh, runs, split


def row(contestant: str, seed: int, value: float | None) -> dict[str, object]:
    metrics = None if value is None else {"mAP50-95": value}
    return {"data": "d", "model": "m", "seed": seed, "contestant": contestant, "metrics": metrics}


def test_the_runs_are_the_same_each_time_and_all_different() -> None:
    keys = [run.key for run in runs()]
    assert keys == [run.key for run in runs()]
    assert len(set(keys)) == len(keys)


def test_any_first_part_of_the_runs_is_balanced() -> None:
    found = runs()
    assert {run.seed for run in found[: len(found) // 2]} == {SEEDS[0]}
    cells = len(DATA) * len(MODELS)
    for first in range(0, len(found), cells):
        group = found[first : first + cells]
        assert [(run.data, run.model) for run in group] == list(itertools.product(DATA, MODELS))
        assert len({run.contestant for run in group}) == 1


def test_there_are_as_many_random_configurations_as_starting_points_in_each_cell() -> None:
    names = [run.contestant for run in runs() if (run.data, run.model, run.seed) == (DATA[0], MODELS[0], SEEDS[0])]
    drawn = [name for name in names if name.startswith(RANDOM)]
    assert names[0] == DEFAULT
    assert len(names) == 2 * len(drawn) + 1 >= 11


def test_a_failed_run_counts_as_0_and_a_cell_without_the_default_does_not_count() -> None:
    assert by_cell([row("default", 0, 0.2), row("a", 0, None), row("a", 1, 0.3)]) == {
        ("d", "m", 0): {"default": 0.2, "a": 0.0}
    }


def test_equally_many_of_both_kinds_are_compared() -> None:
    values = {"default": 0.1, "a": 0.2, "random-0": 0.3, "b": 0.4}
    assert split(values) == ([0.2], [0.3])


def test_what_was_best_on_one_seed_is_judged_on_the_other() -> None:
    first = {"default": 0.1, "a": 0.4, "b": 0.2, "random-0": 0.9}
    second = {"default": 0.2, "a": 0.1, "b": 0.5, "random-0": 0.1}
    cells = {("d", "m", 0): first, ("d", "m", 1): second}
    assert [round(gain, 6) for gain in fresh(cells, random=False)] == [0.1 - 0.2, 0.2 - 0.1]
    assert [round(gain, 6) for gain in fresh(cells, random=True)] == [0.1 - 0.2, 0.0]
