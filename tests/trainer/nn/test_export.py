"""The scan in plain operations, and SS2D in tracers, exporters and onnxruntime."""

import io
import math
from collections.abc import Callable

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from trainer.nn import SS2D
from trainer.nn.selective_scan import _segmented, selective_scan_reference
from trainer.nn.selective_scan._exportable import exportable_scan
from trainer.nn.selective_scan._problem import CROSS, Path, Scan, Ways

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript:DeprecationWarning"),
]

LENGTHS = [1, 2, 63, 64, 65, 400, 1600]


def random_scan(length, *, inputs, batch=2, groups=4, channels=3, states=4, seed=0) -> Scan:
    g = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=g)

    return Scan(
        u=random(batch, length, inputs, channels),
        delta=random(batch, length, groups, channels),
        A=-torch.exp(random(groups, channels, states)),
        B=random(batch, length, groups, states),
        C=random(batch, length, groups, states),
        D=random(groups, channels),
        bias=random(groups, channels),
    )


def exported_form(scan: Scan) -> Tensor:
    """Scan a plain sequence: (B, L, K, D)."""
    return exportable_scan(scan, Ways(scan.u.shape[1], (Path.ROWS,) * scan.delta.shape[2]))


def reference(scan: Scan) -> Tensor:
    """Scan with the loop in float64: (B, L, K, D)."""
    u, delta, A, B, C, D, bias = (x.double() for x in scan)
    rows = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (u, delta))
    groups = (x.permute(0, 2, 3, 1) for x in (B, C))
    y = selective_scan_reference(*rows, A.flatten(0, 1), *groups, D.flatten(), bias.flatten())
    return y.unflatten(1, D.shape).permute(0, 3, 1, 2)


def relative_error(got, expected) -> float:
    """Return the largest error of an array or tensor as a share of its largest entry."""
    got, expected = (torch.as_tensor(x).double() for x in (got, expected))
    return ((got - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


@pytest.mark.parametrize("length", LENGTHS)
def test_sequences_of_any_length_match_the_reference(length):
    scan = random_scan(length, inputs=4)
    assert relative_error(exported_form(scan), reference(scan)) < 1e-6


def test_in_float64_only_rounding_is_left():
    scan = Scan(*(x.double() for x in random_scan(400, inputs=4)))
    assert relative_error(exported_form(scan), reference(scan)) < 1e-13


@pytest.mark.parametrize(("height", "width"), [(1, 9), (9, 1), (5, 7), (8, 8), (12, 20), (40, 40)])
def test_the_four_paths_over_a_map_match_plain_torch(height, width):
    scan, ways = random_scan(height * width, inputs=1), Ways(width, CROSS)
    expected, _ = _segmented.forward(scan, ways, save_states=False)
    assert relative_error(exportable_scan(scan, ways), expected) < 1e-6


@pytest.mark.parametrize("delta", [-1000.0, -100.0, 60.0, 1000.0])
@pytest.mark.parametrize("rate", [-100.0, -1.0, -1e-6])
def test_extreme_steps_and_rates_match_the_reference(delta, rate):
    scan = random_scan(200, inputs=4)
    scan.delta.fill_(delta)
    scan.A.fill_(rate)
    got = exported_form(scan)
    assert got.isfinite().all()
    assert relative_error(got, reference(scan)) < 1e-5


def test_states_that_decay_slowly_reach_from_the_first_lane_to_the_last():
    scan = random_scan(1600, inputs=4)
    scan.A.fill_(-1e-4)
    scan.u[:, 64:] = 0
    tail = (slice(None), slice(-64, None))
    assert reference(scan)[tail].abs().max() > 1
    assert relative_error(exported_form(scan)[tail], reference(scan)[tail]) < 1e-5


def test_nan_spreads_along_its_own_channel_from_its_token_on():
    scan = random_scan(200, inputs=4)
    scan.delta[1, 70, 2, 1] = torch.nan
    expected = torch.zeros(2, 200, 4, 3, dtype=torch.bool)
    expected[1, 70:, 2, 1] = True
    assert torch.equal(exported_form(scan).isnan(), expected)


HEIGHT, WIDTH = 12, 20
SMALLER_OR_TURNED = [(3, 12, 20), (1, 20, 12), (2, 6, 20), (2, 12, 10), (1, 4, 4), (1, 13, 18)]


@pytest.fixture(scope="module")
def ss2d() -> SS2D:
    """Make an SS2D with decays of many speeds."""
    torch.manual_seed(0)
    module = SS2D(8).eval().requires_grad_(False)
    torch.nn.init.normal_(module.A_logs)
    return module


def to_onnx(module: SS2D, height: int, width: int, *, dynamic: bool) -> bytes:
    """Export with the exporter that ultralytics uses."""
    file = io.BytesIO()
    torch.onnx.export(
        module,
        (torch.randn(1, 8, height, width),),
        file,
        dynamo=False,
        opset_version=18,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch", 2: "height", 3: "width"}} if dynamic else None,
    )
    return file.getvalue()


def session_of(file: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors that tests provoke are raised as exceptions too
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def runtimes(ss2d) -> dict[str, Callable[[Tensor], Tensor]]:
    """Trace and export an SS2D with one map of HEIGHT and WIDTH."""
    session = session_of(to_onnx(ss2d, HEIGHT, WIDTH, dynamic=True))
    return {
        "TorchScript": torch.jit.trace(ss2d, torch.randn(1, 8, HEIGHT, WIDTH)),
        "onnxruntime": lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0]),
    }


@pytest.mark.parametrize("runtime", ["TorchScript", "onnxruntime"])
@pytest.mark.parametrize(("batch", "height", "width"), SMALLER_OR_TURNED)
def test_maps_with_no_more_pixels_than_traced_come_out_right(ss2d, runtimes, runtime, batch, height, width):
    x = torch.randn(batch, 8, height, width)
    assert relative_error(runtimes[runtime](x), ss2d(x)) < 1e-5


@pytest.mark.parametrize("runtime", ["TorchScript", "onnxruntime"])
def test_maps_larger_than_the_doubling_steps_reach_end_in_an_index_error(runtimes, runtime):
    with pytest.raises(Exception, match=r"index 4 out of range|indices element out of data bounds, idx=4 "):
        runtimes[runtime](torch.randn(1, 8, 13, 21))


def test_onnx_graph_has_plain_operations_only_and_neither_its_size_nor_its_constants_grow_with_the_map(ss2d):
    largest_weight = max(p.numel() for p in ss2d.parameters())
    num_nodes = {}
    for size in (40, 80):
        graph = onnx.load_model_from_string(to_onnx(ss2d, size, size, dynamic=False)).graph
        assert {node.domain for node in graph.node} == {""}
        assert not {node.op_type for node in graph.node} & {"If", "Loop", "Scan"}
        assert max(math.prod(constant.dims) for constant in graph.initializer) <= largest_weight
        num_nodes[size] = len(graph.node)
    assert num_nodes[80] - num_nodes[40] < 100  # two more doublings


def test_export_by_torch_gives_plain_operations_and_the_same_numbers(ss2d):
    x = torch.randn(2, 8, 9, 8)
    program = torch.export.export(ss2d, (x,))
    assert not [node for node in program.graph.nodes if "mamba_yolo" in str(node.target)]
    assert relative_error(program.module()(x), ss2d(x)) < 1e-5
