"""The numbers of a whole detector: right in float32, finite and falling under autocast, one graph when compiled."""

import pytest
import torch
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import init_seeds

import trainer  # noqa: F401 - registers our modules
from trainer.models import model_yaml

pytestmark = pytest.mark.usefixtures("one_thread")


def nano(num_classes: int = 6) -> DetectionModel:
    torch.manual_seed(0)
    model = DetectionModel(str(model_yaml("mamba-yolo-n")), nc=num_classes, verbose=False)
    model.args = get_cfg()
    return model


def test_float32_gives_what_float64_gives_to_rounding():
    model, exact = nano().eval(), nano().eval().double()
    exact.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 64, 96)
    y, expected = (m(images)[0] for m, images in ((model, x), (exact, x.double())))
    assert y.dtype == torch.float32
    assert (y - expected).abs().max() <= 1e-4 * expected.abs().max()
    gradients, right = (
        torch.autograd.grad(out.square().mean(), [p for p in m.parameters() if p.requires_grad], allow_unused=True)
        for out, m in ((y, model), (expected, exact))
    )
    for (name, _), got, wanted in zip(model.named_parameters(), gradients, right, strict=False):
        if wanted is not None:
            assert (got - wanted).norm() <= 1e-3 * wanted.norm(), name


def test_a_model_compiles_to_one_graph():
    explained = torch._dynamo.explain(nano().train())(torch.rand(2, 3, 64, 64))
    assert explained.graph_break_count == 0
    assert explained.graph_count == 1
    (graph,) = explained.graphs
    assert sum("selective_scan" in str(node.target) for node in graph.graph.nodes) == 8


def test_channels_last_in_memory_changes_no_number():
    model, x = nano().eval(), torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        y, other = (model(images)[0] for images in (x, x.contiguous(memory_format=torch.channels_last)))
    assert torch.allclose(y, other, rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def batches(data_yaml) -> list[dict[str, Tensor]]:
    """Load the tiny sample set in batches of 8, as ultralytics does to train, with the same augmentation every time.

    In 2 of 30 other draws, a fresh model finds so few boxes that its loss starts at a tenth of the usual, and
    rises from there, in float32 as well.
    """
    init_seeds(0)
    cfg = get_cfg(overrides={"imgsz": 64, "mosaic": 0.0, "task": "detect", "workers": 0})
    data = check_det_dataset(str(data_yaml))
    dataset = build_yolo_dataset(cfg, data["train"], 8, data, mode="train", stride=32)
    loader = build_dataloader(dataset, batch=8, workers=0, shuffle=False)
    return [{**batch, "img": batch["img"].float() / 255} for batch in loader]


@pytest.mark.parametrize(
    ("optimizer", "settings", "num_steps", "share"),
    [
        pytest.param(torch.optim.AdamW, {"lr": 0.002}, 40, 0.85, id="AdamW"),
        pytest.param(torch.optim.AdamW, {"lr": 0.002}, 200, 0.7, id="AdamW for long", marks=pytest.mark.slow),
        pytest.param(
            torch.optim.SGD,
            {"lr": 0.01, "momentum": 0.937, "nesterov": True},
            200,
            0.7,
            id="SGD for long",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_steps_under_autocast_stay_finite_and_the_loss_falls(batches, optimizer, settings, num_steps, share):
    """The mean loss of the last tenth of the steps falls to `share` of that of the first tenth."""
    model = nano().train()
    steps = optimizer(model.parameters(), **settings)
    losses = []
    for step in range(num_steps):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = model(batches[step % len(batches)])
        steps.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        steps.step()
        losses.append(loss.detach().sum().item())
    assert torch.tensor(losses).isfinite().all()
    assert all(p.isfinite().all() for p in model.parameters())
    tenth = num_steps // 10
    first, last = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
    assert last < share * first, (first, last)
