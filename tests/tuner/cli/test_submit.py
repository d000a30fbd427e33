"""`tune submit` without a cluster: the checks before a submission is sent, and its content."""

import pytest

from tests.support.arena import SPACE
from tuner.cli.main import main
from tuner.study_queue import client


@pytest.fixture
def sent(monkeypatch, tmp_path):
    """Replace the client of the queue, because a cluster takes seconds. Return the submissions that reach it."""
    received = []

    class Queue:
        def __init__(self, cluster):
            received.append(cluster)

        def submit(self, submission):
            received.append(submission)
            return {"study": submission.study}

    monkeypatch.setattr(client, "QueueClient", Queue)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SPACE % 8)
    return received


def submit(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["submit", *arguments])
    return left.value.code


def test_the_space_is_sent_as_text_and_all_other_options_as_they_are(sent, capsys):
    code = submit(
        "--cluster=http://head:8265", "--priority", "5", "--space", "small.yaml", "--gpus", "4", "--set", "batch=8",
        "--study=mine", "--data=/shared/a b.yaml", "--no-promote",
    )  # fmt: skip
    assert code == 0
    cluster, submission = sent
    assert cluster == "http://head:8265"
    assert submission.space == SPACE % 8
    assert (submission.study, submission.space_name, submission.priority, submission.most) == ("mine", "small", 5, 4)
    assert submission.arguments == ("--gpus", "4", "--set", "batch=8", "--data=/shared/a b.yaml", "--no-promote")
    assert "study mine is in the queue" in capsys.readouterr().out


def test_a_study_without_a_name_is_named_as_by_tune_run(sent):
    assert submit("--space=small.yaml") == 0
    assert sent[1].study == "small-sample-mamba-yolo-n"


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ([], None),
        (["--gpus=3"], 3),
        (["--parallel=5"], 5),
        (["--parallel=5", "--trials-per-gpu=2"], 3),
        (["--parallel=5", "--trials-per-gpu=auto"], None),
        (["--gpus=2", "--parallel=5"], 2),
    ],
)
def test_a_study_holds_at_most_the_devices_that_it_can_use(sent, options, most):
    assert submit("--space=small.yaml", *options) == 0
    assert sent[1].most == most


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--gpus=0"], 2, "--gpus must be a number from 1 in a queue, but got '0'"),
        (["--gpus=0,2"], 2, "--gpus must be a number from 1 in a queue, but got '0,2'"),
        (["--priority=1000"], 2, "--priority must be a whole number from -100 to 100, but got 1000"),
        (
            ["--data=my/data.yaml"],
            2,
            "--data must be a URL, or an absolute path on the cluster, but got 'my/data.yaml'",
        ),
        (["--model=runs/best.pt"], 2, "--model must be a name or an absolute path on the cluster"),
        (["--warm-start=./old.csv"], 2, "--warm-start must be a study or an absolute path on the cluster"),
        (["--study=../up"], 2, "../up"),
        (["--address=auto"], 2, "`tune submit` has no option --address: the driver runs on the cluster"),
        (["--home=x"], 2, "`tune submit` has no option --home: set TUNE_HOME where `ray start` runs"),
        (["--storage=sqlite:///x.db"], 2, "has no option --storage: set TUNE_STORAGE"),
        (["--notify=http://x"], 2, "has no option --notify: set TUNE_NOTIFY"),
        (["--on-end=true"], 2, "has no option --on-end: set TUNE_ON_END"),
        (["--dry-run"], 2, "has no option --dry-run"),
        (["--max-hours=-1"], 2, "--max-hours"),
        (["--epochs=0"], 3, "epochs"),
        (["--set=lr00=1"], 3, "lr00"),
        (["--bogus=1"], 2, "--bogus"),
    ],
)
def test_invalid_submissions_are_refused_before_anything_is_sent(sent, capsys, options, code, told):
    assert submit("--space=small.yaml", *options) == code
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert sent == []


def test_a_wrong_space_is_refused_with_its_line(sent, tmp_path, capsys):
    (tmp_path / "small.yaml").write_text((SPACE % 8).replace("[0.0001, 0.9]", "[0.9, 0.0001]"))
    assert submit("--space=small.yaml") == 3
    assert "small.yaml:9: `lr0`: low must be below high" in capsys.readouterr().err
    assert sent == []
