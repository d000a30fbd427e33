"""The selective scan: every implementation against the loop in float64."""

from functools import cache

import pytest
import torch
from torch import Tensor

from trainer.nn.selective_scan import (
    _segmented,
    cross_selective_scan,
    selective_scan,
    selective_scan_reference,
)
from trainer.nn.selective_scan._operator import scan_backward_operator, scan_operator
from trainer.nn.selective_scan._problem import CROSS, Path

BACKENDS = ("native", "torch")
NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    return request.param


def inputs(batch=2, groups=4, channels=3, states=4, length=10, dtype=torch.float32, seed=0) -> list[Tensor]:
    """Make random inputs like Mamba-YOLO's initialisation, but with various A: (u, delta, ..., delta_bias)."""
    g = torch.Generator().manual_seed(seed)
    rows = groups * channels
    u, delta = (torch.randn(batch, rows, length, generator=g) for _ in range(2))
    A = -torch.exp(torch.randn(rows, states, generator=g))
    B, C = (torch.randn(batch, groups, states, length, generator=g) for _ in range(2))
    D, bias = (torch.randn(rows, generator=g) for _ in range(2))
    return [x.to(dtype).requires_grad_() for x in (u, delta, A, B, C, D, bias)]


def output_and_gradients(scan, tensors, weight, **kwargs) -> list[Tensor]:
    y = scan(*tensors, **kwargs)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), tensors, materialize_grads=True)]


def weight_like(x) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def exact(tensors) -> list[Tensor]:
    return [x.detach().double().requires_grad_() for x in tensors]


def assert_close(got, expected, tolerance, names=("y", *NAMES)):
    for name, value, reference in zip(names, got, expected, strict=True):
        error = (value.double() - reference).abs().max() / reference.abs().max().clamp_min(1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


def assert_matches_reference(backend, tensors, tolerance=TOLERANCE[torch.float32]):
    weight = weight_like(tensors[0])
    got = output_and_gradients(selective_scan, tensors, weight, backend=backend)
    assert_close(got, output_and_gradients(selective_scan_reference, exact(tensors), weight.double()), tolerance)


STATES = (1, 8, 16)


@cache
def joint_reference(length: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return inputs of 15 groups of 2 channels, 5 for each of `STATES`, and the loop's output and gradients.

    They share one loop, which is slow at 25,600 tokens. Groups of less than 16 states have zeros for the rest.
    """
    tensors = inputs(batch=1, groups=5 * len(STATES), channels=2, states=max(STATES), length=length)
    with torch.no_grad():
        for i, states in enumerate(STATES):
            for x in tensors[3:5]:
                x[:, 5 * i : 5 * (i + 1), states:] = 0
    return tensors, output_and_gradients(selective_scan_reference, exact(tensors), weight_like(tensors[0]).double())


def cut_out(tensors: list[Tensor], groups: slice, states: int) -> list[Tensor]:
    """Select some groups of (u, delta, A, B, C, D, delta_bias), or of their gradients."""
    rows = slice(2 * groups.start, 2 * groups.stop)
    u, delta, A, B, C, D, bias = tensors
    parts = (
        u[:, rows],
        delta[:, rows],
        A[rows, :states],
        B[:, groups, :states],
        C[:, groups, :states],
        D[rows],
        bias[rows],
    )
    return [x.detach().requires_grad_() for x in parts]


# ---- the formula ----


def test_one_token_is_the_formula_worked_out_by_hand(backend):
    one = torch.ones(1, 1, 1)
    # softplus(log(e - 1)) = 1, so dt = 1: h = u * B = 2 * 3, y = C * h + D * u = 5 * 6 + 7 * 2.
    delta = torch.log(torch.expm1(one))
    y = selective_scan(2 * one, delta, -one[0], 3 * one[None], 5 * one[None], torch.tensor([7.0]), backend=backend)
    assert y.item() == pytest.approx(44)


def test_states_decay_by_exp_of_step_times_rate(backend):
    u = torch.tensor([[[1.0, 0.0, 0.0]]])
    delta = torch.log(torch.expm1(torch.ones(1, 1, 3)))
    ones = torch.ones(1, 1, 1, 3)
    y = selective_scan(u, delta, torch.tensor([[-2.0]]), ones, ones, backend=backend)
    assert torch.allclose(y.flatten(), torch.exp(torch.tensor([0.0, -2.0, -4.0])))


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000, pytest.param(25600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_groups", [1, 4])
@pytest.mark.parametrize("states", STATES)
def test_output_and_all_gradients_match_the_reference(backend, states, num_groups, length):
    tensors, (y, *gradients) = joint_reference(length)
    first = 5 * STATES.index(states) + (num_groups > 1)
    groups = slice(first, first + num_groups)
    rows = slice(2 * groups.start, 2 * groups.stop)
    got = output_and_gradients(
        selective_scan, cut_out(tensors, groups, states), weight_like(tensors[0])[:, rows], backend=backend
    )
    assert_close(got, [y[:, rows], *cut_out(gradients, groups, states)], TOLERANCE[torch.float32])


@pytest.mark.parametrize("channels", [1, 7, 15, 16, 17, 64, 80])
def test_any_number_of_channels_fits_the_lanes_of_a_vector(backend, channels):
    assert_matches_reference(backend, inputs(groups=2, channels=channels, states=5, length=70))


@pytest.mark.parametrize("has_skip", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
def test_skip_and_bias_may_be_left_out(backend, has_skip, has_bias):
    tensors = inputs(length=70)
    D, bias = tensors[5:]
    left_out = {"D": D if has_skip else None, "delta_bias": bias if has_bias else None}
    zeros = [x if is_kept else torch.zeros_like(x) for x, is_kept in ((D, has_skip), (bias, has_bias))]
    y = selective_scan(*tensors[:5], **left_out, backend=backend)
    assert torch.equal(y, selective_scan(*tensors[:5], *zeros, backend=backend))
    expected = selective_scan_reference(*tensors[:5], **left_out)
    assert_close([y.detach()], [expected.detach()], TOLERANCE[torch.float32], names=["y"])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inputs_need_not_be_contiguous(backend, axis):
    tensors = inputs(length=70)
    strided = [x.movedim(min(axis, x.ndim - 1), -1).contiguous().movedim(-1, min(axis, x.ndim - 1)) for x in tensors]
    padded = [torch.cat((x, x), dim=-1)[..., : x.shape[-1]] for x in tensors]
    expected = output_and_gradients(selective_scan, tensors, 1, backend=backend)
    for other in (strided, padded):
        leaves = [x.detach().requires_grad_() for x in other]
        got = output_and_gradients(selective_scan, leaves, 1, backend=backend)
        assert_close(got, [x.double() for x in expected], 1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_cutting_into_blocks_segments_and_lanes_changes_nothing(monkeypatch, seed):
    monkeypatch.setattr(_segmented, "_STATE_NUMEL_CPU", 2 * 4 * 3 * 4)  # two samples a block
    monkeypatch.setattr(_segmented, "_SEGMENT_NUMEL_CPU", 24 * 2 * 4 * 3 * 4)  # 24 tokens a segment
    monkeypatch.setattr(_segmented, "_SMALL_STATE_NUMEL", 8 * 2 * 4 * 3 * 4)  # four lanes of 6 tokens
    assert_matches_reference("torch", inputs(batch=5, length=65, seed=seed))


# ---- maps ----


def walk(height: int, width: int, path: Path) -> list[int]:
    """Return the pixels in the order of a path, counted row by row, independently of the product's code."""
    rows = [y * width + x for y in range(height) for x in range(width)]
    columns = [y * width + x for x in range(width) for y in range(height)]
    return {Path.ROWS: rows, Path.COLUMNS: columns, Path.ROWS_BACKWARDS: rows[::-1]}.get(path, columns[::-1])


def map_inputs(batch, height, width, channels, states, dtype=torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    u = torch.randn(batch, height, width, channels, generator=g)
    delta = torch.randn(batch, height, width, 4, channels, generator=g)
    A = -torch.exp(torch.randn(4, channels, states, generator=g))
    B, C = (torch.randn(batch, height, width, 4, states, generator=g) for _ in range(2))
    D, bias = (torch.randn(4, channels, generator=g) for _ in range(2))
    return [x.to(dtype).requires_grad_() for x in (u, delta, A, B, C, D, bias)]


def cross_reference(u, delta, A, B, C, D, bias) -> Tensor:
    """Scan each path by itself, as a sequence, and add up the results in their places."""
    batch, height, width, channels = u.shape
    total = torch.zeros(batch, height * width, channels, dtype=torch.float64)
    for path in CROSS:
        order = torch.tensor(walk(height, width, path))

        def sequence(x, order=order):
            return x.flatten(1, 2)[:, order].transpose(1, 2)

        y = selective_scan_reference(
            sequence(u),
            sequence(delta[:, :, :, path]),
            A[path],
            sequence(B[:, :, :, path])[:, None],
            sequence(C[:, :, :, path])[:, None],
            D[path],
            bias[path],
        )
        total = total.index_add(1, order, y.transpose(1, 2))
    return total.view(u.shape)


def test_paths_go_along_rows_then_columns_then_both_backwards():
    assert [walk(2, 3, path) for path in CROSS] == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (5, 7), (16, 4), (11, 13)])
@pytest.mark.parametrize("channels", [3, 16])
def test_a_map_is_scanned_along_four_paths_and_the_results_are_added(backend, height, width, channels):
    tensors = map_inputs(2, height, width, channels, 4)
    weight = weight_like(tensors[0])
    got = output_and_gradients(cross_selective_scan, tensors, weight, backend=backend)
    assert_close(got, output_and_gradients(cross_reference, exact(tensors), weight.double()), 1e-5)


def test_coefficients_of_a_map_may_be_slices_of_one_projection(backend):
    tensors = map_inputs(2, 6, 5, 8, 4)
    projected = torch.cat([tensors[3], tensors[4]], dim=-1).detach().requires_grad_()
    B, C = projected.split(4, dim=-1)
    y = cross_selective_scan(*tensors[:3], B, C, *tensors[5:], backend=backend)
    expected = cross_selective_scan(*tensors, backend=backend)
    assert torch.equal(y, expected)
    (got,) = torch.autograd.grad(y.square().sum(), projected)
    wanted = torch.autograd.grad(expected.square().sum(), tensors[3:5])
    assert torch.equal(got, torch.cat(wanted, dim=-1))


def low_rank_of(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Make time steps (B, H, W, 4, R) and their weight (4, D, R), for a map like `delta`."""
    g = torch.Generator().manual_seed(2)
    low_rank = torch.randn(*delta.shape[:-1], rank, generator=g, dtype=delta.dtype)
    weight = torch.randn(delta.shape[-2], delta.shape[-1], rank, generator=g, dtype=delta.dtype)
    return low_rank.requires_grad_(), weight.requires_grad_()


def expanded_first(u, low_rank, A, B, C, D, bias, dt_weight, **options) -> Tensor:
    """Run the same scan with an ordinary product for the time steps, which torch differentiates itself."""
    by_direction = low_rank.flatten(0, 2).transpose(0, 1) @ dt_weight.transpose(1, 2)
    delta = by_direction.transpose(0, 1).view(*low_rank.shape[:4], -1)
    return cross_selective_scan(u, delta, A, B, C, D, bias, **options)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("channels", [8, 32])
def test_low_rank_time_steps_give_the_bits_of_expanded_ones(backend, rank, channels):
    u, delta, *others = map_inputs(2, 5, 7, channels, 4)
    low_rank, dt_weight = low_rank_of(delta, rank)
    tensors, weight = [u, low_rank, *others, dt_weight], weight_like(u)
    got = output_and_gradients(cross_selective_scan, tensors, weight, backend=backend)
    expected = output_and_gradients(expanded_first, tensors, weight, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_expanded_time_steps_are_not_kept_for_backward(backend):
    u, delta, *others = map_inputs(1, 6, 5, 64, 2)
    low_rank, dt_weight = low_rank_of(delta, 2)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        cross_selective_scan(u, low_rank, *others, dt_weight, backend=backend)
    assert kept
    assert all(x.untyped_storage().nbytes() < delta.untyped_storage().nbytes() for x in kept)


# ---- as an operator of torch ----


def operands(dtype=torch.float32, batch=2, height=4, width=3, channels=4, states=2) -> list[Tensor]:
    tensors = map_inputs(batch, height, width, channels, states, dtype)
    tensors[0] = tensors[0].detach().unsqueeze(3).requires_grad_()
    return [x.detach().flatten(1, 2).requires_grad_() if x.ndim == 5 else x for x in tensors]


@pytest.mark.parametrize(("backend", "dtype"), [("native", torch.float32), ("torch", torch.float64)])
@pytest.mark.parametrize("saves", [True, False])
def test_torch_finds_no_fault_with_the_operator(backend, dtype, saves):
    tensors = operands(dtype)
    if not saves:
        tensors = [x.detach() for x in tensors]
    torch.library.opcheck(scan_operator, (*tensors, None, 3, [int(p) for p in CROSS], saves, backend))
    if saves:
        tensors[1], dt_weight = low_rank_of(tensors[1], 2)
        torch.library.opcheck(scan_operator, (*tensors, dt_weight, 3, [int(p) for p in CROSS], saves, backend))


@pytest.mark.parametrize(("backend", "dtype"), [("native", torch.float32), ("torch", torch.float64)])
def test_torch_finds_no_fault_with_the_operator_for_backward(backend, dtype):
    tensors = [x.detach() for x in operands(dtype)]
    paths = [int(p) for p in CROSS]
    y, states = scan_operator(*tensors, None, 3, paths, True, backend)
    torch.library.opcheck(scan_backward_operator, (torch.ones_like(y), *tensors, None, states, 3, paths, backend))
    tensors[1], dt_weight = (x.detach() for x in low_rank_of(tensors[1], 2))
    torch.library.opcheck(scan_backward_operator, (torch.ones_like(y), *tensors, dt_weight, states, 3, paths, backend))


def test_gradients_match_finite_differences():
    tensors = inputs(batch=2, groups=2, channels=2, states=2, length=5, dtype=torch.float64)
    assert torch.autograd.gradcheck(selective_scan, tensors)


def test_gradients_of_a_map_match_finite_differences():
    assert torch.autograd.gradcheck(cross_selective_scan, map_inputs(1, 2, 3, 2, 2, torch.float64))
    u, delta, *others = map_inputs(1, 2, 3, 2, 2, torch.float64)
    low_rank, dt_weight = low_rank_of(delta, 2)
    assert torch.autograd.gradcheck(cross_selective_scan, [u, low_rank, *others, dt_weight])


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_function_gives_the_same_numbers_in_one_graph(backend, compiler):
    tensors = inputs(length=70)
    scan = torch.compile(
        lambda *tensors: 2 * selective_scan(*tensors, backend=backend), fullgraph=True, backend=compiler
    )
    got = output_and_gradients(scan, tensors, 1)
    expected = output_and_gradients(selective_scan, tensors, 2, backend=backend)
    assert_close([got[0] / 2, *got[1:]], [x.double() for x in expected], 1e-6)


def test_compiled_map_with_low_rank_time_steps_gives_the_same_numbers_in_one_graph(backend):
    u, delta, *others = map_inputs(1, 4, 3, 4, 2)
    low_rank, dt_weight = low_rank_of(delta, 2)
    tensors = [u, low_rank, *others, dt_weight]
    scan = torch.compile(
        lambda *tensors: 2 * cross_selective_scan(*tensors, backend=backend), fullgraph=True, backend="aot_eager"
    )
    got = output_and_gradients(scan, tensors, 1)
    expected = output_and_gradients(cross_selective_scan, tensors, 2, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip([got[0] / 2, *got[1:]], expected, strict=True))


def test_backward_twice_gives_the_same_gradients(backend):
    tensors = inputs(length=70)
    y = selective_scan(*tensors, backend=backend).sum()
    first = torch.autograd.grad(y, tensors, retain_graph=True)
    second = torch.autograd.grad(y, tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_inputs_are_left_as_they_were(backend):
    tensors = inputs(length=20)
    before = [x.detach().clone() for x in tensors]
    selective_scan(*tensors, backend=backend).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_number_of_threads_changes_no_bit():
    tensors = inputs(batch=2, channels=40, states=16, length=300)
    before = torch.get_num_threads()
    results = []
    for num_threads in (1, 2, 5):
        torch.set_num_threads(num_threads)
        results.append(output_and_gradients(selective_scan, tensors, 1, backend="native"))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


# ---- numbers at the edge ----


@pytest.mark.parametrize("delta", [-1000.0, -100.0, 60.0, 100.0, 1000.0])
@pytest.mark.parametrize("rate", [-100.0, -1.0, -1e-6])
def test_extreme_steps_and_rates_stay_finite_and_right(backend, delta, rate):
    tensors = inputs(length=130)
    with torch.no_grad():
        tensors[1].fill_(delta)
        tensors[2].fill_(rate)
    y = selective_scan(*tensors, backend=backend)
    gradients = torch.autograd.grad(y.sum(), tensors)
    assert all(x.isfinite().all() for x in (y, *gradients))
    expected = selective_scan_reference(*tensors)
    assert_close([y.detach()], [expected.detach()], TOLERANCE[torch.float32], names=["y"])


def test_steps_of_all_sizes_stay_finite_side_by_side(backend):
    tensors = inputs(channels=16, states=16, length=200)
    with torch.no_grad():
        tensors[1].uniform_(-1000, 1000)
        tensors[2].uniform_(-100, 0)
    assert_matches_reference(backend, tensors)


@pytest.mark.parametrize("name", ["u", "delta"])
def test_nan_spreads_along_its_own_channel_from_its_token_on(backend, name):
    tensors = dict(zip(NAMES, inputs(length=70), strict=True))
    with torch.no_grad():
        tensors[name][1, 5, 30] = torch.nan
    expected = torch.zeros(2, 12, 70, dtype=torch.bool)
    expected[1, 5, 30:] = True
    assert torch.equal(selective_scan(**tensors, backend=backend).isnan(), expected)


@pytest.mark.parametrize("name", ["A", "B", "C", "D", "delta_bias"])
def test_nan_in_a_coefficient_shows_in_the_output(backend, name):
    tensors = dict(zip(NAMES, inputs(length=70), strict=True))
    with torch.no_grad():
        tensors[name].view(-1)[0] = torch.nan
    assert selective_scan(**tensors, backend=backend)[0, 0].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_computed_in_float32(backend, dtype):
    tensors = inputs(length=100, dtype=dtype)
    y = selective_scan(*tensors, backend=backend)
    assert y.dtype == torch.float32
    assert torch.equal(y, selective_scan(*(x.float() for x in tensors), backend=backend))
    assert all(x.dtype == dtype for x in torch.autograd.grad(y.sum(), tensors))
    assert_matches_reference(backend, tensors, TOLERANCE[dtype])


def test_float64_inputs_are_computed_in_float64():
    tensors = inputs(length=50, dtype=torch.float64)
    expected = selective_scan_reference(*tensors)
    assert selective_scan(*tensors).dtype == torch.float64
    assert torch.allclose(selective_scan(*tensors), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(backend, dtype):
    tensors = inputs(length=50)
    expected = output_and_gradients(selective_scan, tensors, 1, backend=backend)
    with torch.autocast("cpu", dtype=dtype):
        got = output_and_gradients(selective_scan, tensors, 1, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


# ---- inputs that do not fit ----


@pytest.mark.parametrize("name", NAMES[1:])
def test_shapes_that_do_not_fit_are_named(name):
    tensors = dict(zip(NAMES, inputs(), strict=True))
    tensors[name] = tensors[name][..., :-1]
    with pytest.raises(ValueError, match="must"):
        selective_scan(**tensors)


def test_no_token_at_all_is_refused():
    tensors = inputs(length=1)
    for i in (0, 1, 3, 4):
        tensors[i] = tensors[i][..., :0]
    with pytest.raises(ValueError, match="at least one token"):
        selective_scan(*tensors)
