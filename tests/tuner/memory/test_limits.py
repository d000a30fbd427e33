"""Never try again what ran out of memory, nor anything larger."""

import itertools
import math
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import driven, epoch
from tests.tuner.study.test_changes import Kept, in_memory
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.exceptions import FailurePolicyError
from tuner.memory.limits import MemoryLimits, measured_limits, memory_limits, smallest_sizes
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.study import MemoryFacts, ProfilingFacts, TrialFacts, TrialRecord

OUT_OF_MEMORY = EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="the GPU has no room")

SPACE = """
search: {{epochs: 9, rungs: [], trials: 12, sampler: {sampler}}}
parameters:
  optimizer: SGD
  imgsz: {imgsz}
  batch: {batch}
  lr0: {{float: [0.0001, 1.0], log: true}}
  momentum: {{float: [0.6, 0.98]}}
baseline: {{lr0: 0.01, momentum: 0.9{baseline}}}
"""

BATCHES = {
    "choice": ("{choice: [8, 16, 32, 64]}", ", batch: 64"),
    "range": ("{int: [8, 64], step: 4}", ", batch: 64"),
    "fixed": ("16", ""),
}
SIZES = {
    "choice": ("{choice: [320, 480, 640]}", ", imgsz: 640"),
    "range": ("{int: [320, 640], step: 32}", ", imgsz: 640"),
    "fixed": ("640", ""),
}


@pytest.fixture
def study(spec):
    """Make a study in memory, because these tests are not about writing."""
    return in_memory(Kept(), spec)


def space_of(batch, imgsz, sampler="random"):
    (batch, its_baseline), (imgsz, other_baseline) = BATCHES[batch], SIZES[imgsz]
    text = SPACE.format(sampler=sampler, batch=batch, imgsz=imgsz, baseline=its_baseline + other_baseline)
    return parse_space(text, name="s", file="s.yaml")


def trial(batch, imgsz, failure="out of memory", device="A"):
    return TrialRecord(
        number=0,
        state=TrialState.PRUNED,
        value=None,
        curve={},
        sampled={},
        params={"batch": batch, "imgsz": imgsz},
        reason="",
        facts=TrialFacts(failure=failure, device=device),
    )


def train(search, request, room, device="A"):
    """Train on a device with room for that many pixels. Return True if the trial fitted."""
    search.report(request.trial, StartedRecord(pid=1, device=device))
    fits = request.params["batch"] * request.params["imgsz"] ** 2 <= room
    if fits:
        search.report(request.trial, epoch(9, request.params["lr0"] / 2))
    search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED) if fits else OUT_OF_MEMORY)
    return fits


def test_only_sizes_at_least_as_large_in_both_dimensions_are_excluded():
    limits = MemoryLimits(too_large=((32, 640),))
    excluded = {(b, s) for b in (16, 32, 64) for s in (480, 640, 800) if limits.exclude({"batch": b, "imgsz": s})}
    assert excluded == {(32, 640), (32, 800), (64, 640), (64, 800)}


def test_limits_are_learnt_from_trials_out_of_memory_on_the_same_device():
    trials = [trial(64, 640), trial(32, 640, device="B"), trial(8, 320, failure="error")]
    assert memory_limits(trials, {"A"}).too_large == ((64, 640),)
    assert memory_limits(trials, {"C"}).too_large == ()
    assert memory_limits(trials, {}).too_large == ((32, 640), (64, 640))


def test_sizes_that_do_not_fit_on_one_of_a_trials_possible_devices_are_excluded():
    trials = [trial(64, 640), trial(32, 640, device="B")]
    assert memory_limits(trials, {"A", "B"}).too_large == ((32, 640), (64, 640))
    assert memory_limits([], {"A", "B"}, MemoryFacts(device="B", too_large=((16, 640),))).too_large == ((16, 640),)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("imgsz", SIZES)
def test_the_smallest_sizes_of_a_space_are_known(batch, imgsz):
    smallest = smallest_sizes(space_of(batch, imgsz))
    assert smallest == {"batch": 16 if batch == "fixed" else 8, "imgsz": 640 if imgsz == "fixed" else 320}


@pytest.mark.parametrize(("batch", "imgsz"), [("choice", "fixed"), ("range", "choice"), ("choice", "range")])
@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
def test_no_sampler_proposes_again_what_does_not_fit_into_memory(study, paths, terms, sampler, batch, imgsz):
    search = Search(study, space_of(batch, imgsz, sampler), paths, terms)
    tried, too_large = [], []
    while (request := search.suggest()) is not None:
        sizes = request.params["batch"], request.params["imgsz"]
        assert not any(sizes[0] >= b and sizes[1] >= s for b, s in too_large), (sizes, too_large)
        tried.append(sizes)
        if not train(search, request, room=16 * 640**2):
            too_large.append(sizes)
    assert len(tried) == 12
    assert too_large
    assert len(too_large) < 9
    assert len(set(tried)) > 2  # not only the smallest


def test_a_trial_that_ran_out_of_memory_is_stopped_and_not_failed(search):
    request = search.suggest()
    search.report(request.trial, StartedRecord(pid=1, device="A"))
    search.report(request.trial, OUT_OF_MEMORY)
    noted = search.trials[0]
    assert (noted.state, noted.reason) == (TrialState.PRUNED, "out of memory: the GPU has no room")
    assert noted.facts.failure == "out of memory"


@pytest.mark.parametrize(("batch", "imgsz"), [("fixed", "fixed"), ("choice", "fixed"), ("range", "choice")])
def test_the_search_ends_when_nothing_smaller_is_left(study, paths, terms, batch, imgsz):
    search = Search(study, space_of(batch, imgsz), paths, terms)
    while (request := search.suggest()) is not None:
        train(search, request, room=0)
    assert isinstance(search.problem, FailurePolicyError)
    assert str(search.problem) == (
        "The search stopped: even the smallest batch and image size of the space run out of memory. "
        "Add smaller ones to the space, or choose a smaller model."
    )
    assert len(search.trials) < 12


def test_devices_of_several_kinds_have_the_limits_of_the_smallest(study, paths, terms):
    search = Search(study, space_of("choice", "fixed"), paths, terms)
    first, second = search.suggest(), search.suggest()
    assert first.params["batch"] == 64
    train(search, first, room=16 * 640**2, device="small")
    train(search, second, room=math.inf, device="large")
    while (request := search.suggest()) is not None:
        assert request.params["batch"] < 64, "it may land on the small one"
        train(search, request, room=math.inf, device="large")
    assert len(search.trials) == 12


def test_a_device_that_a_trial_may_land_on_counts_before_one_has_landed_there(url, spec, paths, terms):
    space = space_of("fixed", "fixed")
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        train(search, search.suggest(), room=0, device="small")
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, replace(terms, devices=frozenset({"small", "large"})))
        assert search.suggest() is None
        assert isinstance(search.problem, FailurePolicyError)


def test_a_new_driver_on_a_larger_device_continues(url, spec, paths, terms):
    space = space_of("fixed", "fixed")
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        train(search, search.suggest(), room=0, device="small")
        assert search.suggest() is None
        assert isinstance(search.problem, FailurePolicyError)
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        for _ in range(2):
            assert train(search, search.suggest(), room=16 * 640**2, device="large")
        assert search.problem is None


def test_a_new_driver_on_the_same_device_learns_the_limit_from_one_trial(url, spec, paths, terms):
    space = space_of("fixed", "fixed")
    for trials in (1, 2):
        with driven(url, spec, paths) as study:
            search = Search(study, space, paths, terms)
            train(search, search.suggest(), room=0)
            assert search.suggest() is None
            assert isinstance(search.problem, FailurePolicyError)
            assert len(search.trials) == trials


def test_sizes_that_a_space_does_not_name_are_those_of_ultralytics():
    limits = MemoryLimits(too_large=((16, 640),))
    assert limits.exclude({"batch": 32})
    assert limits.exclude({"imgsz": 640})
    assert not limits.exclude({"batch": 8})
    assert not limits.exclude({"imgsz": 608})
    space = parse_space(
        "parameters: {optimizer: SGD, batch: {choice: [8, 32]}}\nbaseline: {batch: 8}", name="s", file="s"
    )
    assert smallest_sizes(space) == {"batch": 8, "imgsz": 640}


def measured(space, room):
    """Measure the limits. Return them with the sizes that were tried."""
    tried = []

    def fits(batch, imgsz):
        assert (batch, imgsz) not in tried, "measured twice"
        tried.append((batch, imgsz))
        return batch * imgsz**2 <= room

    return measured_limits(space, fits), tried


@pytest.mark.parametrize(("batch", "imgsz"), [*itertools.product(BATCHES, SIZES)])
@pytest.mark.parametrize("room", [1, 8 * 320**2, 16 * 640**2, 32 * 480**2, 64 * 640**2])
def test_measuring_excludes_exactly_the_sizes_that_do_not_fit(batch, imgsz, room):
    space = space_of(batch, imgsz)
    limits, tried = measured(space, room)
    batches = {"choice": [8, 16, 32, 64], "range": [8, 16, 32, 64], "fixed": [16]}[batch]
    sizes = {"choice": [320, 480, 640], "range": [320, 640], "fixed": [640]}[imgsz]
    if len(batches) == len(sizes) == 1:
        assert tried == []
        return
    for b, s in itertools.product(batches, sizes):
        assert limits.exclude({"batch": b, "imgsz": s}) == (b * s**2 > room)
    assert len(tried) <= len(batches) + len(sizes)
    assert room < 64 * 640**2 or len(tried) == 1, "where all fit, one is enough"


def test_a_search_uses_the_limits_that_were_measured_before_it(study, paths, terms):
    measured = MemoryFacts(device="A", too_large=((16, 640),))
    study.record_profiling(ProfilingFacts(memory=measured))
    assert study.profiling.memory == measured
    search = Search(study, space_of("choice", "choice", "auto"), paths, terms)
    baseline = search.suggest()
    assert (baseline.params["batch"], baseline.params["imgsz"]) == (64, 640), "which everything is compared with"
    train(search, baseline, room=math.inf)
    while (request := search.suggest()) is not None:
        assert not MemoryLimits(too_large=measured.too_large).exclude(request.params)
        train(search, request, room=math.inf)
    assert len(search.trials) == 12


def test_limits_of_another_device_do_not_count():
    known = MemoryFacts(device="A", too_large=((16, 640),))
    assert memory_limits([trial(64, 640)], {"A"}, known).too_large == ((16, 640), (64, 640))
    assert memory_limits([trial(64, 640)], {"B"}, known).too_large == ()
    assert memory_limits([], {}, known).too_large == ((16, 640),)


def test_sizes_that_do_not_fit_into_a_share_of_a_gpu_may_fit_into_a_larger_share():
    on_half = replace(trial(64, 640), facts=replace(trial(64, 640).facts, gpu_share=0.5))
    known = MemoryFacts(device="A", too_large=((16, 640),), gpu_share=0.5)
    assert memory_limits([on_half], {"A"}, known, gpu_share=1.0).too_large == ()
    for share in (0.5, 1 / 3):
        assert memory_limits([on_half], {"A"}, known, gpu_share=share).too_large == ((16, 640), (64, 640))
    assert memory_limits([trial(64, 640)], {"A"}, gpu_share=0.5).too_large == ((64, 640),)
