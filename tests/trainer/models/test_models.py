"""The shipped model files: exact sizes, strides, and one training step."""

from types import SimpleNamespace

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, parse_model, yaml_model_load

import trainer  # noqa: F401 - registers our modules
from trainer.models import MODEL_NAMES, model_yaml

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS_WITH_PARAMETERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 15, 17, 18, 20, 21)
# fmt: off
PUBLISHED_LAYERS = {  # the published code at 80 classes
    "mamba-yolo-t": (
        5_136, 33_692, 8_384, 104_184, 33_152, 1_067_892, 131_840, 1_301_496, 164_608,
        388_604, 112_312, 36_992, 364_028, 147_712, 1_334_008, 897_664,
    ),
    "mamba-yolo-b": (
        19_488, 104_184, 33_152, 355_964, 131_840, 3_904_488, 525_824, 4_962_812, 656_896,
        1_432_312, 388_604, 147_712, 1_334_008, 590_336, 5_093_372, 2_147_008,
    ),
    "mamba-yolo-l": (
        43_056, 423_552, 74_304, 1_510_656, 296_064, 17_026_560, 886_464, 12_494_592, 831_168,
        4_253_568, 1_168_320, 332_160, 4_106_112, 1_327_872, 9_034_560, 3_822_016,
    ),
}
# fmt: on
TOTALS = {
    "mamba-yolo-n": 1_222_224,
    "mamba-yolo-t": 6_131_704,
    "mamba-yolo-b": 21_828_000,
    "mamba-yolo-l": 57_631_024,
    "mamba-yolo-aaai-t": 5_442_612,
    "mamba-yolo-aaai-b": 19_168_164,
    "mamba-yolo-aaai-l": 49_227_952,
}


def layers(name: str) -> torch.nn.Sequential:
    """Build the model's layers without weights, which takes neither memory nor time."""
    with torch.device("meta"):
        return parse_model(yaml_model_load(model_yaml(name)), ch=3, verbose=False)[0]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def nano() -> DetectionModel:
    torch.manual_seed(0)
    model = DetectionModel(str(model_yaml("mamba-yolo-n")), nc=6, verbose=False)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, epochs=1, cls_pw=0.0)
    return model


def batch(height: int, width: int) -> dict[str, torch.Tensor]:
    """Make two images with one object each."""
    generator = torch.Generator().manual_seed(0)
    return {
        "img": torch.rand(2, 3, height, width, generator=generator),
        "cls": torch.tensor([[0.0], [5.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.3, 0.6, 0.2, 0.2]]),
        "batch_idx": torch.tensor([0.0, 1.0]),
    }


def test_every_shipped_file_has_a_name():
    folder = model_yaml(MODEL_NAMES[0]).parent
    assert {path.stem for path in folder.glob("*.yaml")} == set(MODEL_NAMES)


def test_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"mamba-yolo-n, .*but got 'mamba-yolo-x'"):
        model_yaml("mamba-yolo-x")


@pytest.mark.parametrize("name", PUBLISHED_LAYERS)
def test_every_layer_has_as_many_parameters_as_published(name):
    counts = {i: count(layer) for i, layer in enumerate(layers(name)) if count(layer)}
    assert counts == dict(zip(LAYERS_WITH_PARAMETERS, PUBLISHED_LAYERS[name], strict=True))


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_total_number_of_parameters(name):
    model = layers(name)
    assert len(model) == 22
    assert count(model) == TOTALS[name]


@pytest.mark.parametrize("name", ["mamba-yolo-n", "mamba-yolo-t", "mamba-yolo-aaai-t"])
def test_strides_are_8_16_32_and_building_warns_of_nothing(name, caplog):
    model = DetectionModel(str(model_yaml(name)), verbose=False)
    assert model.stride.tolist() == [8, 16, 32]
    assert not caplog.records


@pytest.mark.parametrize(("height", "width"), [(96, 64), (64, 96), (32, 32)])
def test_any_multiple_of_32_is_an_image_size(nano, height, width):
    with torch.no_grad():
        predictions = nano.eval()(torch.rand(1, 3, height, width))[0]
    assert predictions.shape == (1, 4 + 6, sum(height * width // s**2 for s in (8, 16, 32)))
    assert predictions.isfinite().all()


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_one_training_step_gives_every_parameter_a_finite_gradient(nano, dtype):
    nano.train().zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        loss, _ = nano.loss(batch(96, 64))
    loss.sum().backward()
    trained = {name: p for name, p in nano.named_parameters() if p.requires_grad}
    assert loss.isfinite().all()
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_prediction_is_finite(nano, dtype):
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        assert nano.eval()(torch.rand(1, 3, 64, 96))[0].isfinite().all()
