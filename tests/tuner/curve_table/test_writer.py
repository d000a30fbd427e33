"""The table of learning curves: what is written of a study, and what a simulation reads in it."""

import contextlib
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import driven, epoch
from tuner.cli.main import main
from tuner.contract import EndRecord, Outcome, StartedRecord, encode
from tuner.curve_table.writer import METADATA_KEY, RecordedStudy, read_curves, seed_noise, write_curves
from tuner.exceptions import DataError, MachineError, UsageError
from tuner.search.search import Search
from tuner.space import UnitCube, find_space, load_space, parse_space
from tuner.study import StudyPaths, TrialRecord
from tuner.trials.requests import TrialTerms

SPACE = """
search: {epochs: 4, rungs: [], trials: 9, sampler: random, promote_epochs: 20}
parameters:
  optimizer: {choice: [SGD, AdamW]}
  amp: {choice: [true, bf16, fp32]}
  cos_lr: {choice: [true, false]}
  batch: {choice: [8, 16]}
  imgsz: 64
  close_mosaic: {int: [0, 3]}
  lr0:
    - {when: {optimizer: SGD}, float: [0.001, 1.0], log: true}
    - {when: {optimizer: AdamW}, float: [0.0001, 0.1], log: true}
baseline: {optimizer: SGD, amp: true, cos_lr: false, batch: 16, close_mosaic: 2, lr0: 0.01}
"""
CURVE = (0.1, 0.2, 0.3, 0.4)
LOSSES = (4.0, 3.0, 2.0, 1.0)
DIVERGED = "diverged: the loss became NaN in epoch 3, batch 5"


@pytest.fixture
def space():
    return parse_space(SPACE, name="four", file="four.yaml")


def about(spec, space):
    """What a study of this space says of itself."""
    settings = space.settings
    return dataclasses.replace(
        spec,
        space_name=space.name,
        space=space.canonical(),
        metric=settings.metric,
        epochs=settings.epochs,
        rungs=settings.rung_epochs,
        seed=settings.seed,
    )


class FakeStudy:
    """What a reader finds of a study: trials that nobody trained, and the records that a trainer left of them."""

    def __init__(self, name, spec, space, paths):
        self.promotion = {}
        self.name = name
        self.spec = spec
        self._space = space
        self._paths = paths
        self._trials = []

    def trials(self):
        return tuple(self._trials)

    def trial(self, values=CURVE, state=TrialState.COMPLETE, reason="", *, box=LOSSES, dfl=0.5, leaves_records=True):
        """One more: metric (none where not validated) and losses by epoch. The first is the default configuration."""
        number, cube = len(self._trials), UnitCube(self._space)
        anywhere = cube.sampled(np.random.default_rng([self.spec.seed, number]).random(len(cube.labels)))
        sampled = anywhere if number else self._space.baseline_sampled()
        params = self._space.resolve(sampled)
        if leaves_records:
            folder = self._paths.trial(number)
            folder.mkdir(parents=True)
            lines = [
                encode(
                    dataclasses.replace(
                        epoch(i, value), losses={"box": loss, "dfl": dfl}, seconds=float(i), batch=params["batch"]
                    )
                )
                for i, (value, loss) in enumerate(zip(values, box, strict=False), start=1)
            ]
            (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
        self._trials.append(
            TrialRecord(
                number=number,
                state=state,
                value=values[-1] if state == TrialState.COMPLETE else None,
                curve={i: value for i, value in enumerate(values, start=1) if value is not None},
                sampled=sampled,
                params=params,
                reason=reason,
            )
        )

    def diverges(self, values=(), **more):
        self.trial(values, TrialState.PRUNED, DIVERGED, **more)

    @property
    def recorded(self):
        return RecordedStudy(study=self, paths=self._paths)


@pytest.fixture
def make(tmp_path, spec):
    """Makes a study without trials."""

    def study_of(space, name="s", **more):
        described = dataclasses.replace(about(spec, space), **more)
        return FakeStudy(name, described, space, StudyPaths.of(tmp_path / "studies", name))

    return study_of


@pytest.fixture
def study(make, space):
    return make(space)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "table.parquet"


@pytest.fixture
def written(study, file):
    """The file, once it is called."""

    def write():
        write_curves(file, [study.recorded])
        return file

    return write


def rows(file, **where):
    found = pq.read_table(file).to_pylist()
    return [row for row in found if all(row[name] == value for name, value in where.items())]


def metadata_of(file):
    return json.loads(pq.read_schema(file).metadata[METADATA_KEY])


# What is written


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


def test_a_configuration_is_in_columns_by_label_and_has_nothing_where_it_is_inactive(study, written, space):
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


def test_without_the_trials_folder_the_study_knows_the_metric(study, written):
    study.trial(leaves_records=False)
    file = written()

    assert [row["mAP50-95"] for row in rows(file)] == list(CURVE)
    assert {(row["mAP50"], row["seconds"], row["batch_trained"]) for row in rows(file)} == {(None, None, None)}


def test_of_records_cut_short_the_whole_ones_count(study, written):
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

    with pytest.raises(UsageError, match=rf"'other' differs from 's' in {differs}; give it a file of its own\.$"):
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


def test_the_same_study_makes_the_same_file_and_nothing_beside_it(study, written, tmp_path):
    study.trial()
    before = written().read_bytes()

    assert written().read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["studies", "table.parquet"]


@pytest.mark.parametrize("target", ["none/t.parquet", "studies"])
def test_a_place_where_nothing_can_be_written_is_told_with_the_remedy(study, tmp_path, target):
    study.trial()

    with pytest.raises(MachineError, match=rf"{target}' is not \(.*\); choose another with --curves\.$"):
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


# What is read


def test_a_simulation_gets_the_curves(study, written):
    study.trial()
    study.trial((0.0, 0.0, 0.1, 0.2))
    table = read_curves(written())

    assert (table.name, table.epochs, table.num_configurations) == ("table", 4, 2)
    assert table.metric.tolist() == [[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.1, 0.2]]
    assert table.loss.tolist() == [[4.5, 3.5, 2.5, 1.5]] * 2
    assert table.seconds.tolist() == [[1.0, 2.0, 3.0, 4.0]] * 2
    assert table.dead_from.tolist() == [5, 5]


def test_configurations_are_points_of_the_spaces_cube(study, written, space):
    for _ in range(20):
        study.trial()
    table = read_curves(written())

    cube, sampled = UnitCube(space), [trial.sampled for trial in study.trials()]
    assert np.array_equal(table.points, [cube.point(values) for values in sampled])
    assert {values["amp"] for values in sampled} == {True, "bf16", "fp32"}
    assert (table.choices, table.conditions, table.baseline) == (cube.choices, cube.conditions, 0)


def test_the_metric_is_the_one_that_the_study_searched_by(make, space, file):
    study = make(space.with_settings(metric="recall"))
    study.trial()
    write_curves(file, [study.recorded])

    assert read_curves(file).final.tolist() == [0.0]


def test_after_a_divergence_there_is_no_metric_an_infinite_loss_and_the_usual_cost(study, written):
    study.trial()
    study.diverges((0.1, 0.2))
    table = read_curves(written())

    assert np.array_equal(table.metric[1], [0.1, 0.2, np.nan, np.nan], equal_nan=True)
    assert table.loss[1].tolist() == [4.5, 3.5, math.inf, math.inf]
    assert table.seconds[1].tolist() == [1.0, 2.0, 1.5, 1.5]
    assert table.dead_from.tolist() == [5, 3]


def test_a_trial_that_diverged_in_its_first_epoch_is_dead_from_there_and_costs_what_others_do(study, written):
    study.trial()
    study.diverges()
    table = read_curves(written())

    assert table.dead_from.tolist() == [5, 1]
    assert table.seconds[1].tolist() == [2.5] * 4


@pytest.mark.parametrize(
    ("values", "losses"), [((0.1, 0.2), (4.0, math.nan)), ((0.1, None), (4.0, math.inf)), ((0.1, math.nan), LOSSES)]
)
def test_a_last_epoch_that_is_not_finite_is_dead(study, written, values, losses):
    study.trial()
    study.diverges(values, box=losses)

    assert read_curves(written()).dead_from.tolist() == [5, 2]


def test_trials_that_failed_or_were_stopped_early_are_no_rows(study, written):
    study.trial()
    study.trial((0.1,), TrialState.PRUNED, "out of memory: too large")
    study.trial((0.1, 0.2), TrialState.PRUNED, "stopped at epoch 2")
    study.trial((0.1,), TrialState.FAIL, "bug: why")
    file = written()

    assert {row["state"] for row in rows(file)} == {"COMPLETE", "PRUNED", "FAIL"}
    assert read_curves(file).num_configurations == 1


def test_without_the_trials_folders_runs_are_alive_and_cost_one(study, written):
    study.trial(leaves_records=False)
    table = read_curves(written())

    assert table.metric.tolist() == [list(CURVE)]
    assert table.seconds.tolist() == [[1.0] * 4]
    assert table.dead_from.tolist() == [5]


def test_of_a_configuration_under_several_seeds_the_first_counts(make, space, file):
    studies = []
    for seed, last in ((1, 0.5), (0, 0.4), (2, 0.6)):
        studies.append(make(space.with_settings(seed=seed), f"s{seed}"))
        studies[-1].trial((0.1, 0.2, 0.3, last))
        studies[-1].trial()
    write_curves(file, [study.recorded for study in studies])

    table = read_curves(file)
    assert table.num_configurations == 4
    assert table.final[table.baseline] == 0.5
    noise = seed_noise(file)
    assert (noise.configurations, noise.runs) == (1, 3)
    assert noise.deviation == pytest.approx([0, 0, 0, 0.1])


def test_without_repeats_nothing_is_known_of_the_noise(study, written):
    study.trial()
    study.trial()
    noise = seed_noise(written())

    assert (noise.configurations, noise.runs) == (0, 0)
    assert np.isnan(noise.deviation).all()


def test_a_study_that_was_validated_at_its_rungs_only_is_refused(study, written):
    study.trial()
    study.trial((None, 0.2, None, 0.4))

    with pytest.raises(DataError, match=r"trial 1 of study 's' was not validated after epoch 1; .*--validate-every"):
        read_curves(written())


def test_a_file_in_which_nothing_ran_to_its_end_is_refused(study, written):
    study.trial((0.1,), TrialState.FAIL, "bug: why")

    with pytest.raises(DataError, match="has none; let the study run on"):
        read_curves(written())


def altered(file, *, metadata=None, without=(), **columns):
    """Put something else into the file."""
    table = pq.read_table(file)
    for name, value in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array([value] * table.num_rows))
    if metadata is not None:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table.drop_columns(list(without)), file)


def about_itself(text):
    return {METADATA_KEY: text}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metadata": {}}, "has no metadata 'mamba-yolo-tuner'"),
        ({"metadata": about_itself("{")}, "unreadable metadata"),
        ({"metadata": about_itself("[1]")}, "unreadable metadata"),
        ({"metadata": about_itself("{}")}, "unreadable metadata"),
        ({"metadata": about_itself('{"format": 2}')}, "has format 2 where this version reads 1; export it again"),
        ({"metadata": about_itself('{"format": 1}')}, "lacks 'space'"),
        (
            {"metadata": about_itself('{"format": 1, "space": 3, "space_name": ""}')},
            "must have version 1 or 2, but got None",
        ),
        (
            {"metadata": about_itself('{"format": 1, "space": {}, "space_name": ""}')},
            "must have version 1 or 2, but got None",
        ),
        ({"without": ["cos_lr"]}, "lacks 'cos_lr'"),
        ({"without": ["seconds"]}, "lacks 'seconds'"),
        ({"optimizer": "RAdam"}, "optimizer='RAdam' is none of SGD, AdamW"),
        ({"optimizer": "AdamW"}, "'lr0 .optimizer=AdamW.' is missing"),
        ({"close_mosaic": 99}, "close_mosaic=99 lies outside 0..3"),
        ({"epoch": 5}, "an epoch that is none of 4"),
        ({"epoch": -1}, "an epoch that is none of 4"),
        ({"epoch": "one"}, "has something else in it"),
        ({"epoch": None}, "has something else in it"),
        ({"seconds": "long"}, "has something else in it"),
        ({"study": ["s"]}, "has something else in it"),
    ],
)
def test_a_table_of_something_else_is_refused_in_one_line(study, written, changes, said):
    study.trial()
    file = written()
    altered(file, **changes)

    with pytest.raises(DataError, match=said) as caught:
        read_curves(file)
    assert "\n" not in str(caught.value)


def test_what_is_no_whole_parquet_file_is_refused_in_one_line(study, written):
    study.trial()
    file = written()
    whole = file.read_bytes()

    for content in (b"", b"epoch,mAP\n1,0.1\n", whole[: len(whole) // 2], b"PAR1" + bytes(100) + whole[-8:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="is no whole parquet file") as caught:
            read_curves(file)
        assert "\n" not in str(caught.value)


def test_a_damaged_byte_is_a_fault_of_the_file_or_goes_unseen(study, written):
    for _ in range(5):
        study.trial()
    file = written()
    whole = file.read_bytes()

    for place in range(0, len(whole), len(whole) // 60):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            read_curves(file)


@pytest.mark.parametrize(("place", "reason"), [("none.parquet", "No such file"), ("", "Is a directory")])
def test_a_place_without_a_file_is_told(tmp_path, place, reason):
    with pytest.raises(DataError, match=reason):
        read_curves(tmp_path / place)


# tune export --curves


def tune(*arguments):
    with pytest.raises(SystemExit) as left:
        main(list(map(str, arguments)))
    return left.value.code


@pytest.fixture
def home(tmp_path, spec, space, empty_database, monkeypatch):
    """The studies a and b, searched as they are in real life."""
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b"], "A winner is that of one study, but got a, b; name one, or add --curves.\n"),
        (["a", "--curves", "t.parquet", "--epochs", "3"], "leave --output, --epochs, --data and --model out.\n"),
        (["a", "--curves", "t.parquet", "-o", "x.yaml"], "leave --output, --epochs, --data and --model out.\n"),
        (["a", "--curves", "t.parquet"], "There is no study 'a': "),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused_and_makes_nothing(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)

    assert tune("export", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
