"""Store only what users write below the generated text."""

import pytest

from tests.tuner.conftest import stored
from tests.tuner.dashboard.conftest import ask, detail
from tuner.dashboard.own_notes import MARK, NO_NOTE, OwnNote, combined, own_notes, own_part
from tuner.dashboard.server import application
from tuner.storage.database import existing_storage


def save(app, path, note, text):
    status, _, content = ask(app, path, "PUT", {"version": note["version"] + 1, "body": text})
    return status, content


def attributes(url):
    with existing_storage(url) as storage:
        return storage.get_study_system_attrs(storage.get_study_id_from_name("s"))


@pytest.mark.parametrize("text", ["", "one", "two\n\nparagraphs", f"with {MARK} in it"])
def test_the_users_text_is_extracted_from_the_combined_note(text):
    assert own_part(combined("# generated", OwnNote(text=text))) == text


def test_without_the_heading_the_whole_text_counts():
    assert own_part("all of it mine") == "all of it mine"


def test_a_note_on_a_study_is_stored_without_the_generated_text_and_shown_again(url, app, catalogue, left):
    path = f"/api/studies/{catalogue.study_number('s')}/note"
    shown = detail(app, catalogue)["note"]
    long = "talk to the team " * 300

    assert save(app, path, shown, f"{shown['body']}{long}")[0] == 204
    assert own_notes(attributes(url)) == {None: OwnNote(version=1, text=long.strip())}
    again = detail(app, catalogue)["note"]
    assert again["version"] == 1
    assert again["body"].endswith(long.strip())
    assert save(app, path, again, f"{again['body'].partition(MARK)[0]}{MARK}\n\nshort")[0] == 204
    assert own_notes(attributes(url))[None].text == "short"


def test_a_note_on_a_trial_belongs_to_that_trial_alone(url, app, catalogue, left):
    trials = detail(app, catalogue)["trials"]
    path = f"/api/studies/{catalogue.study_number('s')}/{trials[2]['trial_id']}/note"

    assert save(app, path, trials[2]["note"], f"{trials[2]['note']['body']}odd one")[0] == 204
    shown = detail(app, catalogue)["trials"]
    assert [t["number"] for t in shown if t["note"]["body"].endswith("odd one")] == [2]
    assert list(own_notes(attributes(url))) == [stored(url)[2]._trial_id]


def test_a_note_that_another_user_has_changed_is_not_overwritten(app, catalogue, left):
    path = f"/api/studies/{catalogue.study_number('s')}/note"
    shown = detail(app, catalogue)["note"]

    assert save(app, path, shown, "mine")[0] == 204
    status, content = save(app, path, shown, "theirs")
    assert status == 409
    assert b"meantime" in content
    assert detail(app, catalogue)["note"]["body"].endswith("mine")


def test_a_driver_continues_while_notes_are_written(url, app, catalogue, study, filled):
    note = detail(app, catalogue)["note"]
    assert save(app, f"/api/studies/{catalogue.study_number('s')}/note", note, "hello")[0] == 204
    study.note_searched(5.0)
    study.flush(10)
    study.check()
    assert own_notes(attributes(url))[None].text == "hello"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("{}/note", {"version": 1}, 400), ("{}/note", [], 400), ("{}/note", None, 400), ("77/note", {}, 400),
     ("1/note", {"version": 1, "body": "x"}, 404), ("{}/77/note", {"version": 1, "body": "x"}, 404),
     ("{}/note", {"version": 1, "body": "x" * 2_000_000}, 400)],
)  # fmt: skip
def test_a_wrong_note_is_refused_with_a_reason(app, catalogue, left, path, body, status):
    found, _, content = ask(app, "/api/studies/" + path.format(catalogue.study_number("s")), "PUT", body)
    assert found == status
    assert b"reason" in content


def test_a_read_only_dashboard_refuses_notes(url, catalogue, left):
    app = application(catalogue, None, is_read_only=True)
    status, content = save(app, f"/api/studies/{catalogue.study_number('s')}/note", {"version": 0}, "x")
    assert status == 403
    assert b"read-only" in content
    assert own_notes(attributes(url)) == {}


def test_a_missing_note_has_version_zero():
    assert own_notes({"study:metric_names": ["a"]}).get(None, NO_NOTE).version == 0
