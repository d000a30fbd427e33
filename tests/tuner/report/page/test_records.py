"""Compare the numbers of a page with the study's record, the timeline and the logs."""

import dataclasses
import math
import random
from datetime import datetime

import pytest
from optuna.trial import TrialState

from tests.tuner.report.page.conftest import rows
from tuner.comparison.record import reevaluated
from tuner.report.page.charts.costs import costs_chart
from tuner.report.page.charts.importance import importance_chart
from tuner.report.page.charts.parallel import parallel_chart
from tuner.report.page.charts.slices import slice_chart
from tuner.report.page.charts.slots import slots_chart
from tuner.report.page.charts.verdict import gain_chart, paired_seeds_chart
from tuner.report.page.records.best_over_cost import best_over_cost
from tuner.report.page.records.costs import costs_of
from tuner.report.page.records.failures import failure_groups, log_excerpt
from tuner.report.page.records.importance import importance_of
from tuner.report.page.records.parameters import Axis, axes_of
from tuner.report.page.records.slices import parallel_of, slice_of
from tuner.report.page.records.slots import Work, slots_of
from tuner.report.page.records.subject import Role, Subject, subject_of
from tuner.report.page.records.verdict import paired_seeds
from tuner.study import FailedAttempt, Span, TrialFacts, TrialRecord

SUBJECT = Subject(name="s", metric="mAP50-95", winner=None, default=0)
AXES = (
    Axis(label="lr0 [optimizer=SGD]", low=0.001, high=0.1, is_log=True),
    Axis(label="mosaic"),
    Axis(label="optimizer", choices=("SGD", "AdamW")),
)


def trial(number, *, value=None, curve=None, state=None, reason="", facts=None, **sampled):
    curve = curve or ({} if value is None else {54: value})
    if state is None:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
    return TrialRecord(number=number, state=state, value=value, curve=curve, sampled=sampled, params=sampled,
                       reason=reason, facts=facts or TrialFacts(), began=datetime(2026, 1, 1), ended=None)  # fmt: skip


def searched(number, effect):
    """Make trials with random values. Only the conditional lr0 matters; a third use AdamW and have none."""
    chance = random.Random(3)
    for i in range(number):
        optimizer = "AdamW" if i % 3 == 0 else "SGD"
        values = {"optimizer": optimizer, "mosaic": chance.random()}
        lr0 = 10 ** chance.uniform(-3, -1)
        values |= {"lr0 [optimizer=SGD]": lr0} if optimizer == "SGD" else {}
        result = 0.4 - effect * (math.log10(lr0) + 2) ** 2 if optimizer == "SGD" else 0.4 - effect * 0.3
        yield trial(i + 1, value=result + chance.gauss(0, 0.01), **values)


def test_the_parameter_that_decides_comes_first_even_if_it_is_conditional_and_trials_are_stopped():
    trials = list(searched(90, effect=0.3))
    stopped = [trial(t.number, curve={3: t.value / 5}, **t.sampled) if t.value < 0.35 else t for t in trials]

    record = importance_of(SUBJECT, stopped, AXES)

    assert record.parameters[0].label == "lr0 [optimizer=SGD]"
    assert record.parameters[0].stands_out
    assert sum(each.share for each in record.parameters) == pytest.approx(1.0)
    assert (record.ranked, record.best) == (90, 9)
    assert record.complete == sum(t.state == TrialState.COMPLETE for t in stopped) < 90
    shown = rows(importance_chart(record), "parameter", "importance")
    assert [row["parameter"] for row in shown] == [each.label for each in record.parameters]
    assert [row["importance"] for row in shown] == pytest.approx([each.share for each in record.parameters], abs=1e-4)


def test_no_parameter_stands_out_if_none_has_an_effect():
    record = importance_of(SUBJECT, list(searched(60, effect=0.0)), AXES)

    # One of ten parameters without effect exceeds the level by chance; of three, at most one may.
    assert sum(each.stands_out for each in record.parameters) <= 1


def test_failed_trials_and_the_default_do_not_count_and_constants_are_harmless():
    trials = [*searched(30, effect=0.3), trial(0, value=0.9, mosaic=0.5, optimizer="SGD", **{AXES[0].label: 0.01}),
              trial(40, state=TrialState.FAIL, mosaic=0.5)]  # fmt: skip
    constant = Axis(label="imgsz", low=640, high=640, is_whole=True)
    fixed = [trial(t.number, value=t.value, state=t.state, imgsz=640, **t.sampled) for t in trials]

    record = importance_of(SUBJECT, fixed, (*AXES, constant))

    assert record.ranked == 30
    assert {each.label: each.share for each in record.parameters}["imgsz"] == 0


@pytest.mark.parametrize(("trials", "is_known"), [(9, False), (10, True)])
def test_importance_needs_twice_as_many_trials_as_it_takes_for_the_best(trials, is_known):
    assert (importance_of(SUBJECT, list(searched(trials, effect=0.3)), AXES) is not None) == is_known


def test_axes_are_those_of_the_space_with_their_scales(finished):
    axes = {axis.label: axis for axis in axes_of(finished, finished.trials())}

    assert axes["lr0 [optimizer=SGD]"].is_log
    assert not axes["mosaic"].is_log
    assert axes["batch"].choices == (16, 32, 64)
    assert axes["lr0 [optimizer=SGD]"].place(0.01) == pytest.approx(0.5)
    assert "imgsz" not in axes  # fixed


def test_axes_of_another_program_are_those_of_its_values():
    trials = [trial(i, value=0.1, lr=10.0**-i, layers=i, kind="ab"[i % 2]) for i in range(5)]

    axes = {axis.label: axis for axis in axes_of(None, trials)}

    assert (axes["lr"].low, axes["lr"].high, axes["lr"].is_log) == (pytest.approx(1e-4), 1.0, True)
    assert (axes["layers"].low, axes["layers"].high, axes["layers"].is_whole) == (0, 4, True)
    assert axes["kind"].choices == ("a", "b")


def test_a_slice_has_every_trial_with_the_parameter_and_only_complete_ones_have_a_value(finished):
    trials, subject = finished.trials(), subject_of(finished)
    for axis in axes_of(finished, trials):
        record = slice_of(subject, trials, axis)
        having = [t for t in trials if axis.label in t.sampled]
        if not any(t.value is not None for t in having):
            assert record is None
            continue

        assert {(p.trial, p.parameter) for p in record.points} == {(t.number, t.sampled[axis.label]) for t in having}
        assert {p.trial: p.value for p in record.points} == {t.number: t.value for t in having}
        shown = rows(slice_chart(record), "trial", "parameter")
        assert {row["trial"] for row in shown} == {t.number for t in having}


def test_parallel_axes_join_variants_and_take_fixed_values_from_the_arguments(finished):
    trials, subject = finished.trials(), subject_of(finished)
    axes = axes_of(finished, trials)
    record = parallel_of(subject, trials, axes)

    labels = [axis.label for axis in record.axes]
    assert labels.count("lr0 (log)") == 1
    assert labels[-1] == "mAP50-95"
    lines = {line.trial: line for line in record.lines}
    assert set(lines) == {t.number for t in trials}
    complete = [t for t in trials if t.value is not None]
    low, high = min(t.value for t in complete), max(t.value for t in complete)
    for each in trials:
        expected = None if each.value is None else pytest.approx((each.value - low) / (high - low))
        assert lines[each.number].places[-1] == expected
    assert [record.lines[-1].role, record.lines[-2].role] == [Role.WINNER, Role.DEFAULT]
    momentum = labels.index("momentum")
    adam = next(t for t in trials if t.params["optimizer"] == "AdamW")
    assert lines[adam.number].places[momentum] == pytest.approx((0.9 - 0.8) / (0.98 - 0.8))
    assert {row["trial"] for row in rows(parallel_chart(record), "trial", "place")} == set(lines)


def test_paired_seeds_gain_and_interval_are_those_of_the_verdict(finished):
    known, record = reevaluated(finished), paired_seeds(finished)
    values = {(run.trial, run.seed): run.value for run in known.runs}

    leader = known.verdict.leader
    assert record.leader == leader
    assert [(p.seed, p.default, p.leader) for p in record.pairs] == [
        (seed, values[0, seed], values[leader, seed]) for seed in known.plan.seeds[: known.verdict.seeds]
    ]
    assert (
        record.gain
        == known.verdict.gain
        == pytest.approx(sum(p.leader - p.default for p in record.pairs) / len(record.pairs))
    )
    assert record.interval == known.verdict.interval
    seeds = rows(paired_seeds_chart(record), "seed", "configuration", "value")
    assert [row["value"] for row in seeds] == [v for p in record.pairs for v in (p.default, p.leader)]
    spec = gain_chart(record, record.gain, record.interval)
    (mean,) = rows(spec, "low", "high")
    assert (mean["gain"], mean["low"], mean["high"]) == (record.gain, *record.interval)
    assert [row["gain"] for row in rows(spec, "seed", "gain")] == [p.leader - p.default for p in record.pairs]


def test_the_band_of_the_estimate_is_its_epochs_at_the_measured_pace(finished):
    trials, estimate = finished.trials(), finished.profiling.estimate
    record = best_over_cost(subject_of(finished), trials, epochs_estimated=estimate.trained)

    pace = sum(t.facts.seconds for t in trials) / sum(t.facts.epochs for t in trials) / 3600
    assert record.estimate == pytest.approx([end * pace for end in estimate.trained])


def test_costs_are_those_of_the_trials_the_reevaluation_and_the_final_run(finished, spans):
    record, trials, runs = costs_of(finished, spans), finished.trials(), reevaluated(finished).runs
    phases = {phase.phase: phase for phase in record.phases}

    assert list(phases) == ["search", "re-evaluation", "final run"]
    assert phases["search"].epochs == sum(t.facts.epochs for t in trials)
    assert phases["search"].hours == pytest.approx(sum(t.facts.seconds for t in trials) / 3600)
    assert phases["search"].expected_epochs == finished.profiling.estimate.trained
    assert phases["re-evaluation"].epochs == sum(run.epochs for run in runs)
    assert phases["re-evaluation"].expected_epochs == (12 * 54, 13 * 54)
    assert (phases["final run"].epochs, phases["final run"].hours) == (100, pytest.approx(100 * 42 / 3600))
    assert record.unit == "GPU-hours"
    for each in record.phases:
        own = [s for s in spans if s.phase == each.phase and s.ended_s]
        assert each.occupied_hours == pytest.approx(sum(s.ended_s - s.began_s for s in own) / 3600)
        assert each.occupied_hours >= each.hours - 1e-6
    shown = rows(costs_chart(record), "phase", "spent")
    assert {row["phase"]: row["spent"] for row in shown} == {p.phase: p.hours for p in record.phases}


def test_every_span_is_a_bar_and_waiting_is_not_running(finished, spans):
    record, trials = slots_of(spans, finished.trials()), finished.trials()

    assert [bar.span for bar in record.bars] == sorted(spans, key=lambda span: span.began_s)
    paused = [t for t in trials if sum(s.trial == t.number and s.phase == "search" for s in spans) > 1]
    assert paused
    for bar in record.bars:
        if bar.span.ended_s is not None:
            assert bar.ended_s - bar.began_s == pytest.approx(bar.span.ended_s - bar.span.began_s)
    search = record.phases[0]
    assert [slot for slot, _ in record.busy] == list(range(search.slots))
    assert sum(busy for _, busy in record.busy) / search.slots == pytest.approx(search.busy)
    assert {row["trial"] for row in rows(slots_chart(record), "slot", "work")} == {
        bar.span.trial for bar in record.bars
    }


def test_the_clock_stops_while_nobody_drives_the_study(finished, spans):
    record = slots_of(spans, finished.trials())

    (found,) = record.breaks
    assert found.lasted_s == pytest.approx(6 * 3600, abs=60)
    assert record.ended_s == pytest.approx(max(s.ended_s or 0 for s in spans) - spans[0].began_s - found.lasted_s)
    lost = [bar for bar in record.bars if bar.span.ended_s is None]
    assert lost
    assert all(bar.work == Work.CUT_OFF and bar.ended_s <= found.at_s for bar in lost)


def span(trial, slot, began_s, ended_s, ending="completed", **more):
    return Span(phase="search", trial=trial, seed=0, slot=slot, began_s=began_s, ended_s=ended_s, ending=ending, **more)


def test_a_stopped_trial_that_trained_again_was_paused_and_retries_are_marked():
    record = slots_of([
        span(1, 0, 0.0, 10.0, "decided"), span(2, 0, 10.0, 20.0, "lost"), span(1, 0, 20.0, 30.0),
        span(2, 0, 30.0, 50.0, "decided"), span(3, 1, 0.0, 25.0, "out_of_memory"),
    ])  # fmt: skip

    assert [(bar.span.trial, bar.work, bar.is_retry) for bar in record.bars] == [
        (1, Work.PAUSED, False), (3, Work.FAILED, False), (2, Work.CUT_OFF, False),
        (1, Work.COMPLETE, False), (2, Work.STOPPED, True),
    ]  # fmt: skip
    assert dict(record.busy) == {0: 1.0, 1: 0.5}
    (phase,) = record.phases
    assert phase.busy == 0.75


def test_a_slot_is_not_idle_if_a_later_phase_has_no_work_for_it():
    later = dataclasses.replace(span(1, 0, 10.0, 90.0), phase="final run")
    assert dict(slots_of([span(1, 0, 0.0, 10.0), span(2, 1, 0.0, 10.0), later]).busy) == {0: 1.0, 1: 1.0}


def test_a_span_without_an_end_lasts_until_the_last_sign_of_its_driver():
    record = slots_of([
        span(1, 0, 0.0, None), span(2, 1, 0.0, 100.0), span(3, 1, 100.0, None),
        span(1, 1, 5000.0, 5100.0), span(3, 0, 5001.0, 5050.0),
    ])  # fmt: skip

    assert [(bar.span.trial, bar.began_s, bar.ended_s) for bar in record.bars] == [
        (1, 0.0, 100.0), (2, 0.0, 100.0), (3, 100.0, 100.0), (1, 100.0, 200.0), (3, 101.0, 150.0),
    ]  # fmt: skip
    assert [each.lasted_s for each in record.breaks] == [4900.0]


def test_a_running_trial_is_neither_cut_off_nor_stopped():
    (bar,) = slots_of([span(1, 0, 0.0, None)], [trial(1, state=TrialState.RUNNING)]).bars

    assert bar.work == Work.RUNNING


def failed(number, cause, kind="error", log=None):
    attempts = (FailedAttempt(failure=kind, epoch=1, cause=cause),)
    facts = TrialFacts(failure=kind, failed_attempts=attempts, log=log)
    return trial(number, state=TrialState.FAIL, reason=f"{kind}: {cause}", facts=facts)


def test_failures_whose_causes_differ_only_in_numbers_are_one_group(tmp_path):
    log = tmp_path / "trainer.log"
    log.write_text("".join(f"line {i}\n" for i in range(5000)) + "\x1b[31mRuntimeError\x1b[0m: at batch 7\n")
    retried = FailedAttempt(failure="infrastructure", epoch=2, cause="the machine was lost")
    trials = [
        failed(1, "RuntimeError: at batch 7", log=str(log)),
        failed(2, "RuntimeError: at batch 12"),
        trial(3, value=0.3, facts=TrialFacts(failed_attempts=(retried, retried))),
        trial(4, reason="diverged: the loss is nan at epoch 2"),
    ]

    groups = failure_groups(trials)

    assert [(g.kind, g.ended, g.retried) for g in groups] == [
        ("error", (1, 2), ()), ("infrastructure", (), (3, 3)), ("diverged", (4,), ()),
    ]  # fmt: skip
    assert groups[0].excerpt.splitlines()[-1] == "\\x1b[31mRuntimeError\\x1b[0m: at batch 7"
    assert len(groups[0].excerpt.splitlines()) == 12
    assert groups[0].excerpt_of == 1


def test_an_excerpt_is_bounded_and_a_missing_log_is_none(tmp_path):
    log = tmp_path / "trainer.log"
    log.write_text("x" * 100_000 + "\rdone\n")

    assert log_excerpt(log) == "done"
    log.write_text("\n".join("y" * 3000 for _ in range(100)))
    assert len(log_excerpt(log)) < 12 * 201
    assert log_excerpt(tmp_path / "none.log") == ""


def test_the_synthetic_study_has_every_kind_of_trial(finished):
    trials = finished.trials()

    assert {group.kind for group in failure_groups(trials)} == {"infrastructure", "out of memory", "diverged"}
    assert any(t.reason.startswith("early stop") for t in trials)
    assert all(t.state.is_finished() for t in trials)
    assert finished.final_run.state == "COMPLETE"
    assert reevaluated(finished).verdict.decided
