"""The timeline of a study: which slot trained what and when. Nothing depends on it, and nothing breaks it."""

import json

import pytest

from tests.tuner.conftest import epoch
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.study import DECIDED, INTERRUPTED, LOST, Span, Timeline, read_timeline


class Clock:
    """Clock that advances by one second at each reading."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        self.now_s += 1
        return self.now_s


@pytest.fixture
def file(tmp_path):
    return tmp_path / "timeline.jsonl"


@pytest.fixture
def timeline(file):
    return Timeline(file, Clock())


def test_a_span_has_its_slot_its_device_its_epochs_and_its_ending(timeline, file):
    span = timeline.begin("search", trial=3, seed=0, slot=1)
    for record in (StartedRecord(pid=1, device="NVIDIA A"), epoch(1), epoch(2), EndRecord(outcome=Outcome.COMPLETED)):
        span.note(record)
    span.end(DECIDED)

    assert read_timeline(file) == (
        Span(
            phase="search", trial=3, seed=0, slot=1, began_s=1001.0, ended_s=1002.0, device="NVIDIA A",
            from_epoch=1, to_epoch=2, ending="completed",
        ),
    )  # fmt: skip


@pytest.mark.parametrize("ending", [LOST, INTERRUPTED, DECIDED])
def test_without_an_end_record_the_driver_says_how_it_ended(timeline, file, ending):
    span = timeline.begin("search", 0, 0, 0)
    span.end(ending)
    span.end("later")

    (read,) = read_timeline(file)
    assert (read.ending, read.ended_s, read.to_epoch < read.from_epoch) == (ending, 1002.0, True)


def test_an_attempt_without_an_end_is_open(timeline, file):
    timeline.begin("final run", 0, 0, 0)

    (read,) = read_timeline(file)
    assert (read.ended_s, read.ending, read.device) == (None, "", "")


def test_repeated_epochs_of_a_resumed_run_count_once(timeline, file):
    for last in (3, 3, 6):
        span = timeline.begin("search", 0, 0, 0)
        for number in range(1, last + 1):
            span.note(epoch(number))
        span.end(LOST)
    timeline.begin("re-evaluation", 0, 1, 0).end(LOST)

    assert [(span.from_epoch, span.to_epoch) for span in read_timeline(file)] == [(1, 3), (4, 3), (4, 6), (1, 0)]


def test_drivers_of_one_study_write_one_timeline(file):
    for _ in range(2):
        Timeline(file, Clock()).begin("search", 0, 0, 0).end(LOST)

    assert len(read_timeline(file)) == 2


@pytest.mark.parametrize(
    "line",
    ["", "{", "[1]", "null", '{"begin": "x"}', '{"end": "unknown", "at": 1, "device": "", "epoch": 1, "ending": ""}',
     '{"begin": "x", "at": "soon", "phase": "search", "trial": 0, "seed": 0, "slot": 0}'],
)  # fmt: skip
def test_lines_that_are_not_events_are_skipped(timeline, file, line):
    timeline.begin("search", 0, 0, 0).end(LOST)
    with file.open("a") as more:
        more.write(f"{line}\n")
    timeline.begin("search", 1, 0, 0).end(LOST)

    assert [span.trial for span in read_timeline(file)] == [0, 1]


def test_a_truncated_end_leaves_the_span_open(timeline, file):
    timeline.begin("search", 0, 0, 0).end(LOST)
    file.write_text(file.read_text()[:-10])

    (read,) = read_timeline(file)
    assert read.ended_s is None


def test_a_missing_file_has_no_spans(file):
    assert read_timeline(file) == ()


def test_a_failed_write_does_not_affect_the_run(tmp_path):
    span = Timeline(tmp_path / "none" / "timeline.jsonl").begin("search", 0, 0, 0)
    span.note(epoch(1))
    span.end(LOST)


def test_each_event_is_one_line_of_json(timeline, file):
    timeline.begin("search", 0, 0, 0).end(LOST)

    assert [set(json.loads(line)) for line in file.read_text().splitlines()] == [
        {"begin", "at", "phase", "trial", "seed", "slot"},
        {"end", "at", "device", "epoch", "ending"},
    ]
