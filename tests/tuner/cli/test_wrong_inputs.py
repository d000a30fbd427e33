"""Wrong input: one clear line, the documented exit code, no traceback, and no new files."""

import logging
import shlex
import sys
from subprocess import CompletedProcess

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tuner.cli.main import main
from tuner.contract import EndRecord, Outcome, encode

GOOD = """
search: {epochs: 3, trials: 1, sampler: random}
parameters:
  optimizer: SGD
  batch: 16
  lr0: {float: [0.001, 0.1], log: true}
baseline: {lr0: 0.01}
data: sample
model: mamba-yolo-n
"""


NO_DATA = ["A data set is required, but none is given; add --data my/dataset.yaml, or --data sample"]


@pytest.fixture
def tune(folder, monkeypatch, capsys):
    """Return a function that runs the command in this process: another one would take longer to start."""

    def run(*arguments, env=None):
        monkeypatch.chdir(folder)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        return CompletedProcess(arguments, left.value.code, *capsys.readouterr())

    logger = logging.getLogger("tuner")
    level = logger.level
    yield run
    logger.setLevel(level)


def with_change(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "space.yaml").write_text(GOOD)
    (tmp_path / "no-data.yaml").write_text(with_change("data: sample\n", ""))
    (tmp_path / "no-model.yaml").write_text(with_change("model: mamba-yolo-n\n", ""))
    (tmp_path / "empty" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    return tmp_path


SPACES = {
    "unknown parameter": (with_change("lr0: {float", "lr: {float"), ["space.yaml:6", "lr0"]),
    "low above high": (with_change("[0.001, 0.1]", "[0.1, 0.001]"), ["space.yaml:6", "0.1", "0.001"]),
    "text for a number": (with_change("batch: 16", "batch: many"), ["space.yaml:5", "'many'"]),
    "optimizer auto": (with_change("optimizer: SGD", "optimizer: auto"), ["space.yaml:4", "lr0"]),
    "without effect": (with_change("batch: 16", "batch: 16\n  dropout: 0.1"), ["space.yaml:6", "dropout"]),
    "no YAML": ("parameters: [", ["space.yaml:"]),
    "duplicate key": (with_change("batch: 16", "batch: 16\n  batch: 32"), ["space.yaml:6", "batch"]),
}


@pytest.mark.parametrize("case", SPACES)
def test_a_wrong_space_is_reported_with_file_line_and_mistake(folder, tune, case):
    text, said = SPACES[case]
    (folder / "space.yaml").write_text(text)
    done = tune("run", "--space", "space.yaml")
    check_told(done, 3, said)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "--space", "strongaug"], 3, ["strong_aug"]),
        (["run", "--space", "space.yaml", "--data", "nowhere.yaml"], 4, ["nowhere.yaml"]),
        (["run", "--space", "space.yaml", "--data", "empty/data.yaml"], 4, ["images", "data.yaml"]),
        (["run", "--space", "space.yaml", "--model", "mamba-yolo-z"], 2, ["mamba-yolo-n", "mamba-yolo-z"]),
        (["run", "--space", "space.yaml", "--study", "../escape"], 2, ["'../escape'"]),
        (["run", "--space", "space.yaml", "--study", "-rf"], 2, ["'-rf'"]),
        (["run", "--space", "space.yaml", "--study", "a\nb"], 2, ["'a\\nb'"]),
        (["run", "--space", "space.yaml", "--epochs", "0"], 3, ["`epochs`", "0"]),
        (["run", "--space", "space.yaml", "--sampler", "tp"], 3, ["tpe"]),
        (["run", "--space", "space.yaml", "--gpus", "-1"], 2, ["gpus"]),
        (["run", "--space", "space.yaml", "--warm-start", "gone"], 2, ["no study 'gone'", "tune status"]),
        (["run", "--space", "space.yaml", "--study", "a", "--warm-start", "a"], 2, ["must name another study", "'a'"]),
        (["run", "--space", "space.yaml", "--max-hours", "0"], 2, ["--max-hours must be a number above 0, but got 0;"]),
        (["run", "--space", "space.yaml", "--max-hours", "nan"], 2, ["--max-hours must be", "nan"]),
        (["run", "--space", "space.yaml", "--gpu-hours", "-3"], 2, ["--gpu-hours must be", "-3"]),
        (["run", "--space", "space.yaml", "--gpu-hours", "many"], 2, ["--gpu-hours", "valid number"]),
        (
            ["run", "--space", "space.yaml", "--no-improvement", "0"],
            2,
            ["--no-improvement must be at least 1, but got 0;"],
        ),
        *(
            (
                ["run", "--space", "space.yaml", "--trials-per-gpu", given],
                2,
                [f"--trials-per-gpu must be auto or a whole number from 1 to 48, but got '{given}'; leave it out"],
            )
            for given in ("0", "49", "1.5", "many", "²")
        ),
        *(
            (
                ["run", "--space", "space.yaml", "--gpus", "0", "--trials-per-gpu", given],
                2,
                [f"--trials-per-gpu must be 1 on a CPU, but got {given}; use --parallel for the number of trials"],
            )
            for given in ("2", "auto")
        ),
        (
            ["run", "--space", "space.yaml", "--cache-gib", "much"],
            2,
            ["--cache-gib must be a number of GiB, 0 to share no images, or auto, but got 'much'."],
        ),
        (["run", "--space", "space.yaml", "--cache-gib", "-1"], 2, ["--cache-gib must be", "'-1'"]),
        (
            ["train", "--data", "sample:16", "--model", "mamba-yolo-n", "--cache-gib", "nan"],
            2,
            ["--cache-gib", "'nan'"],
        ),
        (["run", "--space", "space.yaml", "--home", "/proc/studies"], 5, ["/proc/studies"]),
        (
            ["run", "--space", "space.yaml", "--artifacts", "/proc/store"],
            5,
            ["The artifact store must be readable and writable, but '/proc/store' is not", "--artifacts"],
        ),
        *(
            (
                ["run", "--space", "space.yaml", option, "sftp://me:pass@host/x.yaml"],
                2,
                [f"{option} must contain no user, password or query, but got 'sftp://host/x.yaml' with one;"],
            )
            for option in ("--artifacts", "--data")
        ),
        (["run", "--space", "space.yaml", "--trainer", "/no/such/trainer"], 5, ["/no/such/trainer"]),
        (["run", "--space", "space.yaml", "--storage", "nonsense"], 2, ["--storage"]),
        (["run", "--space", "space.yaml", "--imgsz", "100"], 3, ["--set imgsz: `imgsz`", "100", "write 128"]),
        (["run", "--space", "space.yaml", "--set", "lr=1"], 3, ["--set lr:", "did you mean lr0?"]),
        (["run", "--space", "space.yaml", "--set", "epochs=1"], 3, ["'epochs'", "use --epochs instead"]),
        (
            ["run", "--space", "space.yaml", "--imgsz", "64", "--set", "imgsz=96"],
            2,
            ["--imgsz and --set imgsz exclude"],
        ),
        (["run"], 2, ["--space"]),
        (["run", "--space", "strong_aug"], 2, NO_DATA),
        (["run", "--space", "strong_aug", "--model", "mamba-yolo-t", "--dry-run"], 2, NO_DATA),
        (["run", "--space", "no-data.yaml"], 2, NO_DATA),
        (["run", "--space", "no-model.yaml", "--data", "empty/data.yaml"], 4, ["images", "data.yaml"]),
        (["run", "--space", "no-model.yaml", "--data", "sample:3"], 4, ["at least 8 training images"]),
        (["train"], 2, NO_DATA),
        (["train", "--model", "mamba-yolo-t", "--epochs", "3"], 2, NO_DATA),
        (["train", "--data", "nowhere.yaml"], 4, ["nowhere.yaml"]),
        (["preview"], 2, NO_DATA),
        (["preview", "--space", "strong_aug"], 2, NO_DATA),
        (["status", "nothing"], 2, ["nothing"]),
        (["export", "nothing"], 2, ["nothing"]),
        (["promote", "nothing"], 2, ["nothing"]),
        (["dashboard", "nothing"], 2, ["nothing"]),
        (["sample-data", "empty"], 4, ["empty"]),
        (["fly"], 2, ["fly"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_is_reported_with_its_exit_code(tune, arguments, code, said):
    check_told(tune(*arguments), code, said)


def check_told(done, code, said):
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()
    text = " ".join(line.strip("│ ") for line in last)
    for part in said:
        assert part in text, text


def test_a_wrong_database_is_reported_without_its_password(tune):
    url = "postgresql+psycopg2://user:hunter2@127.0.0.1:1/none"
    trainer = f"{sys.executable} {SCRIPTED_TRAINER}"
    done = tune("run", "--space", "space.yaml", "--trainer", trainer, env={"TUNE_STORAGE": url})
    assert done.returncode == 8, done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fastest", ["selective scan 'fastest' (MAMBA_YOLO_SCAN) does not exist", "native", "triton"]),
        ("triton", ["'triton' (MAMBA_YOLO_SCAN) does not work on cpu", "NVIDIA GPUs only", "auto"]),
    ],
)
def test_a_scan_that_does_not_run_here_is_reported_before_the_search(folder, tune, name, said):
    environment = {"MAMBA_YOLO_SCAN": name, "XDG_CACHE_HOME": str(folder / "cache")}
    done = tune("run", "--space", "space.yaml", "--data", "sample:8", env=environment)
    check_told(done, 2, said)


ADVISING = f"{sys.executable} {SCRIPTED_TRAINER} --advice advised --prepare-fails enough"
"""Command of a trainer that proposes a model, and ends the run when it should prepare it."""


@pytest.mark.parametrize(
    ("arguments", "said", "study"),
    [
        (["--space", "no-model.yaml"], "advised, suggested by the data check: ", "no-model-sample-advised"),
        (["--space", "weak_aug", "--data", "sample:16"], "as it is scripted", "weak_aug-sample-16-advised"),
        (["--space", "no-model.yaml", "--study", "mine"], "choose another with --model", "mine"),
    ],
)
def test_without_a_model_the_data_check_chooses_one_says_so_and_the_study_is_named_after_it(
    folder, tune, arguments, said, study
):
    for _ in range(2):  # the same command names the same study
        done = tune("run", *arguments, "--trainer", ADVISING, "--plain")
        assert done.returncode == 5
        first, second = done.stdout.splitlines()[:2]
        assert first.startswith("model  advised, ")
        assert said in first
        assert second.startswith(f"study {study} in ")


def test_a_trainer_without_a_data_check_is_reported_with_the_remedy(folder, tune):
    end = encode(EndRecord(outcome=Outcome.UNSUPPORTED))
    trainer = shlex.join([sys.executable, "-c", f"input(); print({end!r})"])
    check_told(
        tune("run", "--space", "no-model.yaml", "--trainer", trainer),
        5,
        ["answers 'check_data' requests", "Or choose the model with --model."],
    )


def test_the_data_check_chooses_no_model_if_option_or_space_names_one(folder, tune):
    for named in (["--model", "mamba-yolo-b"], ["--space", "space.yaml"]):
        done = tune("run", "--space", "no-model.yaml", *named, "--trainer", "/no/such/trainer", "--plain")
        assert "chosen" not in done.stdout


def test_nothing_is_trained_or_created_without_a_data_set(folder, tune):
    before = sorted(folder.iterdir())
    for verb in (["run", "--space", "strong_aug"], ["train"], ["preview"]):
        tune(*verb)
    assert sorted(folder.iterdir()) == before


def test_nothing_is_created_for_a_missing_study(folder, tune):
    tune("status", "nothing")
    assert not (folder / "studies").exists()


def test_debug_shows_the_traceback(tune):
    done = tune("run", "--space", "missing", "--debug")
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def test_status_without_studies_says_how_to_begin(tune):
    done = tune("status")
    assert done.returncode == 0
    assert "tune run --space quick" in done.stderr
