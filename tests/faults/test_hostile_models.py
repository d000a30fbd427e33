"""Malicious YAML of models: it runs nothing, fetches nothing, and is refused in one line."""

from pathlib import Path

import pytest

from trainer.exceptions import ModelError
from trainer.ultralytics_bridge import environment

environment.configure()

import ultralytics  # noqa: E402
from ultralytics.utils import downloads  # noqa: E402

from trainer.models import MODEL_NAMES  # noqa: E402
from trainer.ultralytics_bridge import model_files, models  # noqa: E402

SHIPPED = Path(ultralytics.__file__).parent / "cfg" / "models"
GOOD = (SHIPPED / "v8" / "yolov8.yaml").read_text()
ROW = "[-1, 1, Conv, [64, 3, 2]]"


def with_row(row):
    assert ROW in GOOD
    return GOOD.replace(ROW, row, 1)


TOUCH = "__import__('pathlib').Path('pwned').touch()"
ATTACKS = {
    "a program as the activation": f'{GOOD}\nactivation: "{TOUCH}"\n',
    "a program next to an activation": f'{GOOD}\nactivation: "nn.SiLU() if not {TOUCH} else 0"\n',
    "a program in an argument of an activation": f'{GOOD}\nactivation: "nn.LeakyReLU({TOUCH})"\n',
    "a program as a layer's argument": with_row(f'[-1, 1, Conv, ["{TOUCH}", 3, 2]]'),
    "a program as a layer": with_row(f'[-1, 1, "{TOUCH}", [64]]'),
    "a program in a tag": "!!python/object/apply:os.system ['touch pwned']\n",
    "a function as a layer": with_row("[-1, 1, yaml_model_load, [/etc/passwd]]"),
    "a function of torchvision as a layer": with_row("[-1, 1, torchvision.ops.nms, [64]]"),
    "a module of Python as a layer": with_row("[-1, 1, importlib, [os]]"),
    "a layer that downloads": with_row("[-1, 1, TorchVision, [512, resnet18, DEFAULT]]"),
    "a literal of many brackets": with_row(f"[-1, 1, Conv, ['{'(' * 900}']]"),
    "a literal of many signs": with_row(f"[-1, 1, Conv, ['{'-' * 100_000}1']]"),
    "aliases": f"{GOOD}\na: &a [1, 1]\nb: [*a, *a]\n",
    "many levels": "[" * 100_000,
    "many values": f"[{'1,' * 100_000}]",
    "many bytes": "#" * 300_000,
    "a version of thousands of digits": f"%YAML {'9' * 5000}.1\n---\na: 1",
    "NUL": "a: \0",
    "nothing": "",
    "a text": "hello",
    "a list": "[1]",
    "no layers": "backbone: 3\nhead: 4\n",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_malicious_model_is_refused_in_one_line_and_runs_nothing(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.yaml"
    file.write_text(ATTACKS[attack])
    with pytest.raises(ModelError) as caught:
        models.count_parameters(models.locate(str(file)), 3)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    "name",
    [
        "https://example.com/x.yaml",
        "http://127.0.0.1/x.yaml",
        "ul://user/project.yaml",
        "gs://bucket/x.yaml",
        "../**/x.yaml",
        "*.yaml",
        "nul\0.yaml",
        "half\udc80.yaml",
        f"{'x' * 300}.yaml",
        "x" * 5000,
        ".yaml",
        "-rf.yaml",
        "yolov8n.yaml\n",
    ],
    ids=ascii,
)
def test_a_name_that_is_not_a_model_is_neither_searched_for_nor_fetched(monkeypatch, name):
    def fetch(*args, **kwargs):
        raise AssertionError("a download was begun")

    monkeypatch.setattr(downloads, "safe_download", fetch)
    with pytest.raises(ModelError, match="The model must be one of"):
        models.locate(name)


def test_a_file_that_is_not_yaml_is_not_a_model(tmp_path):
    (tmp_path / "model.txt").write_text(GOOD)
    with pytest.raises(ModelError, match=r"a \.yaml or \.pt file"):
        models.locate(str(tmp_path / "model.txt"))


def test_good_models_still_build(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"{GOOD}\nactivation: nn.LeakyReLU(0.1)\n")
    assert models.count_parameters(models.locate(str(tmp_path / "mine.yaml")), 3) > 1e6
    assert models.locate("yolov8n.yaml") == "yolov8n.yaml"
    assert models.locate(MODEL_NAMES[0])


def test_every_detection_model_of_ultralytics_passes():
    files = [file for file in SHIPPED.rglob("*.yaml") if "-cls" not in file.name]
    assert len(files) > 30
    for file in files:
        model_files.check(file)
