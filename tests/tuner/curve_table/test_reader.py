"""Read a table of learning curves for a simulation."""

import contextlib
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from tests.tuner.curve_table.conftest import CURVE, LOSSES, rows
from tuner.curve_table.reader import read_curves, seed_noise
from tuner.curve_table.schema import METADATA_KEY
from tuner.curve_table.writer import write_curves
from tuner.exceptions import DataError
from tuner.space import UnitCube


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


def test_trials_that_failed_or_were_stopped_early_are_left_out(study, written):
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


def test_the_first_of_several_seeds_of_a_configuration_counts(make, space, file):
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


def test_without_repeats_the_noise_is_unknown(study, written):
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


def test_a_file_without_a_complete_run_is_refused(study, written):
    study.trial((0.1,), TrialState.FAIL, "bug: why")

    with pytest.raises(DataError, match="has none; continue the study"):
        read_curves(written())


def altered(file, *, metadata=None, without=(), **columns):
    """Change the content of the file."""
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
        ({"metadata": about_itself('{"format": 2}')}, "has format 2, but this version reads 1; export it again"),
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
        ({"optimizer": "RAdam"}, "optimizer='RAdam' is not one of SGD, AdamW"),
        ({"optimizer": "AdamW"}, "'lr0 .optimizer=AdamW.' is missing"),
        ({"close_mosaic": 99}, "close_mosaic=99 is outside 0..3"),
        ({"epoch": 5}, "an epoch outside 1 to 4"),
        ({"epoch": -1}, "an epoch outside 1 to 4"),
        ({"epoch": "one"}, "has unexpected content"),
        ({"epoch": None}, "has unexpected content"),
        ({"seconds": "long"}, "has unexpected content"),
        ({"study": ["s"]}, "has unexpected content"),
    ],
)
def test_a_table_of_something_else_is_refused_in_one_line(study, written, changes, said):
    study.trial()
    file = written()
    altered(file, **changes)

    with pytest.raises(DataError, match=said) as caught:
        read_curves(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_a_whole_parquet_file_is_refused_in_one_line(study, written):
    study.trial()
    file = written()
    whole = file.read_bytes()

    for content in (b"", b"epoch,mAP\n1,0.1\n", whole[: len(whole) // 2], b"PAR1" + bytes(100) + whole[-8:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="is not a complete parquet file") as caught:
            read_curves(file)
        assert "\n" not in str(caught.value)


def test_a_damaged_byte_is_a_data_error_or_is_not_noticed(study, written):
    for _ in range(5):
        study.trial()
    file = written()
    whole = file.read_bytes()

    for place in range(0, len(whole), len(whole) // 60):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            read_curves(file)


@pytest.mark.parametrize(("place", "reason"), [("none.parquet", "No such file"), ("", "Is a directory")])
def test_a_missing_file_is_reported(tmp_path, place, reason):
    with pytest.raises(DataError, match=reason):
        read_curves(tmp_path / place)
