"""Carry out the changes of a study in order and once each, wherever and however often the driver dies."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.tuner.conftest import SPACE, study_spec
from tuner.exceptions import StudyChangedError
from tuner.space import parse_space
from tuner.study import FailedAttempt, FinalRunFacts, StudySession, TrialFacts
from tuner.study._attributes import StudyAttributes
from tuner.study._changes import Change, Replica

SMALL = parse_space(SPACE, name="small", file="small.yaml")
VALUES = st.floats(0, 1) | st.sampled_from([math.nan, math.inf, -math.inf])
TEXTS = st.text(max_size=20) | st.sampled_from(["é \u2028 \x85 \n", "\x00", "\ud800"])


class Died(Exception):  # noqa: N818
    pass


class Dying:
    """Storage whose user dies after that many single writes."""

    def __init__(self, storage, writes):
        self._storage = storage
        self._left = writes

    def __getattr__(self, name):
        method = getattr(self._storage, name)
        return self._counted(method) if name.startswith(("set_", "_get_prepared_new_trial")) else method

    def _counted(self, method):
        def count(*arguments, **options):
            if self._left == 0:
                raise Died
            self._left -= 1
            return method(*arguments, **options)

        return count


class Kept(list):
    """Stand-in for a writer that keeps the changes."""

    put = list.append

    def check(self):
        """Do nothing: writing is always possible."""


@pytest.fixture(scope="module")
def storage():
    return RDBStorage("sqlite:///:memory:")


@pytest.fixture
def name(storage):
    return new_study(storage)


def new_study(storage):
    return optuna.create_study(storage=storage, study_name=uuid4().hex, direction="maximize").study_name


def in_memory(writer, spec=None, trials=()):
    stored = {"spec": dataclasses.asdict(spec or study_spec(SMALL))}
    attributes = StudyAttributes(name="s", stored=stored, folder=Path("/s"))
    return StudySession(SimpleNamespace(study="s", url="sqlite:///none"), attributes, list(trials), writer)


def proposed(number=0, **more):
    """Return the change that begins a trial."""
    writer = Kept()
    study = in_memory(writer)
    for _ in range(number + 1):
        study.propose(RandomSampler(seed=0), SMALL)
    return dataclasses.replace(writer[number], **more)


def facts(storage, name):
    """Return everything about a study except the times."""
    study = optuna.load_study(storage=storage, study_name=name)
    trials = [
        (
            *(t.number, t.state.name, t.values, t.params, t.distributions),
            *(sorted(t.intermediate_values.items()), sorted(t.user_attrs.items()), sorted(t.system_attrs.items())),
        )
        for t in study.get_trials()
    ]
    return repr((trials, sorted(study.user_attrs.items())))  # as text, because NaN is not equal to itself


def follow_all(storage, name, changes):
    replica = Replica(storage, name)
    for change in changes:
        replica.follow(Change.decoded(change.encoded()))


@st.composite
def lives(draw):
    """Draw changes that a driver may make to a study. Return them, and the study in memory after them."""
    writer = Kept()
    study = in_memory(writer)
    for _ in range(draw(st.integers(1, 12))):
        step(draw, study)
    return study, list(writer)


def step(draw, study):
    running = [t.number for t in study.trials() if t.state == TrialState.RUNNING]
    waiting = [t.number for t in study.trials() if t.state == TrialState.WAITING]
    steps = ["propose", "promotion"] if not waiting else ["resume", "promotion"]
    match draw(st.sampled_from([*steps, *(["epoch", "epoch", "note", "interrupt", "finish"] if running else [])])):
        case "propose":
            if draw(st.booleans()):
                study.begin({"lr0": 0.5}, SMALL)
            else:
                study.propose(RandomSampler(seed=draw(st.integers(0, 9))), SMALL)
        case "resume":
            study.resume(draw(st.sampled_from(waiting)))
        case "promotion":
            study.record_final_run(FinalRunFacts(trial=0, epochs=9, directory="/d", state=draw(TEXTS)))
        case "epoch":
            study.record_epoch(draw(st.sampled_from(running)), draw(st.integers(1, 9)), draw(VALUES))
        case "note":
            study.record(
                draw(st.sampled_from(running)), TrialFacts(device=draw(TEXTS), attempts=draw(st.integers(0, 3)))
            )
        case "interrupt":
            failed = FailedAttempt(failure="hung", epoch=0, cause=draw(TEXTS))
            study.interrupt(draw(st.sampled_from(running)), TrialFacts(failed_attempts=(failed,)))
        case "finish":
            state = draw(st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]))
            study.finish(
                draw(st.sampled_from(running)),
                state,
                value=0.25 if state == TrialState.COMPLETE else None,
                reason=draw(TEXTS),
                curve=draw(st.dictionaries(st.integers(1, 9), VALUES, max_size=1)),
                infeasible=state == TrialState.PRUNED and draw(st.booleans()),
            )


@given(life=lives(), data=st.data())
@settings(max_examples=25)
def test_the_next_driver_completes_the_changes_of_one_that_died_anywhere(storage, life, data):
    _, changes = life
    whole, cut = new_study(storage), new_study(storage)
    follow_all(storage, whole, changes)

    written = data.draw(st.integers(0, len(changes)), label="changes that left the journal before")
    follow_all(storage, cut, changes[:written])
    for deaths in range(data.draw(st.integers(1, 2), label="deaths")):
        dying = Dying(storage, data.draw(st.integers(0, 30), label=f"writes before death {deaths}"))
        try:
            follow_all(dying, cut, changes[written:])
        except Died:
            continue
    follow_all(storage, cut, changes[written:])

    assert facts(storage, cut) == facts(storage, whole)
    follow_all(storage, cut, changes[written:])
    assert facts(storage, cut) == facts(storage, whole)


@given(life=lives())
@settings(max_examples=15)
def test_the_database_says_what_the_driver_knows(storage, life):
    study, changes = life
    name = new_study(storage)
    follow_all(storage, name, changes)
    known = facts(study._memory, "s").replace("-0.0", "0.0")
    ours, theirs = known[: known.rindex("], [")], facts(storage, name).replace("-0.0", "0.0")
    assert ours == theirs[: theirs.rindex("], [")]  # without the study's own attributes, which memory keeps elsewhere


@pytest.mark.parametrize(
    "change",
    [
        Change(attributes={"promotion": {"state": "RUNNING", "größe": "\u2028"}}),
        Change(trial=0, curve={3: 0.1, 9: math.inf}),
        Change(trial=3, state="COMPLETE", values=(0.25,)),
        Change(trial=3, params={"lr0": 0.1, "optimizer": "SGD", "batch": 16}, distributions={"lr0": "{}"}),
    ],
)
def test_a_change_is_restored_from_its_line(change):
    line = change.encoded()
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert Change.decoded(line) == change


def test_nan_is_restored_from_its_line():
    assert math.isnan(Change.decoded(Change(trial=0, curve={3: math.nan}).encoded()).curve[3])


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", "3", '{"trial":1', '{"trial":1,"colour":2}', '{"curve":{"a":1}}']
)
def test_a_line_that_is_not_a_change_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        Change.decoded(line)


# Other programs


def test_a_trial_that_another_program_began_under_our_number_is_reported(storage, name):
    optuna.load_study(storage=storage, study_name=name).ask()
    with pytest.raises(
        StudyChangedError, match="added trials to the study during the run: trial 0 is not from this run"
    ):
        follow_all(storage, name, [proposed()])


def test_a_trial_that_another_program_enqueued_under_our_number_is_reported(storage, name):
    optuna.load_study(storage=storage, study_name=name).enqueue_trial({"lr0": 0.5})
    before = facts(storage, name)
    with pytest.raises(StudyChangedError, match="trial 0 is not from this run"):
        follow_all(storage, name, [proposed()])
    assert facts(storage, name) == before


def test_later_changes_are_not_written_to_a_foreign_trial(storage, name):
    optuna.load_study(storage=storage, study_name=name).ask()
    replica = Replica(storage, name)
    before = facts(storage, name)
    for _ in range(2):
        with pytest.raises(StudyChangedError):
            replica.follow(proposed())
    assert facts(storage, name) == before


def test_a_study_that_lost_its_trials_is_reported_and_gets_no_new_ones(storage, name):
    with pytest.raises(StudyChangedError, match="has removed trial 1 from the study"):
        follow_all(storage, name, [Change(trial=1, curve={3: 0.1})])
    with pytest.raises(StudyChangedError, match="has removed trial 0 from the study"):
        follow_all(storage, name, [proposed(number=1)])
    assert optuna.load_study(storage=storage, study_name=name).get_trials() == []


@pytest.mark.parametrize("known", [True, False], ids=["a trial that was there", "a trial to come"])
def test_a_study_that_another_program_removed_is_reported(storage, name, known):
    replica = Replica(storage, name)
    if known:
        replica.follow(proposed())
    optuna.delete_study(storage=storage, study_name=name)
    for change in (proposed(), Change(trial=0, curve={3: 0.1}), Change(attributes={"promotion": {}})):
        with pytest.raises(StudyChangedError, match="has removed"):
            replica.follow(change)


def test_a_trial_that_another_program_closed_stays_as_it_is(storage, name):
    replica = Replica(storage, name)
    replica.follow(proposed())
    optuna.load_study(storage=storage, study_name=name).tell(0, state=TrialState.FAIL)
    before = facts(storage, name)
    replica.follow(Change(trial=0, curve={3: 0.1}, attributes={"reason": "ours"}, state="COMPLETE", values=(0.5,)))
    replica.follow(proposed())
    assert facts(storage, name) == before


@pytest.mark.parametrize("survived", range(6))
def test_a_trial_that_was_enqueued_is_taken_up_wherever_its_driver_dies(storage, name, survived):
    study = optuna.load_study(storage=storage, study_name=name)
    study.enqueue_trial({"lr0": 0.5})
    writer = Kept()
    ours = in_memory(writer, trials=study.get_trials())
    proposal = ours.propose(RandomSampler(seed=0), SMALL)
    assert (proposal.number, proposal.params["lr0"]) == (0, 0.5)
    assert [t.state for t in ours.trials()] == [TrialState.RUNNING]
    try:
        follow_all(Dying(storage, survived), name, writer)
    except Died:
        follow_all(storage, name, writer)
    (trial,) = optuna.load_study(storage=storage, study_name=name).get_trials()
    assert (trial.state, trial.params, trial.user_attrs["params"]["lr0"]) == (TrialState.RUNNING, {"lr0": 0.5}, 0.5)


def test_a_trial_whose_creation_was_committed_but_never_confirmed_exists_once(storage, name, monkeypatch):
    begin = proposed()
    replica = Replica(storage, name)
    commit = Session.commit
    commits = iter([OperationalError("COMMIT", {}, Exception("server closed the connection"))])

    def commit_without_reply(session):
        commit(session)
        for error in commits:
            raise error

    monkeypatch.setattr(Session, "commit", commit_without_reply)
    with pytest.raises(optuna.exceptions.StorageInternalError):
        replica.follow(begin)
    replica.follow(begin)
    assert [t.number for t in optuna.load_study(storage=storage, study_name=name).trials] == [0]
