"""params.yaml: its content, its values as ultralytics reads them, and that it is written whole."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.tuner.conftest import driven, epoch, play
from tuner.contract import EndRecord, Outcome, encode
from tuner.exceptions import MachineError
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.study import NO_FACTS, ReadableStudy, StudyPaths, StudySpec
from tuner.training.arguments_file import parameters_of
from tuner.training.export import mode_of_full_run, params_yaml, training_arguments, write_params
from tuner.training.final_run import FinalRun, Winner, choose_winner, full_run_request

ROOT = Path(__file__).parents[3]


def header(text):
    return [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#")]


def with_params(winner, **params):
    """Return the winner as if it had been trained with these parameters."""
    trial = dataclasses.replace(winner.trial, params={**winner.trial.params, **params})
    return dataclasses.replace(winner, trial=trial)


@pytest.fixture
def text(study, winner):
    return params_yaml(study, winner, 20)


@pytest.mark.parametrize("mode", [None, True, False])
def test_the_mode_of_the_final_run_is_exported_or_else_that_of_the_space(study, paths, winner, mode):
    def exported(asked):
        return yaml.safe_load(params_yaml(asked, winner, 20)).get("deterministic")

    assert exported(study) is None
    request = full_run_request(study, paths, winner, epochs=20, gpus=0, threads=1, deterministic=mode)
    FinalRun(study, request, deterministic=mode)
    assert exported(study) == mode == mode_of_full_run(study, winner)
    described = dataclasses.replace(study.spec, promote_deterministic=False)
    other = dataclasses.replace(winner, trial=dataclasses.replace(winner.trial, number=7))
    spare = SimpleNamespace(spec=described, final_run=study.final_run, name="s")
    assert mode_of_full_run(spare, other) is False


# Content


def test_the_header_says_where_the_values_come_from(text):
    assert header(text) == [
        "Found by tune: study s, trial 1, space small",
        "mAP50-95 0.3000 after 9 epochs (seed 0); the default configuration: 0.2500",
        "Trial 1 is 0.0500 ahead of the default configuration on one seed, which does not prove a gain.",
        "Trained with torch 2.14.1",
        f"Data set sha256 {'0' * 64}",
        "model: mamba-yolo-n with random weights, as a file that a plain `yolo` command can read",
    ]


def test_the_header_names_the_starting_point_of_the_winner(study, winner):
    facts = dataclasses.replace(winner.trial.facts, origin="yolox (https://example.org)")
    started = dataclasses.replace(winner, trial=dataclasses.replace(winner.trial, facts=facts))
    lines = header(params_yaml(study, started, 20))
    assert lines[2] == "The configuration comes from the starting point yolox (https://example.org)"


def test_the_header_says_when_the_default_configuration_was_best(study, search):
    play(search, search.suggest(), 0.1, 0.25)
    lines = header(params_yaml(study, choose_winner(study), 20))
    assert "mAP50-95 0.2500 after 9 epochs (seed 0); the default configuration: 0.2500" in lines
    assert "The default configuration was not beaten: keep it." in lines
    assert not [line for line in lines if "one seed each" in line]


def test_the_header_says_when_there_is_nothing_to_compare_with(study, search):
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message="why"))
    play(search, search.suggest(), 0.1, 0.3)
    lines = header(params_yaml(study, choose_winner(study), 20))
    assert "mAP50-95 0.3000 after 9 epochs (seed 0); the default configuration: did not finish" in lines


def test_a_model_that_every_yolo_command_knows_is_not_explained(url, spec, space, paths, terms):
    stock = dataclasses.replace(spec, model="yolov8n.yaml", model_source="yolov8n.yaml", portable_model="yolov8n.yaml")
    with driven(url, stock, paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
    assert not [line for line in header(params_yaml(study, choose_winner(study), 20)) if line.startswith("model")]


def test_the_arguments_are_the_winner_on_the_schedule_of_the_full_run(study, winner, text):
    assert yaml.safe_load(text) == {
        "task": "detect",
        "mode": "train",
        "model": "/models/mamba-yolo-n-untrained.pt",
        "data": "/data/dataset.yaml",
        "epochs": 20,
        "seed": 0,
        "pretrained": False,
        "patience": 50,
        "optimizer": "SGD",
        "imgsz": 64,
        "lr0": winner.trial.sampled["lr0"],
        "batch": 16,
    }


@dataclasses.dataclass
class Described:
    """Study with another spec."""

    study: ReadableStudy
    spec: StudySpec

    def __getattr__(self, name):
        return getattr(self.study, name)


@pytest.mark.parametrize(
    ("source", "portable", "pretrained"),
    [
        ("/weights/yolov8n.pt", "/weights/yolov8n.pt", True),
        ("yolov8n.yaml", "yolov8n.yaml", False),
        ("/models/mamba-yolo-n.yaml", "/s/mamba-yolo-n-untrained.pt", False),
    ],
)
def test_only_weights_that_trials_started_from_are_pretrained(study, winner, source, portable, pretrained):
    described = dataclasses.replace(study.spec, model_source=source, portable_model=portable)
    arguments = training_arguments(described, winner, 20)
    assert (arguments["model"], arguments["pretrained"]) == (portable, pretrained)


def test_the_batch_that_ran_is_written_and_not_the_one_that_was_asked_for(study, search):
    request = search.suggest()
    for number, value in ((3, 0.1), (9, 0.25)):
        search.report(request.trial, dataclasses.replace(epoch(number, value), batch=8))
    search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED))
    assert request.params["batch"] == 16
    assert training_arguments(study.spec, choose_winner(study), 20)["batch"] == 8


def test_the_batch_that_was_asked_for_is_written_when_none_was_noted(study, winner):
    unnoted = Winner(trial=dataclasses.replace(winner.trial, facts=NO_FACTS), baseline=None)
    assert training_arguments(study.spec, unnoted, 20)["batch"] == 16


# Reading


def test_both_yaml_readers_read_the_same(text):
    assert YAML(typ="safe").load(text) == yaml.safe_load(text)


def test_a_long_path_with_blanks_and_accents_is_read_back(url, spec, space, paths, terms):
    data = "/données/" + "a folder with blanks/" * 8 + "data set: final.yaml"
    with driven(url, dataclasses.replace(spec, data_source=data), paths) as study:
        search = Search(study, space, paths, terms)
        play(search, search.suggest(), 0.1, 0.25)
    assert yaml.safe_load(params_yaml(study, choose_winner(study), 20))["data"] == data


def test_exported_arguments_are_trained_without_changes(text, winner):
    given = parameters_of(text, "params.yaml")
    assert given.notes == ()
    assert given.params == {**winner.trial.params, "patience": 50}
    assert given.epochs == 20


def read_back(study, winner, values):
    """Write the values as the winner's parameters. Return them as ultralytics reads them."""
    params = {f"x{index}": value for index, value in enumerate(values)}
    read = yaml.safe_load(params_yaml(study, with_params(winner, **params), 20))
    return [read[name] for name in params]


def test_values_are_read_back_as_they_were_with_their_types(study, winner):
    values = [True, False, 0, 3, "SGD", "null", "1.0", "1e-5", "", "# a", "a: b", 0.1, 1.0, 9.9e-05, 1.5e300]
    read = read_back(study, winner, values)
    assert read == values
    assert list(map(type, read)) == list(map(type, values))


def test_a_float_whose_digits_need_no_point_is_read_back_as_a_float(study, winner):
    values = [1e-05, -1e-07, 5e-324, 1e16, 1e22]
    assert read_back(study, winner, values) == values


def test_a_word_that_means_something_else_in_yaml_1_1_is_read_back_as_a_word(study, winner):
    values = ["on", "off", "yes", "no", "1:30"]
    assert read_back(study, winner, values) == values


def test_every_float_of_a_search_is_read_back_as_it_was(study, winner):
    @given(st.floats(min_value=1e-9, max_value=1e9).filter(lambda value: "e" not in repr(value) or "." in repr(value)))
    def is_read_back(value):
        assert read_back(study, winner, [value]) == [value]

    is_read_back()


# Training with the same arguments as the final run

RESOLVE = """
import json, sys
from trainer.ultralytics_bridge import environment
environment.configure()
from trainer.training.trial import _arguments
from tuner.contract import decode
from ultralytics.cfg import get_cfg
from ultralytics.utils import YAML

resolved = []
for file, request in json.loads(sys.stdin.read()):
    # As `yolo train cfg=FILE` reads it, and as the trainer's process is given it.
    pair = get_cfg(overrides=YAML.load(file)), get_cfg(overrides=_arguments(decode(request)))
    resolved.append([{name: repr(value) for name, value in vars(side).items()} for side in pair])
print(json.dumps(resolved))
"""

ITS_PLACE = {
    *("save_dir", "project", "name", "exist_ok", "device", "workers"),  # this machine
    *("model", "save", "save_period", "plots", "val", "verbose"),  # what is kept and shown
}

WIDE_SPACE = """
search: {epochs: 9, rungs: [3], trials: 6, sampler: random, promote_epochs: 20}
parameters:
  batch: 16
  imgsz: 64
  optimizer: {choice: [SGD, AdamW]}
  lr0:
    - {float: [0.001, 0.1], log: true, when: {optimizer: SGD}}
    - {float: [0.00001, 0.0001], log: true, when: {optimizer: AdamW}}
  cos_lr: {choice: [true, false]}
  warmup_epochs: {float: [0, 5], step: 0.5}
  augmentation_strength: {float: [0.1, 1]}
baseline: {optimizer: SGD, lr0: 0.01, cos_lr: true, warmup_epochs: 3.0, augmentation_strength: 0.5}
"""

MODELS = [
    ("/models/mamba-yolo-n.yaml", "/s/mamba-yolo-n-untrained.pt"),
    ("yolov8n.yaml", "yolov8n.yaml"),
    ("/weights/yolov8n.pt", "/weights/yolov8n.pt"),
]


def test_plain_ultralytics_resolves_the_file_to_the_arguments_of_the_final_run(tmp_path, spec, terms):
    space = parse_space(WIDE_SPACE, name="wide", file="wide.yaml")
    cases = []
    for index, (source, portable) in enumerate(MODELS):
        paths = StudyPaths.of(tmp_path, f"s{index}")
        paths.create()
        described = dataclasses.replace(spec, model_source=source, portable_model=portable)
        with driven(f"sqlite:///{paths.database}", described, paths, name=f"s{index}") as study:
            search = Search(study, space, paths, terms)
            for value in (0.2, 0.3, 0.4):
                play(search, search.suggest(), 0.1, value)
        found = choose_winner(study)
        write_params(params_yaml(study, found, 20), paths.params)
        request = full_run_request(study, paths, found, epochs=20, gpus=0, threads=2)
        cases.append((str(paths.params), encode(request)))

    done = subprocess.run(
        [sys.executable, "-c", RESOLVE], cwd=ROOT, input=json.dumps(cases), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for exported, promoted in json.loads(done.stdout.splitlines()[-1]):
        different = {name for name in exported.keys() | promoted.keys() if exported.get(name) != promoted.get(name)}
        assert different <= ITS_PLACE, {name: (exported.get(name), promoted.get(name)) for name in different}


# Writing


def test_the_file_is_written_and_nothing_else(tmp_path):
    write_params("a: 1\n", tmp_path / "params.yaml")
    write_params("a: 2\n", tmp_path / "params.yaml")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("params.yaml", "a: 2\n")]


def test_a_reader_never_sees_half_a_file(tmp_path):
    target = tmp_path / "params.yaml"
    write_params("old\n", target)
    with target.open() as reader:
        write_params("new\n" * 10_000, target)
        assert reader.read() == "old\n"  # the new one is another file, put in its place
    assert target.read_text() == "new\n" * 10_000


@pytest.mark.parametrize(
    ("target", "reason"),
    [("none/params.yaml", "No such file or directory"), ("file/params.yaml", "Not a directory")],
)
def test_an_unwritable_place_is_reported_with_the_remedy(tmp_path, target, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=rf"{target}' is not \({reason}\); choose another with -o\.$"):
        write_params("a: 1\n", tmp_path / target)


def test_a_folder_in_the_place_of_the_file_is_reported(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(MachineError, match="Is a directory"):
        write_params("a: 1\n", tmp_path / "out")


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(MachineError):
        write_params("a: 1\n", tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_the_current_folder_as_the_file_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MachineError):
        write_params("a: 1\n", Path())
