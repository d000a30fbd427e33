"""Whole models through `YOLO.export`: the exported files against their checkpoint."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics import YOLO  # noqa: E402 - only after the environment is set

from trainer.models import model_yaml  # noqa: E402

HEIGHT, WIDTH = 32, 64
TOLERANCE = 1e-4

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning"),
]


def checkpoint_of(name: str, folder: Path) -> Path:
    """Make a model unlike a fresh one: decays of many speeds, uneven norms, small boxes and confident scores."""
    torch.manual_seed(0)
    model = YOLO(model_yaml(name))
    for key, parameter in model.model.named_parameters():
        if key.endswith("A_logs"):
            torch.nn.init.normal_(parameter)
    for module in model.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    head = model.model.model[-1]
    for boxes, scores in zip(head.cv2, head.cv3, strict=True):
        boxes[-1].bias.data = -torch.arange(float(head.reg_max)).repeat(4)  # distances from 0 up, near ones more likely
        torch.nn.init.normal_(scores[-1].bias, mean=-2.0)
    model.save(folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return checkpoint_of("mamba-yolo-n", tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="module")
def onnx_file(checkpoint) -> Path:
    """Export as `yolo export format=onnx` does: simplified, one size."""
    return Path(YOLO(checkpoint).export(format="onnx", imgsz=(HEIGHT, WIDTH), device="cpu"))


@pytest.fixture(scope="module")
def torchscript_file(checkpoint) -> Path:
    return Path(YOLO(checkpoint).export(format="torchscript", imgsz=(HEIGHT, WIDTH), device="cpu"))


def renamed(file: str, name: str) -> Path:
    """Rename the file, because the next export uses the name of the checkpoint again."""
    return Path(file).rename(Path(file).with_name(name))


def head_output(checkpoint: Path, images: torch.Tensor) -> np.ndarray:
    """Return the output (B, 4 + classes, anchors): boxes in pixels, scores from 0 to 1."""
    with torch.inference_mode():
        return YOLO(checkpoint).model.eval().float()(images)[0].numpy()


def onnx_output(file: Path, images: torch.Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors that tests provoke are raised as exceptions too
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]


def assert_same_detections(got: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE):
    assert got.shape == expected.shape
    assert np.ptp(expected[:, 4:]) > 0.5, "scores that are all the same would prove nothing"
    boxes, scores = (np.abs(got - expected)[:, part].max() for part in (slice(0, 4), slice(4, None)))
    assert boxes <= tolerance * WIDTH
    assert scores <= tolerance


def random_images(batch: int = 1, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_onnx_file_gives_the_output_of_the_checkpoint(checkpoint, onnx_file):
    images = random_images()
    assert_same_detections(onnx_output(onnx_file, images), head_output(checkpoint, images))


def test_onnx_file_holds_plain_operations_and_little_besides_the_weights(checkpoint, onnx_file):
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {""}
    weights_bytes = sum(4 * p.numel() for p in YOLO(checkpoint).model.parameters())
    assert onnx_file.stat().st_size < weights_bytes + 2 * 2**20


def test_torchscript_file_runs_where_this_package_does_not_exist(checkpoint, torchscript_file, tmp_path):
    images = random_images()
    np.save(tmp_path / "images.npy", images.numpy())
    code = (
        "import sys; sys.modules['trainer'] = None\n"
        "import numpy, torch\n"
        "model = torch.jit.load(sys.argv[1])\n"
        "numpy.save('output.npy', model(torch.from_numpy(numpy.load('images.npy'))).numpy())\n"
    )
    subprocess.run([sys.executable, "-S", "-c", _with_site_packages(code), torchscript_file], cwd=tmp_path, check=True)
    assert_same_detections(np.load(tmp_path / "output.npy"), head_output(checkpoint, images))


def _with_site_packages(code: str) -> str:
    """Set the path of code that runs without `site`, and thus without the hook that this project installs there."""
    return f"import sys; sys.path[:] = {[path for path in sys.path if 'site-packages' in path] + sys.path!r}\n{code}"


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_boxes_predicted_on_an_image_are_those_of_the_checkpoint(request, checkpoint, data_yaml, kind):
    file = request.getfixturevalue(f"{kind}_file")
    image = cv2.imread(str(next((data_yaml.parent / "images" / "val").iterdir())))
    image = cv2.resize(image, (WIDTH, HEIGHT))  # of exactly the size that the file takes

    def boxes(model: Path) -> torch.Tensor:
        found = YOLO(model, task="detect").predict(image, imgsz=(HEIGHT, WIDTH), conf=0.4, verbose=False)
        return found[0].boxes.data

    expected = boxes(checkpoint)
    assert len(expected) > 10
    assert torch.allclose(boxes(file), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_dynamic_export_takes_batches_and_sizes_up_to_its_own_and_refuses_larger_ones(checkpoint):
    exported = YOLO(checkpoint).export(format="onnx", imgsz=(HEIGHT, WIDTH), dynamic=True, simplify=False, device="cpu")
    file = renamed(exported, "dynamic.onnx")
    for images in (random_images(2), random_images(1, WIDTH, HEIGHT), random_images(3, 32, 32)):
        assert_same_detections(onnx_output(file, images), head_output(checkpoint, images))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="out of data bounds"):
        onnx_output(file, random_images(1, 4 * HEIGHT, 4 * WIDTH))


@pytest.mark.slow
def test_tiny_model_at_640_pixels(tmp_path):
    checkpoint = checkpoint_of("mamba-yolo-t", tmp_path)
    images = random_images(1, 640, 640)
    expected = head_output(checkpoint, images)
    file = Path(YOLO(checkpoint).export(format="onnx", imgsz=640, device="cpu"))
    assert_same_detections(onnx_output(file, images), expected)
    assert file.stat().st_size < 30 * 2**20
    script = torch.jit.load(YOLO(checkpoint).export(format="torchscript", imgsz=640, device="cpu"))
    with torch.inference_mode():
        assert_same_detections(script(images).numpy(), expected)
