"""Write the table of learning curves of a study."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import driven, epoch
from tests.tuner.curve_table.conftest import CURVE, DIVERGED, SPACE, about, metadata_of, rows
from tuner.cli.main import main
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.curve_table.reader import read_curves
from tuner.curve_table.writer import write_curves
from tuner.exceptions import MachineError, UsageError
from tuner.search.search import Search
from tuner.space import find_space, load_space, parse_space
from tuner.study import StudyPaths
from tuner.trials.requests import TrialTerms

# Content of the table


def test_there_is_a_row_for_each_epoch_of_each_trial(study, written):
    study.trial()
    study.trial((0.0, 0.0, 0.1, 0.2), dfl=0.25)
    file = written()

    assert [(row["study"], row["trial"], row["epoch"]) for row in rows(file)] == [
        ("s", trial, number) for trial in (0, 1) for number in (1, 2, 3, 4)
    ]
    (row,) = rows(file, trial=1, epoch=3)
    assert (row["mAP50-95"], row["mAP50"], row["precision"], row["recall"]) == (0.1, 0.1, 0.0, 0.0)
    assert (row["loss_box"], row["loss_dfl"], row["seconds"], row["memory_gib"]) == (2.0, 0.25, 3.0, 0.5)
    assert (row["learning_rate"], row["seed"], row["state"], row["reason"]) == (0.01, 0, "COMPLETE", "")


def test_a_configuration_is_in_columns_by_label_with_null_for_inactive_labels(study, written, space):
    study.trial()
    row = rows(written(), epoch=1)[0]

    assert {parameter.label: row[parameter.label] for parameter in space.searched} == {
        "optimizer": "SGD",
        "amp": "true",
        "cos_lr": False,
        "batch": 16,
        "close_mosaic": 2,
        "lr0 [optimizer=SGD]": 0.01,
        "lr0 [optimizer=AdamW]": None,
    }
    assert row["batch_trained"] == 16


def test_the_file_says_what_it_is_about(study, written, space):
    study.trial()

    assert metadata_of(written()) == {
        "format": 1,
        "space_name": "four",
        "space": space.canonical(),
        "metric": "mAP50-95",
        "epochs": 4,
        "model": "mamba-yolo-n",
        "data": "sample",
        "data_sha256": "0" * 64,
        "num_images": {"train": 80, "val": 20},
        "versions": {"torch": "2.14.1"},
    }


def test_a_diverged_trial_keeps_its_epochs_and_says_how_it_ended(study, written):
    study.diverges((0.1, 0.2))
    file = written()

    assert [row["mAP50-95"] for row in rows(file)] == [0.1, 0.2]
    assert {(row["state"], row["reason"]) for row in rows(file)} == {("PRUNED", DIVERGED)}


def test_a_trial_that_ended_in_its_first_epoch_has_an_epoch_0(study, written):
    study.trial()
    study.diverges()

    (row,) = rows(written(), trial=1)
    assert (row["epoch"], row["state"], row["mAP50-95"], row["loss_box"], row["seconds"]) == (0, "PRUNED", *[None] * 3)


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.WAITING])
def test_a_trial_that_has_not_ended_is_left_out(study, written, state):
    study.trial()
    study.trial((0.1, 0.2), state)

    assert {row["trial"] for row in rows(written())} == {0}


def test_without_the_trials_folder_the_metric_comes_from_the_study(study, written):
    study.trial(leaves_records=False)
    file = written()

    assert [row["mAP50-95"] for row in rows(file)] == list(CURVE)
    assert {(row["mAP50"], row["seconds"], row["batch_trained"]) for row in rows(file)} == {(None, None, None)}


def test_whole_records_of_a_truncated_file_count(study, written):
    study.trial()
    path = study.recorded.paths.trial(0) / "records.jsonl"
    path.write_text(path.read_text()[:-30])
    file = written()

    assert [row["seconds"] for row in rows(file)] == [1.0, 2.0, 3.0, None]
    assert [row["mAP50-95"] for row in rows(file)] == list(CURVE)


def test_an_epoch_that_was_not_validated_has_no_metric(study, written):
    study.trial((None, 0.2, None, 0.4))

    assert [row["mAP50-95"] for row in rows(written())] == [None, 0.2, None, 0.4]


def test_several_studies_make_one_table(make, space, file):
    studies = [make(space.with_settings(seed=seed), f"s{seed}", versions={"torch": f"2.{seed}"}) for seed in (0, 7)]
    for study in studies:
        study.trial()
        study.trial()

    assert write_curves(file, [study.recorded for study in studies]) == 4
    found = [(row["study"], row["seed"]) for row in rows(file, epoch=1)]
    assert found == [("s0", 0), ("s0", 0), ("s7", 7), ("s7", 7)]
    assert metadata_of(file)["versions"] == {"torch": "2.0, 2.7"}


@pytest.mark.parametrize(
    ("old", "new", "more", "differs"),
    [
        ("", "", {"model": "mamba-yolo-t"}, "model"),
        ("", "", {"data_sha256": "1" * 64}, "data set"),
        ("1.0], log", "0.5], log", {}, "parameters"),
        ("epochs: 4", "epochs: 5", {}, "epochs"),
        ("lr0: 0.01}", "lr0: 0.02}", {"model": "x"}, "baseline, model"),
    ],
)
def test_studies_of_different_things_are_refused(make, study, file, old, new, more, differs):
    other = make(parse_space(SPACE.replace(old, new), name="other", file="other.yaml"), "other", **more)
    study.trial()
    other.trial()

    with pytest.raises(UsageError, match=rf"'other' differs from 's' in {differs}; export it to a separate file\.$"):
        write_curves(file, [study.recorded, other.recorded])
    assert not file.exists()


def test_a_study_of_an_older_record_and_one_of_today_make_one_table(make, space, file):
    canonical = space.canonical()
    labelled = {
        label: {key: value for key, value in form.items() if key not in {"name", "when"}}
        for label, form in canonical["parameters"].items()
    }
    older = make(space, "older")
    older.spec = dataclasses.replace(older.spec, space={**canonical, "version": 1, "parameters": labelled})
    studies = [older, make(space.with_settings(seed=7), "new")]
    for study in studies:
        study.trial()

    assert write_curves(file, [study.recorded for study in studies]) == 2
    assert metadata_of(file)["space"] == canonical


def test_a_study_without_an_ended_trial_is_refused(study, written):
    study.trial((0.1,), TrialState.RUNNING)

    with pytest.raises(UsageError, match="s has none"):
        written()


def test_the_same_study_makes_the_same_file_and_nothing_else(study, written, tmp_path):
    study.trial()
    before = written().read_bytes()

    assert written().read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["studies", "table.parquet"]


@pytest.mark.parametrize("target", ["none/t.parquet", "studies"])
def test_an_unwritable_place_is_reported_with_the_remedy(study, tmp_path, target):
    study.trial()

    with pytest.raises(MachineError, match=rf"{target}' is not \(.*\); choose another file with --curves\.$"):
        write_curves(tmp_path / target, [study.recorded])
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_two_hundred_trials_of_27_epochs_take_less_than_2_mb(make, file):
    full = load_space(find_space("full", Path("/"))).with_settings(epochs=27, rungs=())
    study, rng = make(full), np.random.default_rng(0)
    for _ in range(200):
        study.trial(tuple(rng.random(27)), box=rng.random(27), dfl=float(rng.random()))
    write_curves(file, [study.recorded])

    assert read_curves(file).metric.shape == (200, 27)
    assert file.stat().st_size < 2e6


# tune export --curves


def tune(*arguments):
    with pytest.raises(SystemExit) as left:
        main(list(map(str, arguments)))
    return left.value.code


@pytest.fixture
def home(tmp_path, spec, space, empty_database, monkeypatch):
    """Create the studies a and b with real searches."""
    monkeypatch.chdir(tmp_path)
    terms = TrialTerms(threads=1, gpus_per_trial=0, validate_every_epoch=True)
    spec = dataclasses.replace(
        spec, data_source="data.yaml", portable_model="yolov8n.yaml"
    )  # names: nothing to look for
    for name, seed in (("a", 0), ("b", 1)):
        seeded, paths = space.with_settings(seed=seed), StudyPaths.of(tmp_path / "studies", name)
        paths.create()
        shutil.copy(empty_database, paths.database)
        with driven(f"sqlite:///{paths.database}", about(spec, seeded), paths, name=name) as study:
            search = Search(study, seeded, paths, terms)
            for last, end in ((4, EndRecord(outcome=Outcome.COMPLETED)), (2, EndRecord(outcome=Outcome.DIVERGED))):
                request = search.suggest()
                search.report(request.trial, StartedRecord(pid=1, device="CPU"))
                for number, value in enumerate(CURVE[:last], start=1):
                    search.report(request.trial, epoch(number, value))
                search.report(request.trial, end)
    return tmp_path / "studies"


def test_the_command_writes_one_study_or_several(home, file, capsys):
    assert tune("export", "a", "--home", home, "--curves", file) == 0
    assert {row["study"] for row in rows(file)} == {"a"}
    assert read_curves(file).dead_from.tolist() == [5, 3]
    assert tune("export", "a", "b", "a", "--home", home, "--curves", file) == 0
    assert [(row["study"], row["trial"]) for row in rows(file, epoch=1)] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert capsys.readouterr().out == f"{file}: 2 trials\n{file}: 4 trials\n"
    assert not (home.parent / "params.yaml").exists()


def test_the_command_without_curves_writes_params_yaml_as_ever(home, capsys):
    assert tune("export", "a", "--home", home) == 0
    assert (home.parent / "params.yaml").read_text().startswith("# Found by tune: study a, trial 0")
    assert tune("export", "a", "--home", home, "-o", "mine.yaml") == 0
    assert capsys.readouterr().out == "params.yaml\nmine.yaml\n"


_EXCLUDED = "--curves excludes --output, --epochs, --json, --data and --model, but some of them are given; omit them.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b"], "STUDY must be a single study without --curves, but got a, b; name one, or add --curves.\n"),
        (["a", "--curves", "t.parquet", "--epochs", "3"], _EXCLUDED),
        (["a", "--curves", "t.parquet", "-o", "x.yaml"], _EXCLUDED),
        (["a", "--curves", "t.parquet"], "There is no study 'a': "),
    ],
)
def test_a_contradictory_command_is_refused_and_creates_nothing(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)

    assert tune("export", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
