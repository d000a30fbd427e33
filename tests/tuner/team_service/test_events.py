"""Stream the events of a study, and resume the stream."""

import json
from dataclasses import replace

import pytest

from tests.support.team_service import SPACE
from tuner.study_queue.entries import Entry, State, Submission
from tuner.team_service.events import Position, events
from tuner.team_service.progress import Progress, RunningTrial
from tuner.team_service.studies import Row

ENTRY = Entry(
    number=1, submission=Submission(study="s", owner="bob", space_name="x", space=SPACE), state=State.RUNNING, granted=2
)
PROGRESS = Progress(state="running", metric="mAP50-95", best=0.3, best_trial=4, ended=5, planned=9, epochs=40,
                    running=(RunningTrial(trial=6, epoch=2, value=None),))  # fmt: skip
ROW = Row(name="s", owner="bob", entry=ENTRY, progress=PROGRESS)


def kinds(before, row):
    return [text.partition("event: ")[2].partition("\n")[0] for text in events(before, row)]


def test_a_new_client_gets_everything():
    assert kinds(None, ROW) == ["state", "epochs", "best"]


def test_a_client_that_is_up_to_date_gets_nothing():
    assert kinds(Position.of(ROW), ROW) == []


@pytest.mark.parametrize(
    ("change", "sent"),
    [({"ended": 6}, ["epochs"]), ({"epochs": 41}, ["epochs"]), ({"best_trial": 5, "best": 0.4}, ["best"]),
     ({"planned": 10}, [])],
)  # fmt: skip
def test_only_what_has_changed_is_sent(change, sent):
    assert kinds(Position.of(ROW), replace(ROW, progress=replace(PROGRESS, **change))) == sent


def test_a_grant_is_a_change_of_state():
    assert kinds(Position.of(ROW), replace(ROW, entry=replace(ENTRY, granted=3))) == ["state"]


def test_the_end_comes_last_and_again_for_a_client_that_connects_after_it():
    over = replace(ROW, entry=replace(ENTRY, state=State.DONE), progress=replace(PROGRESS, state="finished"))
    assert kinds(Position.of(ROW), over) == ["state", "end"]
    assert kinds(Position.of(over), over) == ["end"]


def test_a_position_survives_a_round_trip_through_a_client():
    for row in (ROW, replace(ROW, progress=None), replace(ROW, entry=None)):
        assert Position.decoded(Position.of(row).encoded()) == Position.of(row)


@pytest.mark.parametrize(
    "text", ["", "x", "running.2.5.40", "running.2.5.40.4.1", "running.-1.5.40.4", "RUNNING.2.5.40.4",
             "running.2.5.40.4\nevent: x", "a" * 10_000, "running.99999999999.5.40.4"],
)  # fmt: skip
def test_an_invalid_position_counts_as_none(text):
    assert Position.decoded(text) is None


def test_no_text_of_a_study_can_end_an_event_or_begin_one():
    evil = replace(ROW, entry=replace(ENTRY, message="x\n\nevent: end\ndata: {}\n\n\u2028"))
    text = next(iter(events(None, evil)))
    assert text.count("\n") == 4
    assert json.loads(text.split("data: ", 1)[1])["message"] == evil.entry.message


def test_a_stream_resumes_after_the_last_event_that_the_client_has(team):
    with team.client("eve") as client:
        first = client.get("/api/v1/studies/bobs/events").text
        assert [line for line in first.splitlines() if line.startswith("event")] == [
            "event: state", "event: epochs", "event: best", "event: end"
        ]  # fmt: skip
        last = first.rpartition("id: ")[2].partition("\n")[0]
        again = client.get("/api/v1/studies/bobs/events", headers={"Last-Event-ID": last}).text
        assert [line for line in again.splitlines() if line.startswith("event")] == ["event: end"]
        assert client.get("/api/v1/studies/bobs/events").headers["content-type"].startswith("text/event-stream")
