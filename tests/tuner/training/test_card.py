"""The winner's card: measured once per file, stored in the study's folder, and shown only for its own final run."""

import json
import shutil
import sys

import pytest

from tests.tuner.conftest import driven, play
from tuner.exceptions import MachineError
from tuner.report.card import card_lines, card_rows, latency_lines, latency_rows
from tuner.report.conclusion import conclusion_lines
from tuner.search.search import Search
from tuner.study import FinalRunFacts, StoredStudy, StudyPaths
from tuner.training.card import make_card, read_card
from tuner.training.final_run import choose_winner

METRICS = {"mAP50-95": 0.31, "mAP50": 0.52, "precision": 0.6, "recall": 0.5}
NO_TRAINER = [sys.executable, "-c", "raise SystemExit('not to be asked')"]


@pytest.fixture
def weights(paths):
    """Create the weights of the final run."""
    file = paths.final_run(1, 20) / "weights" / "best.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights" * 100)
    return file


@pytest.fixture
def done(study, winner, weights, paths):
    """Return a study whose final run is complete."""
    study.record_final_run(
        FinalRunFacts(
            trial=1,
            epochs=20,
            directory=str(paths.final_run(1, 20)),
            state="COMPLETE",
            metrics=METRICS,
            checkpoint=str(weights),
        )
    )
    return study


def test_a_card_has_the_facts_of_the_record_and_what_the_trainer_measured(
    done, winner, weights, paths, scripted_command
):
    card = make_card(done, paths, scripted_command)

    assert (card.study, card.trial, card.epochs) == ("s", 1, 20)
    assert (dict(card.params), dict(card.metrics)) == (dict(winner.trial.params), METRICS)
    assert (card.weights, card.measured.imgsz) == (str(weights), 64)
    assert [latency.file_bytes for latency in card.measured.latencies] == [weights.stat().st_size]
    assert read_card(done, paths) == card


def test_weights_that_are_measured_already_are_not_measured_again(done, paths, scripted_command):
    card = make_card(done, paths, scripted_command)
    assert make_card(done, paths, NO_TRAINER) == card


def test_other_weights_under_the_same_name_are_measured_again(done, weights, paths, scripted_command):
    first = make_card(done, paths, scripted_command)
    weights.write_bytes(b"others")
    second = make_card(done, paths, scripted_command)
    assert second.weights_sha256 != first.weights_sha256
    assert second.measured.latencies[0].file_bytes == 6


def test_the_card_moves_with_the_study(done, paths, scripted_command, tmp_path, url):
    make_card(done, paths, scripted_command)
    done.flush(10)
    assert json.loads(paths.card.read_text())["weights"] == "promoted/trial-0001-20-epochs/weights/best.pt"
    shutil.copytree(paths.root, tmp_path / "moved")
    moved = StudyPaths(tmp_path / "moved")
    stored = StoredStudy.open(f"sqlite:///{moved.database}", "s", moved.root)
    assert read_card(stored, moved).weights == str(moved.final_run(1, 20) / "weights" / "best.pt")
    stored.close()


def test_the_card_of_another_final_run_is_not_shown(done, paths, scripted_command):
    make_card(done, paths, scripted_command)
    done.record_final_run(FinalRunFacts(trial=0, epochs=20, directory="/d", state="COMPLETE", checkpoint="/d/best.pt"))
    assert read_card(done, paths) is None


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{", '{"version": 1}', '{"version": 9}', '{"version": 1, "study": []}']
)
def test_an_unreadable_card_is_none(done, paths, content):
    paths.card.write_text(content)
    assert read_card(done, paths) is None


def test_without_a_complete_final_run_there_is_no_card(study, winner, paths):
    assert make_card(study, paths, NO_TRAINER) is None
    study.record_final_run(FinalRunFacts(trial=1, epochs=20, directory="/d", state="WAITING"))
    assert make_card(study, paths, NO_TRAINER) is None
    assert not paths.card.exists()


def test_a_trainer_that_cannot_measure_is_an_error_in_one_line(done, paths):
    with pytest.raises(MachineError, match=r"^The trainer cannot measure the weights: [^\n]+$"):
        make_card(done, paths, NO_TRAINER)


def test_missing_weights_are_an_error_with_their_path(done, weights, paths, scripted_command):
    weights.unlink()
    with pytest.raises(MachineError, match=rf"'{weights}' cannot be read \(No such file"):
        make_card(done, paths, scripted_command)


def test_the_lines_state_what_was_measured_and_how(done, winner, paths, scripted_command):
    card = make_card(done, paths, scripted_command)
    threads = card.measured.threads

    assert card_rows(card)[-2:] == [("parameters", "1,000"), ("GFLOPs", "0.5 for an image of 64 x 64 pixels")]
    assert latency_rows(card) == [("script 1", "scripted", "5 ms", "6.5 ms", "50", "5", "0.0 MB")]
    assert "mAP50-95    0.3100" in card_lines(card)[1]
    assert card_lines(card)[-1] == (
        "    script 1    p50 5 ms, p95 6.5 ms for one image on scripted; 50 runs after 5 to warm up; 0.0 MB file"
    )
    line = "    latency     script 5 ms for an image of 64 x 64 pixels on scripted"
    assert [f"    {said}" for said in latency_lines(card)] == [line]
    assert line in conclusion_lines(done, winner, paths)
    assert threads >= 1


def test_a_winner_without_a_card_is_concluded_without_latency(url, spec, space, paths, terms):
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
        lines = conclusion_lines(study, choose_winner(study), paths)
    assert not any("latency" in line for line in lines)
