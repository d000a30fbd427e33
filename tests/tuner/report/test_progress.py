"""Print what a user reads while a study runs and when it is finished."""

import dataclasses
import re
import shlex
import shutil
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import tuner.report.progress
from tests.support.clock import Clock
from tests.tuner.conftest import SPACE, driven, epoch, play
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import TRAIN_STEP, EndRecord, Outcome, ProgressRecord, StartedRecord
from tuner.cost.estimate import estimate_cost
from tuner.cost.forecast import Forecast
from tuner.decisions.stopping import Budget
from tuner.report.conclusion import conclusion_lines
from tuner.report.live.of_run import (
    FinalRunProgress,
    ReevaluationProgress,
    SearchProgress,
    comparison_s,
    final_run_s,
)
from tuner.report.live.render import duration, rendered
from tuner.report.progress import View
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.study import StudyPaths
from tuner.training.final_run import FinalRun, choose_winner, full_run_request

CURVES = Path(__file__).parents[1] / "diagnosis" / "curves"
METRICS = {"mAP50-95": 0.4, "mAP50": 0.6, "precision": 0.7, "recall": 0.5}


class TwoSlots:
    number = 2

    def __str__(self):
        return "2 on the CPU"


@pytest.fixture
def console():
    return Console(file=StringIO(), width=80)


def forecast_of(space, promote_epochs=20):
    """Return the forecast of a search of that space with two slots."""
    return Forecast(
        estimate=estimate_cost(space, slots=2), slots=2, epochs=space.settings.epochs, promote_epochs=promote_epochs
    )


@pytest.fixture
def forecast(space):
    return forecast_of(space)


@pytest.fixture
def view(console):
    return View(console, plain=True)


@pytest.fixture
def promoted(study, paths, winner):
    return FinalRun(study, full_run_request(study, paths, winner, epochs=20, gpus=0, threads=1))


@pytest.fixture
def clock():
    return Clock()


def printed(console):
    return console.file.getvalue()


def lines_of(snapshot, width=120, height=40):
    console = Console(file=StringIO(), width=width)
    console.print(rendered(snapshot, width=width, height=height))
    return console.file.getvalue().splitlines()


# Lines


def test_a_line_is_printed_as_it_is(view, console):
    line = "trial 3 pruned: lr0 [optimizer=SGD] = 0.0123, " + "a long path /of/many/folders " * 5
    view.note(line)
    assert printed(console) == line + "\n"


def test_a_line_number_is_printed_as_it_is(view, console):
    view.note("warning: space.yaml:100: something")
    assert printed(console) == "warning: space.yaml:100: something\n"


def test_the_subject_names_data_model_and_space(view, console, spec, space):
    view.subject(spec, space)
    assert printed(console).splitlines()[:3] == [
        "data   sample (the bundled sample data set): 80 train, 20 val images, 6 classes",
        "model  mamba-yolo-n, 1,000 parameters",
        "space  small: 1 searched parameters, 6 trials of 9 epochs; rungs: 3; metric: mAP50-95",
    ]


def test_the_subject_of_a_data_set_of_the_users_own_without_rungs(view, console, spec, space):
    view.subject(dataclasses.replace(spec, data="/data/mine.yaml", rungs=()), space)
    assert "data   /data/mine.yaml: 80 train" in printed(console)
    assert "rungs: none" in printed(console)


def test_the_subject_says_which_configurations_come_first(view, console, spec, space):
    points = {"a (https://x.org)": {"lr0": 0.03}, "b": {"lr0": 0.04}}
    view.subject(dataclasses.replace(spec, warm_start=({"lr0": 0.02},), start_points=points), space)
    assert [line for line in printed(console).splitlines() if line.startswith("start ")] == [
        "start  the default configuration, then 1 of the warm start",
        "start  starting points: a, b",
    ]


def test_probable_mistakes_are_warnings_with_file_and_line(view, console, spec):
    space = parse_space(SPACE.replace("trials: 6", "trials: 1"), name="small", file="small.yaml")
    assert space.warnings
    view.subject(spec, space)
    warnings = [line for line in printed(console).splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: {text}" for text in space.warnings]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (59.4, "0:00:59"), (59.6, "0:01:00"), (3661, "1:01:01"), (90_000, "1 day, 1:00:00")],
)
def test_a_duration_is_shown_in_hours_minutes_and_seconds(seconds, shown):
    assert duration(seconds) == shown


# During the search


def test_progress_counts_trials_by_state(search, forecast, clock):
    play(search, search.suggest(), 0.5, 0.25)
    play(search, search.suggest(), 0.5, 0.3)
    play(search, search.suggest(), 0.1, 0.9)
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message="why"))
    search.suggest()
    progress = SearchProgress(search, forecast, clock.monotonic)
    assert progress.counts() == {"running": 1, "complete": 2, "pruned": 1, "fail": 1}
    assert progress.num_done == 4
    clock.sleep(5.0)
    assert progress.line().startswith(
        "4/6 trials (1 running, 2 complete, 1 pruned, 1 fail); best 0.3000 (trial 1), "
        "0.0500 ahead of the default configuration on one seed, which does not prove a gain; 0:00:05"
    )


def test_the_remaining_time_is_unknown_until_this_driver_has_trained(search, forecast, clock):
    play(search, search.suggest(), 0.5, 0.25)
    progress = SearchProgress(search, forecast, clock.monotonic)
    clock.sleep(60.0)
    assert progress.eta_s() is None  # epochs of an earlier run say nothing about the pace of this one
    assert "to go" not in progress.line()


def test_the_pace_is_that_of_an_earlier_timed_epoch_until_this_run_has_its_own(search, forecast, clock):
    progress = SearchProgress(search, dataclasses.replace(forecast, epoch_s=2.0), clock.monotonic)
    search.suggest()
    assert progress.eta_s() == pytest.approx(2.0 * forecast.search_epochs(progress.position()))
    assert progress.line().endswith("of re-evaluation and about 0:00:40 of final run")


def test_the_remaining_time_counts_the_epochs_to_train_and_says_what_follows_the_search(search, forecast, clock):
    progress = SearchProgress(search, forecast, clock.monotonic)
    for value in (0.25, 0.6):
        play(search, search.suggest(), 0.5, value)
    clock.sleep(90.0)  # 18 epochs with two slots: ten seconds each
    position = progress.position()
    assert (position.to_begin, position.ended) == (4, (9, 9))
    assert progress.pace_s() == pytest.approx(10.0, rel=0.2)
    assert progress.eta_s() == pytest.approx(forecast.search_epochs(position) * progress.pace_s())
    told = progress.line().partition("; 0:01:30, about ")[2]
    assert re.fullmatch(
        r"0:0\d:\d\d of search left, then at most 0:0\d:\d\d of re-evaluation "
        r"and about 0:0\d:\d\d of final run",
        told,
    )


def test_later_phases_cost_as_much_as_the_best_trials(search, forecast, clock):
    progress = SearchProgress(search, forecast, clock.monotonic)
    play(search, search.suggest(), 0.5, 0.25, epoch_s=2.0)
    play(search, search.suggest(), 0.5, 0.6, epoch_s=10.0)  # e.g. a larger image size
    clock.sleep(60.0)
    study, pace_s = search.study, progress.pace_s()
    assert comparison_s(study, forecast, pace_s) == forecast.comparison_s((9 * 2.0 + 9 * 10.0) / 18)
    assert final_run_s(study, forecast, pace_s) == 20 * 10.0
    assert "about 0:03:20 of final run" in progress.line()


def test_later_phases_have_the_pace_of_the_search_until_a_trial_is_complete(search, forecast):
    search.suggest()
    assert comparison_s(search.study, forecast, 3.0) == forecast.comparison_s(3.0)
    assert final_run_s(search.study, forecast, 3.0) == 60.0


def test_a_long_start_does_not_make_the_epochs_slow(search, forecast, clock):
    progress = SearchProgress(search, forecast, clock.monotonic)
    clock.sleep(500.0)
    assert progress.eta_s() is None
    for value in (0.25, 0.6):
        play(search, search.suggest(), 0.5, value)
    clock.sleep(80.0)  # of nine epochs with two slots, eight since then
    assert progress.pace_s() == pytest.approx(10.0, rel=0.2)


def test_nothing_more_is_shown_if_nothing_follows_the_search(search, space, clock):
    forecast = forecast_of(space.with_settings(reevaluation_runs=0), promote_epochs=0)
    progress = SearchProgress(search, dataclasses.replace(forecast, epoch_s=2.0), clock.monotonic)
    assert progress.line().endswith(" of search left")


def test_a_bound_on_time_ends_the_search_before_its_trials_do(study, space, paths, terms, forecast, clock):
    search = Search(study, space, paths, terms, bounds=Budget(hours=0.01))
    progress = SearchProgress(search, dataclasses.replace(forecast, epoch_s=1000.0), clock.monotonic)
    search.pass_time(30.0)
    assert progress.eta_s() == pytest.approx(6.0)


def test_the_remaining_time_is_never_negative(study, space, paths, terms, search, forecast, clock):
    for _ in range(3):
        play(search, search.suggest(), 0.5, 0.25)
    for request in [search.suggest(), search.suggest()]:
        search.requeue(request.trial)
    fewer = Search(study, space.with_settings(trials=3), paths, terms)
    progress = SearchProgress(fewer, forecast, clock.monotonic)
    play(fewer, fewer.suggest(), 0.5, 0.25)
    clock.sleep(10.0)
    assert progress.eta_s() >= 0


def test_a_running_trial_has_a_row_with_its_progress_and_its_parameters(search, forecast, clock):
    first, second = search.suggest(), search.suggest()
    search.report(first.trial, StartedRecord(pid=1, device="CPU [0]"))
    for number, value in ((1, None), (2, None), (3, 0.2)):
        search.report(first.trial, epoch(number, value))
    search.report(first.trial, ProgressRecord(step=TRAIN_STEP, done=3, total=4))
    search.live[0].slot, search.live[1].slot = 1, 0
    lines = lines_of(SearchProgress(search, forecast, clock.monotonic).snapshot())
    lr0 = search.trials[second.trial].params["lr0"]
    assert [line.rstrip() for line in lines[:3]] == [
        "trial  slot  epoch  in epoch    mAP50-95  loss  s/epoch  GiB  device   differs from the default in",
        "    0     1    4/9  ━━━━━━━━──    0.2000     1      2.0  0.5  CPU [0]  nothing: the default configuration",
        f"    1     0    1/9                                                     lr0 {lr0:.4g}",
    ]


def test_the_bars_show_the_phases_and_one_time_for_all_of_them(search, forecast, clock):
    progress = SearchProgress(search, dataclasses.replace(forecast, epoch_s=2.0), clock.monotonic)
    play(search, search.suggest(), 0.5, 0.25)
    clock.sleep(20.0)
    position, snapshot = progress.position(), progress.snapshot()
    searching, comparing, final = snapshot.phases
    assert searching.share == 9 / (9 + forecast.epochs_left(position))
    assert searching.text == "1/6 trials: 1 complete"
    assert (comparing.share, comparing.text) == (0.0, f"at most {forecast.estimate.comparison_runs.high:.0f} runs")
    assert (final.share, final.text) == (0.0, "20 epochs")
    assert snapshot.left_s == progress.eta_s() + forecast.comparison_s(2.0) + forecast.full_run_s(2.0)
    assert snapshot.best == "trial 0: 0.2500, the default configuration"


def test_the_best_is_compared_with_the_default_configuration(search, forecast, winner):
    assert SearchProgress(search, forecast).snapshot().best == (
        "trial 1: 0.3000, +0.0500 over the default (0.2500) on one seed"
    )


def test_a_new_epoch_has_no_progress_yet(search):
    request = search.suggest()
    search.report(request.trial, ProgressRecord(step=TRAIN_STEP, done=3, total=4))
    assert search.live[0].within == 0.75
    search.report(request.trial, epoch(1))
    assert search.live[0].within is None


@pytest.mark.parametrize(
    ("step", "done", "total", "share"), [("images", 1, 2, None), ("train", 5, 4, 1.0), ("train", 1, 0, None)]
)
def test_only_progress_of_training_counts_and_never_more_than_the_epoch(search, step, done, total, share):
    request = search.suggest()
    search.report(request.trial, ProgressRecord(step=step, done=done, total=total))
    assert search.live[0].within == share


def test_without_a_terminal_progress_is_printed_line_by_line(view, console, search, monkeypatch, forecast):
    monkeypatch.setattr(tuner.report.progress, "_PLAIN_INTERVAL_S", 0.02)
    with view.watching(search, TwoSlots(), forecast):
        time.sleep(0.2)
    lines = printed(console).splitlines()
    assert lines[0] == "slots  2 on the CPU"
    assert len(lines) >= 3
    assert all(line.startswith("0/6 trials (") for line in lines[1:])
    assert "\x1b" not in printed(console)


def test_progress_stops_once_the_search_is_over(view, search, forecast):
    before = set(threading.enumerate())
    with view.watching(search, TwoSlots(), forecast):
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


def test_an_error_in_the_block_ends_the_progress_display_and_is_passed_on(view, search, forecast):
    with pytest.raises(ZeroDivisionError), view.watching(search, TwoSlots(), forecast):
        _ = 1 / 0


def test_a_console_that_is_not_a_terminal_gets_plain_lines_by_default(console, search, forecast):
    with View(console, plain=False).watching(search, TwoSlots(), forecast):
        pass
    assert "\x1b" not in printed(console)


def test_on_a_terminal_the_table_is_drawn_and_erased(search, monkeypatch, forecast):
    monkeypatch.setenv("TERM", "xterm")
    console = Console(file=StringIO(), width=120, force_terminal=True)
    search.suggest()
    with View(console, plain=False).watching(search, TwoSlots(), forecast):
        pass
    text = printed(console)
    assert "differs from the default in" in text
    assert "\x1b[2K" in text  # the lines are erased at the end


# During the final run


def test_the_final_run_is_shown_from_its_latest_epoch(promoted):
    assert FinalRunProgress(promoted).line(5.0) == "final run: starting, 0:00:05"
    promoted.report(epoch(1))
    assert FinalRunProgress(promoted).line(7.0) == "final run: epoch 1/20; 0:00:07, about 0:00:38 left"
    for number, value in ((2, 0.4), (3, 0.3)):
        promoted.report(epoch(number, value))
    assert FinalRunProgress(promoted).line(11.0) == (
        "final run: epoch 3/20, best so far 0.4000; 0:00:11, about 0:00:34 left"
    )


def test_the_final_run_first_names_its_folder(view, console, promoted):
    with view.watching_final_run(promoted):
        pass
    assert printed(console) == f"final run of trial 1: 20 epochs in {promoted.request.directory}\n"


# At the end


def test_a_search_without_promotion_is_concluded_with_the_command_to_promote(study, winner, paths):
    lr0 = winner.trial.sampled["lr0"]
    home = paths.root.parent
    assert conclusion_lines(study, winner, paths) == [
        "",
        "Best: trial 1, mAP50-95 0.3000 after 9 epochs",
        f"    lr0 = {lr0}",
        "Trial 1 is 0.0500 ahead of the default configuration on one seed, which does not prove a gain.",
        f"    parameters  {paths.params}",
        f"    all files   {paths.root}",
        "Next:",
        f"    tune promote s --home {home}",
        "        train the winner in full",
        f"    tune status s --home {home}",
        "        list all trials",
        f"    tune dashboard s --home {home}",
        "        show them in a browser",
        f"    yolo train cfg={paths.params}",
        "        train the configuration again with plain ultralytics",
    ]


def test_the_diagnosis_of_a_winner_without_a_full_run_is_shown(study, winner, paths):
    shutil.copytree(CURVES / "tiny-overfits", paths.trial(winner.trial.number))
    assert any(line.startswith("    overfitting: ") for line in conclusion_lines(study, winner, paths))


def test_the_conclusion_of_a_final_run_has_its_values_and_weights(study, winner, paths, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="/s/best.pt"))
    lines = conclusion_lines(study, winner, paths)
    assert lines[4:6] == [
        "Final run (20 epochs): mAP50-95 0.4000, mAP50 0.6000, precision 0.7000, recall 0.5000",
        "    weights     /s/best.pt",
    ]
    assert not any("tune promote" in line for line in lines)


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.STOPPED])
def test_the_command_to_promote_again_is_shown_after_a_failed_final_run(study, winner, paths, promoted, outcome):
    promoted.end(EndRecord(outcome=outcome, message="why"))
    lines = conclusion_lines(study, winner, paths)
    assert any("tune promote s" in line for line in lines)
    assert not any("weights" in line for line in lines)


def test_a_final_run_without_values_is_concluded_too(study, winner, paths, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, checkpoint="/s/best.pt"))
    assert "    weights     /s/best.pt" in conclusion_lines(study, winner, paths)


def test_the_final_run_of_an_earlier_winner_is_not_shown_as_this_ones(study, search, paths, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="/s/best.pt"))
    play(search, search.suggest(), 0.5, 0.6)
    winner = choose_winner(study)
    assert winner.trial.number == 2
    assert any("tune promote s" in line for line in conclusion_lines(study, winner, paths))


def test_an_unbeaten_default_configuration_is_kept(study, search, paths):
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.1, 0.2)
    lines = conclusion_lines(study, choose_winner(study), paths)
    assert lines[1] == "Best: trial 0, mAP50-95 0.2500 after 9 epochs"
    assert "The default configuration was not beaten: keep it." in lines


def test_without_a_baseline_there_is_nothing_to_compare_with(study, search, paths):
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message="why"))
    play(search, search.suggest(), 0.1, 0.3)
    lines = conclusion_lines(study, choose_winner(study), paths)
    assert "The default configuration is not complete, so there is nothing to compare with." in lines


def test_the_default_home_is_omitted_from_commands(study, winner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = conclusion_lines(study, winner, StudyPaths.of(Path("studies"), "s"))
    assert "    tune status s" in lines


def test_a_command_with_a_blank_in_a_path_can_be_typed_as_it_is_shown(study, winner, tmp_path):
    paths = StudyPaths.of(tmp_path / "my studies", "s")
    command = next(line for line in conclusion_lines(study, winner, paths) if "tune status" in line)
    assert shlex.split(command) == ["tune", "status", "s", "--home", str(tmp_path / "my studies")]


def test_notes_of_the_trainer_are_warnings_before_those_of_the_space(view, console, spec):
    space = parse_space(SPACE.replace("trials: 6", "trials: 1"), name="small", file="small.yaml")
    view.subject(spec, space, ["12 images cannot be read"])
    warnings = [line for line in printed(console).splitlines() if line.startswith("warning: ")]
    assert warnings == ["warning: 12 images cannot be read", *(f"warning: {text}" for text in space.warnings)]


def test_commands_that_the_shell_would_not_find_are_shown_with_their_folder(console, study, winner, paths):
    View(console, plain=True, prefix=".venv/bin/").conclusion(study, winner, paths)
    lines = printed(console).splitlines()
    commands = [line.split()[0] for line in lines[lines.index("Next:") + 1 :: 2]]
    assert commands == [*[".venv/bin/tune"] * 3, ".venv/bin/yolo"]


def test_the_conclusion_is_printed_line_by_line(view, console, study, winner, paths):
    view.conclusion(study, winner, paths)
    assert printed(console).splitlines() == conclusion_lines(study, winner, paths)


def test_labels_of_variants_are_printed_with_their_brackets(view, console, url, spec, paths, terms):
    space = parse_space(
        """
search: {epochs: 9, rungs: [3], trials: 6, sampler: random}
parameters:
  batch: 16
  optimizer: {choice: [SGD, AdamW]}
  lr0: [{float: [0.001, 0.1], when: {optimizer: SGD}}, {float: [0.0001, 0.01], when: {optimizer: AdamW}}]
baseline: {optimizer: SGD, lr0: 0.01}
""",
        name="two",
        file="two.yaml",
    )
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
        view.conclusion(study, choose_winner(study), paths)
    assert "    lr0 [optimizer=SGD] = 0.01\n" in printed(console)


def test_the_comparison_on_other_seeds_is_shown_as_it_progresses(study, search, paths, terms, forecast):
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.1, 0.3)
    reevaluation = Reevaluation(study, plan_for(study, 8), paths, terms, slots=2)
    first, second, *rest = [reevaluation.suggest() for _ in range(6)]
    reevaluation.report(reevaluation.number_of(first), epoch(2))
    progress = ReevaluationProgress(reevaluation, forecast)
    row = lines_of(progress.snapshot(61.0))[1]
    assert row.split()[:4] == [f"{first.trial},", "seed", f"{first.seed}", "3/9"]
    assert progress.line(61.0) == (
        "re-evaluation: 0 of at most 8 runs (6 running); 0:01:01, at most 0:00:12 of re-evaluation left, "
        "then about 0:00:40 of final run"
    )
    for request, lead in zip((first, second, *rest), (0.02, 0.02, -0.005, -0.005, 0.03, 0.03), strict=True):
        number = reevaluation.number_of(request)
        reevaluation.report(number, epoch(9, 0.3 + lead * request.trial))
        reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))
    lead = "trial 1 is 0.0150 ahead of the default configuration on 3 seeds"
    assert progress.line(0.0).startswith(f"re-evaluation: 6 of at most 8 runs (0 running); {lead}; 0:00:00")
