"""Registration with ultralytics, each case in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import users_environment

ROOT = Path(__file__).parents[3]


def run(code: str, tmp_path: Path) -> dict:
    """Run `code` in a fresh interpreter, and return the value that it assigns to `found`."""
    env = users_environment() | {
        "PYTHONPATH": str(ROOT),
        "YOLO_CONFIG_DIR": str(tmp_path),
        "YOLO_AUTOINSTALL": "0",
        "OMP_NUM_THREADS": "1",
    }
    script = f"import json, sys\nfound = {{}}\n{code}\nprint('\\n' + json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:trainer", "-c", script],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"output": done.stdout + done.stderr}


def test_importing_trainer_loads_neither_torch_nor_ultralytics(tmp_path):
    found = run(
        "import trainer; found['heavy'] = sorted({'torch', 'ultralytics', 'numpy'} & set(sys.modules))", tmp_path
    )
    assert found["heavy"] == []


@pytest.mark.parametrize(
    "imports",
    [
        pytest.param("import trainer\nfrom ultralytics import YOLO", id="trainer first", marks=pytest.mark.slow),
        pytest.param("from ultralytics import YOLO\nYOLO\nimport trainer", id="ultralytics first"),
    ],
)
def test_yaml_builds_and_its_checkpoint_opens_in_a_process_that_imported_nothing_of_ours(imports, tmp_path):
    built = run(
        f"{imports}\n"
        "from trainer.models import model_yaml\n"
        "model = YOLO(model_yaml('mamba-yolo-n'))\n"
        "model.save('saved.pt')\n"
        "found['parameters'] = sum(p.numel() for p in model.model.parameters())\n"
        "found['type'] = type(model.model.model[1]).__module__",
        tmp_path,
    )
    assert built["type"] == "trainer.nn.blocks"
    assert "WARNING" not in built["output"]

    opened = run(
        "import torch\n"
        "from ultralytics import YOLO\n"
        "model = YOLO('saved.pt')\n"
        "found['parameters'] = sum(p.numel() for p in model.model.parameters())\n"
        "boxes = model.predict(torch.zeros(1, 3, 64, 64), verbose=False)[0].boxes\n"
        "found['boxes'] = len(boxes)\n"
        "found['rebuilt'] = sum(p.numel() for p in type(model.model)(model.model.yaml, verbose=False).parameters())",
        tmp_path,
    )
    assert opened["parameters"] == built["parameters"]
    assert opened["rebuilt"] == built["parameters"]


@pytest.mark.parametrize(
    "order", [["yolo11n.yaml", "OURS", "yolov8n.yaml"], ["OURS", "yolo11n.yaml", "OURS", "yolov8n.yaml"]]
)
def test_every_model_gets_its_own_head_whatever_was_built_before(order, tmp_path):
    found = run(
        "import trainer\n"
        "from ultralytics.nn.tasks import DetectionModel\n"
        "from trainer.models import model_yaml\n"
        f"for name in {order}:\n"
        "    path = str(model_yaml('mamba-yolo-n')) if name == 'OURS' else name\n"
        "    model = DetectionModel(path, verbose=False)\n"
        "    found.setdefault('parameters', []).append(sum(p.numel() for p in model.parameters()))",
        tmp_path,
    )
    # The numbers that ultralytics publishes for 80 classes, plus the 16 fixed weights of the head's DFL.
    expected = {"yolo11n.yaml": 2_624_080, "yolov8n.yaml": 3_157_200, "OURS": 1_222_224}
    assert found["parameters"] == [expected[name] for name in order]


def test_registering_leaves_heads_and_random_numbers_alone(tmp_path):
    found = run(
        "import torch\n"
        "from ultralytics.nn.modules import Detect\n"
        "torch.manual_seed(0)\n"
        "before = torch.get_rng_state(), Detect.legacy\n"
        "import trainer.ultralytics_bridge.registration\n"
        "found['same'] = bool((torch.get_rng_state() == before[0]).all()) and Detect.legacy == before[1]",
        tmp_path,
    )
    assert found["same"]


def test_registering_and_building_a_model_import_no_compiler(tmp_path):
    """torch's compiler takes a second to import; `prepare`, `measure` and a user's own process never use it."""
    found = run(
        "import trainer\n"
        "from ultralytics.nn.tasks import DetectionModel\n"
        "from trainer.models import model_yaml\n"
        "DetectionModel(str(model_yaml('mamba-yolo-n')), verbose=False)\n"
        "found['compiler'] = sorted({'torch._dynamo', 'torch._inductor'} & set(sys.modules))",
        tmp_path,
    )
    assert found["compiler"] == []


def test_registering_again_changes_nothing(tmp_path):
    found = run(
        "import importlib, trainer\n"
        "from ultralytics.nn import tasks\n"
        "from trainer.ultralytics_bridge import registration\n"
        "trainer._autoregister.install()\n"
        "importlib.reload(registration)\n"
        "found['is_ours'] = tasks.frozenset is registration._frozenset\n"
        "found['plain'] = sorted(tasks.frozenset({1, 2})) + sorted(tasks.frozenset())",
        tmp_path,
    )
    assert found["is_ours"]
    assert found["plain"] == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        "tasks.parse_model = lambda d, ch, verbose: 1 / 0",
        "tasks.make_divisible = lambda channels, divisor: 8",
    ],
)
def test_a_parser_that_builds_something_else_is_refused_with_both_versions(change, tmp_path):
    found = run(
        "import ultralytics\n"
        "from ultralytics.nn import tasks\n"
        "ultralytics.__version__ = '9.9.9'\n"
        f"{change}\n"
        "try:\n"
        "    import trainer\n"
        "except Exception as error:\n"
        "    found['message'] = f'{type(error).__name__}: {error}'",
        tmp_path,
    )
    assert found["message"].startswith("UnsupportedUltralyticsError")
    assert "9.9.9" in found["message"]
    assert "8.4.190" in found["message"]
