"""Check what `tune export` prints about the winner's card."""

import json

import pytest
from typer.testing import CliRunner

from tuner.cli.main import app
from tuner.study import FinalRunFacts
from tuner.training.card import make_card


@pytest.fixture
def carded(study, winner, paths, scripted_command):
    """Store a study whose final run has a card. Return the card."""
    weights = paths.final_run(1, 20) / "weights" / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    facts = {"trial": 1, "epochs": 20, "directory": str(weights.parents[1]), "metrics": {"mAP50": 0.5}}
    study.record_final_run(FinalRunFacts(**facts, state="COMPLETE", checkpoint=str(weights)))
    card = make_card(study, paths, scripted_command)
    study.flush(10)
    return card


def exported(paths, monkeypatch, *more):
    monkeypatch.chdir(paths.root.parent)
    monkeypatch.setattr("tuner.workflows.places.in_place", lambda spec: True)  # the files in the spec do not exist
    done = CliRunner().invoke(app, ["export", "s", "--home", str(paths.root.parent), *more])
    assert done.exit_code == 0, done.output
    return done


def test_the_path_alone_is_on_standard_output_and_the_card_on_standard_error(carded, paths, monkeypatch):
    done = exported(paths, monkeypatch)
    assert done.stdout == "params.yaml\n"
    assert "script 1    p50 5 ms, p95 6.5 ms" in done.stderr


def test_as_json_path_and_card_are_one_object(carded, paths, monkeypatch):
    shown = json.loads(exported(paths, monkeypatch, "--json").stdout)
    assert shown == {"params": str(paths.root.parent / "params.yaml"), "card": json.loads(json.dumps(carded.values()))}


def test_a_study_without_a_card_has_none(study, winner, paths, monkeypatch):
    study.flush(10)
    done = exported(paths, monkeypatch, "--json")
    assert json.loads(done.stdout)["card"] is None
    assert done.stderr == ""
