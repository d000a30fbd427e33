"""Read and write configurations to try first, in every format of ultralytics and tune."""

import pytest

from tests.support.ultralytics_files import TUNED, tune_results_line, tuned_yaml
from tuner.exceptions import MachineError, SpaceError, UsageError
from tuner.search.warm_start import warm_start
from tuner.space import SHIPPED_SPACES, load_space
from tuner.training.warm_start_file import is_file_name, read_configurations, warm_start_text, write_warm_start


@pytest.fixture
def quick():
    return load_space(SHIPPED_SPACES / "quick.yaml")


def written(tmp_path, text, name):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_written_configurations_are_read_back_the_same(tmp_path, quick):
    text = "".join(tune_results_line(f, {**TUNED["8.4.0"], "lr0": f}) for f in (0.001, 0.006, 0.011, 0.9))
    source = read_configurations(written(tmp_path, text, "tune_results.ndjson")).source
    starts = warm_start(quick, [source])
    again = read_configurations(written(tmp_path, warm_start_text(starts, quick.name), "warm_start.yaml"))
    assert [start.configuration for start in warm_start(quick, [again.source])] == [s.configuration for s in starts]
    assert again.source.ranked[0].origin == "warm_start.yaml:6"


@pytest.mark.parametrize("version", TUNED)
def test_best_hyperparameters_of_every_version_are_one_configuration_with_its_fitness(tmp_path, version):
    results = read_configurations(written(tmp_path, tuned_yaml(version), "best_hyperparameters.yaml"))
    (candidate,) = results.source.ranked
    assert candidate.values["lr0"] == 0.01
    assert candidate.origin == "fitness 0.4100, best_hyperparameters.yaml"


def test_best_hyperparameters_of_a_tuning_that_learned_nothing_are_refused(tmp_path):
    text = tuned_yaml("8.4.0").replace("fitness=0.41 ", "fitness=0.0 ")
    with pytest.raises(UsageError, match="has fitness 0: training failed, or learned nothing"):
        read_configurations(written(tmp_path, text, "best.yaml"))


def test_given_values_replace_those_of_the_file(tmp_path):
    path = written(tmp_path, tune_results_line(0.3, {"lr0": 0.01}), "tune_results.ndjson")
    (candidate,) = read_configurations(path, {"optimizer": "AdamW", "lr0": 0.002}).source.ranked
    assert candidate.values == {"lr0": 0.002, "optimizer": "AdamW"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("configurations: []", ":1: `configurations` must list configurations"),
        ("configurations: {lr0: 0.1}", ":1: `configurations` must list configurations"),
        ("configurations:\n  - 3\n", ":2: a configuration must list values"),
        ("configurations:\n  - lr0: [1, 2]\n", ":2: a configuration must list values"),
        ("configurations:\n  - optimizer: auto\n", ":2: `optimizer` must be named"),
        ("parameters: {lr0: 0.1}\n", "this is a search space"),
        ("lr: 0.1\n", "did you mean lr0"),
        ("configurations: [", "not YAML"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path, text, said):
    with pytest.raises(SpaceError, match=said):
        read_configurations(written(tmp_path, text, "warm_start.yaml"))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must end in .csv, .ndjson, .yaml, .yml, but got"):
        read_configurations(tmp_path / "tune_results.txt")
    with pytest.raises(UsageError, match="is a folder"):
        read_configurations(tmp_path)


def test_a_name_with_a_file_extension_is_not_a_study():
    assert is_file_name("runs/tune/tune_results.NDJSON")
    assert is_file_name("warm_start.yml")
    assert not is_file_name("quick-sample-mamba-yolo-n")
    assert not is_file_name("v1.2")


def test_an_unwritable_file_is_a_problem_of_the_machine(tmp_path):
    with pytest.raises(MachineError, match="choose another with -o"):
        write_warm_start("", tmp_path / "none" / "warm_start.yaml")
