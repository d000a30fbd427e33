"""mamba-ssm's kernels as a selective scan, and our formula against mamba-ssm's own values (tests/data/mamba_ssm).

The extension needs a GPU. In its place stands `StandIn`, which takes and returns what the C++ does, to the
type, stride and order, and raises where the C++ would; what it computes comes from our reference in float64.
"""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nn import SS2D
from trainer.nn.selective_scan import (
    _backends,
    _mamba_ssm,
    cross_selective_scan,
    selective_scan,
    selective_scan_reference,
)
from trainer.nn.selective_scan._operator import scan_operator
from trainer.nn.selective_scan._problem import CROSS, Scan, Ways
from trainer.nn.selective_scan._problem import Path as ScanPath

VALUES = Path(__file__).parents[2] / "data" / "mamba_ssm"
CASES = sorted(file.stem for file in VALUES.glob("*.npz"))
NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias")
CUDA = torch.device("cuda")


class StandIn:
    """`selective_scan_cuda` of mamba-ssm 2.3.2 on the CPU, as csrc/selective_scan/selective_scan.cpp reads.

    It lacks the gate z, complex A, and B or C that are constant along the sequence. All arguments are
    positional there too.
    """

    CHUNK_LENGTH = 2048

    def fwd(self, u, delta, A, B, C, D, z, delta_bias, delta_softplus, /):
        self._check(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        y = selective_scan_reference(u, delta, A, B, C, D, delta_bias)
        return [y.to(delta.dtype), self._states(u, delta, A, B, delta_bias)]

    def bwd(
        self, u, delta, A, B, C, D, z, delta_bias, dout, x, out, dz, delta_softplus, recompute_out_z, /
    ):  # fmt: skip
        self._check(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        assert out is None
        assert dz is None
        assert recompute_out_z is False
        raise_unless(dout.dtype == u.dtype, "dout.scalar_type() == input_type")
        raise_unless(is_last_stride_one(dout), "dout.stride(-1) == 1 || dout.size(-1) == 1")
        raise_unless(dout.shape == u.shape, "dout must have shape (batch_size, dim, seqlen)")
        raise_unless(x.dtype == A.dtype, "x.scalar_type() == weight_type")
        raise_unless(x.is_contiguous(), "x.is_contiguous()")
        states = self._states(u, delta, A, B, delta_bias)
        raise_unless(x.shape == states.shape, "x must have shape (batch_size, dim, n_chunks, 2 * dstate)")
        assert torch.equal(x, states), "these are not the states that fwd returned for these inputs"

        tensors = (u, delta, A, B, C, D, delta_bias)
        # In its own thread, because there is no autograd inside an operator.
        with ThreadPoolExecutor(1) as thread:
            gradients = thread.submit(reference_gradients, tensors, dout).result()
        return [gradient.to(x.dtype) for gradient, x in zip(gradients, tensors, strict=True)]

    def _check(self, u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        assert z is None
        assert delta_softplus is True
        raise_unless(u.dtype in (torch.float32, torch.float16, torch.bfloat16), "input_type")
        raise_unless(A.dtype == torch.float32, "weight_type")
        for name, x in {"delta": delta, "B": B, "C": C}.items():
            raise_unless(x.dtype == u.dtype, f"{name}.scalar_type() == input_type")
        for name, x in {"u": u, "delta": delta, "B": B, "C": C, "D": D, "delta_bias": delta_bias}.items():
            raise_unless(is_last_stride_one(x), f"{name}.stride(-1) == 1 || {name}.size(-1) == 1")
        batch, dim, length = u.shape
        states, groups = A.shape[1], B.shape[1]
        raise_unless(states <= 256, "selective_scan only supports state dimension <= 256")
        raise_unless(delta.shape == u.shape, "delta must have shape (batch_size, dim, seqlen)")
        raise_unless(A.shape == (dim, states), "A must have shape (dim, dstate)")
        for name, x in {"B": B, "C": C}.items():
            raise_unless(x.shape == (batch, groups, states, length), f"{name} must have shape (B, G, N, L)")
        for name, x in {"D": D, "delta_bias": delta_bias}.items():
            raise_unless(x.dtype == torch.float32, f"{name}.scalar_type() == at::ScalarType::Float")
            raise_unless(x.shape == (dim,), f"{name} must have shape (dim)")

    def _states(self, u, delta, A, B, delta_bias):
        """Return the decay since the first token and the state, alternating, after the last token of each chunk."""
        length, num_states = u.shape[2], A.shape[1]
        ends = [min(end, length) - 1 for end in range(self.CHUNK_LENGTH, length + self.CHUNK_LENGTH, self.CHUNK_LENGTH)]
        # If C selects one state, the output is this state.
        picks = torch.eye(num_states)[:, None, None, :, None].expand(-1, *B.shape)
        h = [selective_scan_reference(u, delta, A, B, pick, None, delta_bias)[..., ends] for pick in picks]
        elapsed = F.softplus(delta.double() + delta_bias.double()[:, None]).cumsum(-1)[..., ends]
        decay = torch.exp(elapsed[..., None] * A.double()[:, None])  # (B, K*D, chunks, N)
        return torch.stack([decay, torch.stack(h, dim=-1)], dim=-1).flatten(-2).float()


def raise_unless(holds: bool, rule: str) -> None:
    if not holds:
        raise RuntimeError(f"Expected {rule} to be true, but got false.")


def reference_gradients(tensors, gy: Tensor) -> tuple[Tensor, ...]:
    exact = [x.detach().double().requires_grad_() for x in tensors]
    return torch.autograd.grad(selective_scan_reference(*exact), exact, gy.double())


def is_last_stride_one(x: Tensor) -> bool:
    return x.stride(-1) == 1 or x.shape[-1] == 1


@pytest.fixture
def stand_in(monkeypatch) -> StandIn:
    """Imitate the extension as far as Python sees it."""
    extension = StandIn()
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", extension)
    return extension


@pytest.fixture
def on_cpu(stand_in, monkeypatch):
    """Let the package choose mamba_ssm on a CPU: use its answer for CUDA, with the stand-in, for all devices."""
    answer = _mamba_ssm.why_not(CUDA)
    monkeypatch.setattr(_mamba_ssm, "why_not", lambda device: answer)
    _backends._why_not.cache_clear()
    yield
    _backends._why_not.cache_clear()


def random_scan(batch=2, height=5, width=7, inputs=1, channels=3, states=4, seed=0) -> Scan:
    g = torch.Generator().manual_seed(seed)
    groups, length = len(CROSS), height * width
    return Scan(
        u=torch.randn(batch, length, inputs, channels, generator=g),
        delta=torch.randn(batch, length, groups, channels, generator=g),
        A=-torch.exp(torch.randn(groups, channels, states, generator=g)),
        B=torch.randn(batch, length, groups, states, generator=g),
        C=torch.randn(batch, length, groups, states, generator=g),
        D=torch.randn(groups, channels, generator=g),
        bias=torch.randn(groups, channels, generator=g),
    )


def assert_same(got, expected, names, tolerance):
    for name, value, right in zip(names, got, expected, strict=True):
        assert value.shape == right.shape, name
        error = (value.double() - right.double()).abs().max() / right.abs().max().clamp_min(1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


# Against mamba-ssm's own function


def values(case: str) -> dict[str, Tensor]:
    with np.load(VALUES / f"{case}.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def assert_gives_the_values(case: str, backend: str, dtype: torch.dtype, tolerance: float):
    arrays = values(case)
    tensors = [arrays[name].to(dtype).requires_grad_() for name in NAMES]
    y = selective_scan(*tensors, backend=backend)
    gradients = torch.autograd.grad(y, tensors, arrays["gy"].to(dtype))
    expected = [arrays["y"], *(arrays[f"gradient/{name}"] for name in NAMES)]
    assert_same([y.detach(), *gradients], expected, ("y", *NAMES), tolerance)


def test_values_cover_one_and_four_groups_and_one_eight_and_sixteen_states():
    shapes = [values(case)["B"].shape for case in CASES]
    assert {groups for _, groups, _, _ in shapes} == {1, 4}
    assert {states for _, _, states, _ in shapes} == {1, 8, 16}


@pytest.mark.parametrize("case", CASES)
def test_through_the_extension_output_and_gradients_are_those_of_mamba_ssms_reference(case, on_cpu):
    assert_gives_the_values(case, "mamba_ssm", torch.float32, 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_our_formula_is_that_of_mamba_ssms_reference(case):
    assert_gives_the_values(case, "torch", torch.float64, 1e-12)


@pytest.mark.parametrize("case", CASES)
def test_our_formula_in_float32_is_that_of_mamba_ssms_reference(case):
    assert_gives_the_values(case, "torch", torch.float32, 2e-6)


@pytest.mark.parametrize("groups", [1, 4])
def test_installed_reference_of_mamba_ssm_gives_the_same(groups):
    interface = pytest.importorskip(
        "mamba_ssm.ops.selective_scan_interface",
        reason="mamba_ssm cannot be imported here; the saved values stand for it",
        exc_type=ImportError,
    )
    g = torch.Generator().manual_seed(0)
    rows = groups * 2
    u, delta = (torch.randn(2, rows, 21, generator=g) for _ in range(2))
    A = -torch.exp(torch.randn(rows, 8, generator=g))
    B, C = (torch.randn(2, groups, 8, 21, generator=g) for _ in range(2))
    D, bias = (torch.randn(rows, generator=g) for _ in range(2))
    expected = interface.selective_scan_ref(u, delta, A, B, C, D, delta_bias=bias, delta_softplus=True)
    assert_same([selective_scan(u, delta, A, B, C, D, bias, backend="torch")], [expected], ["y"], 1e-5)


# Inputs of the extension, and the use of its outputs


@pytest.mark.parametrize(("inputs", "paths"), [(1, CROSS), (4, CROSS), (4, (ScanPath.ROWS,) * 4), (4, CROSS[::-1])])
def test_maps_are_walked_along_their_paths_as_by_plain_torch(stand_in, inputs, paths):
    scan = random_scan(inputs=inputs)
    ways = Ways(7, paths)
    gy = torch.randn(scan.u.shape, generator=torch.Generator().manual_seed(1))
    got, expected = (_backends._results(x, gy, scan, ways) for x in (_mamba_ssm, _backends.named("torch")))
    assert_same(got, expected, ("y", *Scan._fields), 2e-6)


def test_four_paths_over_one_map_and_their_gradients_are_those_of_plain_torch(on_cpu):
    scan = random_scan()

    def y_and_gradients(backend):
        tensors = [x.unflatten(1, (5, 7)) if x.shape[1] == 35 else x for x in scan]
        tensors = [x.clone().requires_grad_() for x in (tensors[0].squeeze(3), *tensors[1:])]
        y = cross_selective_scan(*tensors, backend=backend)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), tensors)]

    assert_same(y_and_gradients("mamba_ssm"), y_and_gradients("torch"), ("y", *NAMES), 2e-6)


def test_ss2d_learns_through_the_extension_as_through_plain_torch(on_cpu, monkeypatch):
    torch.manual_seed(0)
    module, x = SS2D(8), torch.randn(2, 8, 5, 3)

    def gradients(backend):
        monkeypatch.setenv("MAMBA_YOLO_SCAN", backend)
        return torch.autograd.grad(module(x).square().sum(), list(module.parameters()))

    names = [name for name, _ in module.named_parameters()]
    assert_same(gradients("mamba_ssm"), gradients("torch"), names, 1e-5)


def test_strided_tensors_are_made_contiguous(stand_in):
    scan = random_scan(inputs=4)
    strided = Scan(*(x.repeat_interleave(2, dim=-1)[..., ::2] for x in scan))
    assert not any(x.is_contiguous() for x in strided)
    ways = Ways(35, (ScanPath.ROWS,) * 4)
    got, expected = (_backends._results(_mamba_ssm, scan.u, x, ways) for x in (strided, scan))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_inputs_of_mixed_types_are_computed_in_float32_and_get_gradients_of_their_own_types(half, on_cpu):
    arrays = values("four_groups_eight_states")
    dtypes = dict.fromkeys(NAMES, torch.float32) | {"u": half, "B": half, "D": half}
    tensors = [arrays[name].to(dtypes[name]).requires_grad_() for name in NAMES]
    y = selective_scan(*tensors, backend="mamba_ssm")
    assert y.dtype == torch.float32
    gradients = torch.autograd.grad(y, tensors, arrays["gy"])
    assert [x.dtype for x in gradients] == [dtypes[name] for name in NAMES]

    exact = [x.detach().double().requires_grad_() for x in tensors]
    expected = selective_scan_reference(*exact)
    assert_same([y.detach()], [expected.detach()], ["y"], 1e-6)
    right = torch.autograd.grad(expected, exact, arrays["gy"].double())
    for name, value, reference in zip(NAMES, gradients, right, strict=True):
        assert_same([value], [reference], [name], torch.finfo(dtypes[name]).eps if dtypes[name] == half else 1e-6)


@pytest.mark.parametrize(("length", "chunks"), [(1, 1), (2047, 1), (2048, 1), (2049, 2), (4097, 3)])
def test_states_of_every_2048_tokens_are_kept_and_handed_back(stand_in, length, chunks):
    scan = random_scan(batch=1, height=1, width=length, channels=1, states=2)
    ways = Ways(length, CROSS)
    assert _mamba_ssm.states_shape(scan) == (1, 4, chunks, 4)
    _, states = _mamba_ssm.forward(scan, ways, save_states=True)
    assert states.shape == _mamba_ssm.states_shape(scan)
    assert states.dtype == torch.float32
    _mamba_ssm.backward(scan.u, scan, ways, states)  # the stand-in refuses all other states


def test_no_states_are_kept_without_need(stand_in):
    scan = random_scan()
    _, states = _mamba_ssm.forward(scan, Ways(7, CROSS), save_states=False)
    assert states.numel() == 0


@pytest.mark.parametrize("paths", [CROSS, (ScanPath.ROWS,) * 4])
def test_the_operator_keeps_its_promises_with_this_implementation(stand_in, paths):
    scan = random_scan(inputs=4)
    tensors = [x.requires_grad_() for x in scan]
    torch.library.opcheck(scan_operator, (*tensors, None, 7, list(paths), True, "mamba_ssm"))


def test_more_than_256_states_are_refused(stand_in):
    scan = random_scan(height=1, width=1, channels=1, states=257)
    with pytest.raises(RuntimeError, match="256"):
        _mamba_ssm.forward(scan, Ways(1, CROSS), save_states=False)


def test_the_check_at_start_up_accepts_it(stand_in):
    assert _backends._disagreement(_mamba_ssm, torch.device("cpu")) is None


@pytest.mark.parametrize("wrong", [1, 3, 7])
def test_the_check_at_start_up_notices_a_wrong_gradient(stand_in, wrong):
    scale = [1.01 if i == wrong - 1 else 1 for i in range(7)]
    right = stand_in.bwd
    stand_in.bwd = lambda *args: [gradient * by for gradient, by in zip(right(*args), scale, strict=True)]
    assert "has a relative error of" in _backends._disagreement(_mamba_ssm, torch.device("cpu"))


# Determinism


@pytest.fixture
def deterministic():
    """Set torch to deterministic algorithms; call with `warn_only`."""
    yield torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms(False)


def backward_of_a_small_scan():
    scan, ways = random_scan(), Ways(7, CROSS)
    return _backends._results(_mamba_ssm, scan.u, scan, ways)


def test_backward_is_refused_where_only_deterministic_algorithms_are_allowed(stand_in, deterministic):
    deterministic(True)
    with pytest.raises(RuntimeError, match="not deterministic"):
        backward_of_a_small_scan()


def test_backward_warns_where_deterministic_algorithms_are_preferred(stand_in, deterministic):
    deterministic(True, warn_only=True)
    with pytest.warns(UserWarning, match="not deterministic"):
        backward_of_a_small_scan()


def test_backward_is_silent_otherwise(stand_in):
    with warnings.catch_warnings(action="error"):
        backward_of_a_small_scan()


def test_another_implementation_is_chosen_where_only_deterministic_algorithms_are_allowed(on_cpu, deterministic):
    assert _backends._why_not("mamba_ssm", torch.device("cpu")) is None
    _backends._why_not.cache_clear()
    deterministic(True)
    assert "not deterministic" in _backends._why_not("mamba_ssm", torch.device("cpu"))


# Reasons not to run


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a `selective_scan_cuda` from its source, or as a shared library from its bytes."""

    def install(content: str | bytes) -> None:
        if isinstance(content, bytes):
            (tmp_path / "selective_scan_cuda.so").write_bytes(content)
        else:
            (tmp_path / "selective_scan_cuda.py").write_text(content)

    monkeypatch.delitem(sys.modules, "selective_scan_cuda", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield install
    sys.modules.pop("selective_scan_cuda", None)


def test_the_extension_with_both_functions_is_accepted(installed):
    installed("def fwd(): ...\ndef bwd(): ...")
    assert _mamba_ssm.why_not(CUDA) is None


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_devices_other_than_cuda_are_refused_even_with_the_extension(installed, device):
    installed("def fwd(): ...\ndef bwd(): ...")
    assert "CUDA devices only" in _mamba_ssm.why_not(torch.device(device))


def test_a_missing_extension_is_said_to_be_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", None)  # import then finds no such module
    assert "is not installed" in _mamba_ssm.why_not(CUDA)


@pytest.mark.parametrize(
    "error",
    [
        "ImportError('undefined symbol: _ZN3c104cuda29c10_cuda_check_implementation\\nmore')",
        "OSError('libcudart.so.12: cannot open shared object file')",
        "RuntimeError('the NVIDIA driver is too old')",
        "ImportError()",
    ],
)
def test_an_extension_that_raises_when_imported_is_said_to_be_built_for_another_torch(installed, error):
    installed(f"raise {error}")
    reason = _mamba_ssm.why_not(CUDA)
    assert "cannot be loaded" in reason
    assert "built for another torch" in reason
    assert "\n" not in reason
    message = error.partition("(")[2].strip("')").partition("\\n")[0]
    assert (message or "ImportError") in reason


def test_a_library_that_the_loader_refuses_is_said_not_to_load(installed):
    installed(b"not a shared library")
    assert "cannot be loaded" in _mamba_ssm.why_not(CUDA)


@pytest.mark.parametrize(("source", "missing"), [("fwd = print", "no bwd"), ("x = 1", "no fwd and no bwd")])
def test_a_module_of_the_same_name_without_the_functions_is_refused(installed, source, missing):
    installed(source)
    assert missing in _mamba_ssm.why_not(CUDA)


def test_every_reason_names_the_remedy(installed):
    for source in ("raise ImportError", "x = 1"):
        installed(source)
        assert "docs/performance.md" in _mamba_ssm.why_not(CUDA)
        sys.modules.pop("selective_scan_cuda", None)


# The real extension


@pytest.mark.skipif(
    not torch.cuda.is_available() or _mamba_ssm.why_not(CUDA) is not None, reason="no GPU, or no mamba-ssm for it"
)
@pytest.mark.parametrize("length", [1, 400, 2048, 2049, 6400])
def test_the_real_extension_gives_the_reference(length):
    cpu = random_scan(height=1, width=length, channels=8, states=16)
    ways = Ways(length, CROSS)
    scan = Scan(*(x.to(CUDA) for x in cpu))
    exact = Scan(*(x.double() for x in cpu))
    got = _backends._results(_mamba_ssm, scan.u, scan, ways)
    expected = _backends._results(_backends.named("torch"), exact.u, exact, ways)
    assert_same([x.cpu() for x in got], expected, ("y", *Scan._fields), 1e-4)
