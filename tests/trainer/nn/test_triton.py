"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for GPUs that are absent."""

import importlib.util
import os
import re
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

triton = pytest.importorskip("triton")
pytest.importorskip("triton.experimental.gluon")  # the first launch imports it and rejects a replaced library

import triton.language as tl  # noqa: E402
from triton.runtime import interpreter as triton_interpreter  # noqa: E402

from tests.support.triton_ahead import compiled, launches_of_a_step, machine_code, noted_launches, source_of  # noqa: E402
from trainer.nn.selective_scan import (  # noqa: E402
    _backends,
    _segmented,
    _triton,
    _triton_kernels,
    selective_scan,
    selective_scan_reference,
)
from trainer.nn.selective_scan._configurations import CONFIGURATION_VARIABLE, Gpu, save  # noqa: E402
from trainer.nn.selective_scan._problem import CROSS, Scan, Ways  # noqa: E402

NAMES = ("u", "delta", "A", "B", "C", "D", "bias")
BLOCK = 4
_ALL = (*_triton.FORWARD, *_triton.BACKWARD)
IN_SEQUENCE, IN_SPANS = (_triton.Configuration(BLOCK, 32, warps) for warps in (1, 1000))


@pytest.fixture(scope="module")
def interpreted_modules():
    """Load private copies of our kernels, and of the library functions that they call, for the interpreter.

    Decorating a function decides whether it is interpreted, and the rest of the process, such as torch's
    inductor, continues to use the compiler.
    """

    def load(name, file):
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton.knobs.runtime, "interpret", True)
        library = load("triton.language.interpreted_standard", tl.standard.__file__)
        return library, load("interpreted_kernels", _triton_kernels.__file__)


@pytest.fixture
def interpreter(interpreted_modules, monkeypatch):
    """Run launches on the CPU, and return `use`, which sets the configuration.

    The interpreter puts its own functions into `tl` and, where one kernel function calls another, leaves them
    there. Here it does so once for each module, which is much faster, and they are removed afterwards.
    """
    library, kernels = interpreted_modules
    scopes = {}

    def patch_once(function):
        if function.__module__ not in scopes:
            scopes[function.__module__] = patch_language(function)
        return triton_interpreter._LangPatchScope()

    patch_language = triton_interpreter._patch_lang
    monkeypatch.setattr(triton_interpreter, "_patch_lang", patch_once)
    monkeypatch.setattr(tl, "standard", library)
    for name in ("cdiv", "sum", "zeros"):
        monkeypatch.setattr(tl, name, getattr(library, name))
    monkeypatch.setattr(_triton, "_kernels", lambda: kernels)

    def use(configuration):
        monkeypatch.setattr(_triton, "FORWARD", (configuration,))
        monkeypatch.setattr(_triton, "BACKWARD", (configuration,))

    use(IN_SEQUENCE)
    yield SimpleNamespace(use=use)
    for scope in reversed(scopes.values()):
        scope.restore()


@pytest.fixture
def scan_by_triton(interpreter, monkeypatch):
    """Return `selective_scan` with the interpreted kernels; like `interpreter`, it sets the configuration."""
    monkeypatch.setattr(_backends, "chosen", lambda *_: "triton")
    monkeypatch.setattr(_backends, "named", lambda _: _triton)
    return selective_scan


def inputs(batch=1, groups=1, channels=3, states=2, length=6, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    rows = groups * channels
    u, delta = (torch.randn(batch, rows, length, generator=g) for _ in range(2))
    A = -torch.exp(torch.randn(rows, states, generator=g))
    B, C = (torch.randn(batch, groups, states, length, generator=g) for _ in range(2))
    D, bias = (torch.randn(rows, generator=g) for _ in range(2))
    half = [x.to(dtype) for x in (u, delta, B, C)]
    return [x.requires_grad_() for x in (*half[:2], A, *half[2:], D, bias)]


def output_and_gradients(scan, tensors):
    y = scan(*tensors)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), tensors)]


def assert_close(got, expected, tolerance):
    for name, value, right in zip(("y", *NAMES), got, expected, strict=True):
        assert value.shape == right.shape, name
        error = (value.double() - right.double()).abs().max() / right.abs().max().clamp_min(1e-30)
        assert error <= tolerance, f"{name}: relative error {error:.1e}"


def assert_matches_reference(scan, tensors, tolerance=1e-5):
    exact = [x.detach().double().requires_grad_() for x in tensors]
    assert_close(output_and_gradients(scan, tensors), output_and_gradients(selective_scan_reference, exact), tolerance)


@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, _triton.CHUNK_LENGTH + 1])
def test_output_and_all_gradients_match_the_reference_at_any_length(scan_by_triton, length):
    assert_matches_reference(scan_by_triton, inputs(states=1, length=length))


@pytest.mark.parametrize(("groups", "channels", "states"), [(1, 1, 1), (4, 2, 8), (1, 40, 16)])
def test_groups_channels_and_states_may_be_any_number(scan_by_triton, groups, channels, states):
    assert_matches_reference(scan_by_triton, inputs(groups=groups, channels=channels, states=states, length=5))


@pytest.mark.parametrize("configuration", {(c.block_length, c.block_channels): c for c in _ALL}.values())
def test_every_configuration_matches_the_reference(interpreter, scan_by_triton, configuration):
    interpreter.use(configuration)
    assert_matches_reference(scan_by_triton, inputs(channels=130, states=2, length=2 * configuration.block_length + 1))


@pytest.mark.parametrize("warps", [2, 1000])
def test_spans_of_a_path_add_up_to_the_whole(interpreter, scan_by_triton, warps):
    interpreter.use(_triton.Configuration(BLOCK, 32, warps))  # two spans, the second shorter; a span for each chunk
    assert_matches_reference(scan_by_triton, inputs(states=1, length=130))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_half_precision_inputs_are_computed_in_float32(interpreter, scan_by_triton, dtype, tolerance):
    interpreter.use(IN_SPANS)
    tensors = inputs(length=_triton.CHUNK_LENGTH + 3, dtype=dtype)
    assert scan_by_triton(*tensors).dtype == torch.float32
    assert_matches_reference(scan_by_triton, tensors, tolerance)
    in_float32 = [x.detach().float() for x in tensors]
    assert torch.equal(scan_by_triton(*tensors), scan_by_triton(*in_float32))


def test_inputs_need_not_be_contiguous(scan_by_triton):
    tensors = inputs(batch=2, groups=2, length=5)
    strided = [x.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for x in tensors]
    got, expected = (output_and_gradients(scan_by_triton, x) for x in (strided, tensors))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def cross_scan(height, width, is_shared, channels=2, states=1):
    g = torch.Generator().manual_seed(0)
    groups, length = len(CROSS), height * width

    def random(*shape):
        return torch.randn(shape, generator=g)

    scan = Scan(
        u=random(1, length, 1 if is_shared else groups, channels),
        delta=random(1, length, groups, channels),
        A=-torch.exp(random(groups, channels, states)),
        B=random(1, length, groups, states),
        C=random(1, length, groups, states),
        D=random(groups, channels),
        bias=random(groups, channels),
    )
    return scan, random(*scan.u.shape), Ways(width, tuple(map(int, CROSS)))


def computed(backend, scan, gy, ways):
    y, states = backend.forward(scan, ways, save_states=True)
    return [y, *backend.backward(gy, scan, ways, states)]


@pytest.mark.parametrize(
    ("height", "width", "is_shared", "configuration"),
    [(3, 5, True, IN_SEQUENCE), (3, 5, False, IN_SEQUENCE), (4, 9, True, IN_SPANS)],
)
def test_the_four_paths_over_a_map_match_plain_torch(interpreter, height, width, is_shared, configuration):
    interpreter.use(configuration)
    scan, gy, ways = cross_scan(height, width, is_shared)
    exact = Scan(*(x.double() for x in scan))
    assert_close(computed(_triton, scan, gy, ways), computed(_segmented, exact, gy.double(), ways), 1e-5)


def test_backward_twice_gives_the_same_gradients(interpreter, scan_by_triton):
    interpreter.use(IN_SPANS)
    tensors = inputs(states=1, length=_triton.CHUNK_LENGTH + 1)
    y = scan_by_triton(*tensors).sum()
    first = torch.autograd.grad(y, tensors, retain_graph=True)
    second = torch.autograd.grad(y, tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("delta", [-1000.0, 1000.0])
@pytest.mark.parametrize("rate", [-100.0, -1e-6])
def test_extreme_steps_and_rates_match_the_reference(interpreter, scan_by_triton, delta, rate):
    interpreter.use(IN_SPANS)
    tensors = inputs(states=1, length=_triton.CHUNK_LENGTH + 1)
    with torch.no_grad():
        tensors[1].fill_(delta)
        tensors[2].fill_(rate)
    assert all(x.isfinite().all() for x in output_and_gradients(scan_by_triton, tensors))
    assert_matches_reference(scan_by_triton, tensors)


@pytest.mark.parametrize("delta", [-80.0, -30.0, -10.0])
def test_steps_far_below_one_keep_their_relative_accuracy(scan_by_triton, delta):
    one = torch.ones(1, 1, 1)
    step = scan_by_triton(one, delta * one, -one[0], one[None], one[None])
    assert step.item() == pytest.approx(torch.nn.functional.softplus(torch.tensor(delta).double()).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["u", "delta"])
def test_nan_spreads_along_its_own_channel_from_its_token_on(scan_by_triton, name):
    tensors = inputs(length=6)
    with torch.no_grad():
        tensors[NAMES.index(name)][0, 1, 3] = torch.nan
    expected = torch.zeros(1, 3, 6, dtype=torch.bool)
    expected[0, 1, 3:] = True
    assert torch.equal(scan_by_triton(*tensors).isnan(), expected)


def test_states_have_the_shape_that_is_promised(interpreter):
    scan, _, ways = cross_scan(3, 11, is_shared=True)
    _, states = _triton.forward(scan, ways, save_states=True)
    assert states.shape == _triton.states_shape(scan) == (1, 4, 2, 1, 2)
    assert _triton.forward(scan, ways, save_states=False)[1].numel() == 0


@pytest.mark.parametrize("configuration", _ALL)
def test_configurations_divide_chunks_and_fill_warps(configuration):
    assert _triton.CHUNK_LENGTH % configuration.block_length == 0
    assert configuration.block_channels % 32 == 0


@pytest.mark.parametrize("length", [1, 32, 33, 400, 25600])
@pytest.mark.parametrize(("wanted_programs", "programs_per_span"), [(1, 8), (2048, 64), (2048, 4096), (10**6, 1)])
def test_spans_are_whole_chunks_and_no_more_than_wanted(length, wanted_programs, programs_per_span):
    span_length = _triton._span_length(length, wanted_programs, programs_per_span)
    num_spans = -(-length // span_length)
    assert span_length % _triton.CHUNK_LENGTH == 0
    assert num_spans == 1 or (num_spans - 1) * programs_per_span < wanted_programs


GPU = Gpu("NVIDIA H100 80GB HBM3", "9.0", triton.__version__)


@pytest.fixture
def on_gpu(monkeypatch, tmp_path):
    """Return a function that gives a GPU's configuration for a map of so many channels."""
    monkeypatch.setattr(_triton, "gpu_of", lambda device: GPU)
    monkeypatch.setenv(CONFIGURATION_VARIABLE, str(tmp_path / "configurations.json"))
    _triton._gpu.cache_clear()

    def configuration(direction, channels):
        scan, _, _ = cross_scan(2, 3, is_shared=True, channels=channels)
        u = SimpleNamespace(is_cuda=True, device=torch.device("cuda:0"), dtype=torch.float32)
        fake = SimpleNamespace(u=u, delta=scan.delta)
        return _triton._configuration(direction, getattr(_triton, direction.upper()), fake)

    yield configuration
    _triton._gpu.cache_clear()


@pytest.mark.parametrize(("channels", "block_channels"), [(16, 32), (32, 32), (40, 64), (64, 64), (512, 64)])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_without_a_tuned_configuration_the_default_is_used(on_gpu, direction, channels, block_channels):
    assert on_gpu(direction, channels).block_channels == block_channels


def test_a_tuned_configuration_replaces_the_default(on_gpu, tmp_path):
    scan, _, _ = cross_scan(2, 3, is_shared=True, channels=64)
    tuned = _triton.FORWARD[-1]
    save(tmp_path / "configurations.json", GPU, {_triton._problem("forward", scan): tuned})
    assert on_gpu("forward", 64) == tuned
    assert on_gpu("forward", 128) == _triton.FORWARD[0]
    assert on_gpu("backward", 64) == _triton.BACKWARD[0]


def test_a_cpu_is_refused_with_the_reason():
    assert "NVIDIA" in _triton.why_not(torch.device("cpu"))


@pytest.mark.parametrize("variable", [None, "cc"])
def test_a_missing_compiler_is_named_with_its_remedy(monkeypatch, variable):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    if variable:
        monkeypatch.setenv("CC", variable)
    assert ("apt-get install gcc" in (_triton._missing_build_tool() or "")) == (variable is None)


def assert_only_registers(launch, binary):
    usage, code = machine_code(binary)
    told = f"{launch.code}: {usage}"
    assert "STACK:0 " in usage, f"spills: {told}"
    assert "SHARED:0 " in usage, f"moves tiles between lanes: {told}"
    assert not re.search(r"\b(atom|red)\.", binary.asm["ptx"]), told
    return code


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_compiled_kernels_neither_spill_nor_shuffle_in_the_recurrence_nor_use_atomics(dtype):
    for launch in launches_of_a_step(dtype):
        code = assert_only_registers(launch, compiled(launch, 90))
        shuffles = len(re.findall(r"\bSHFL\b", code))
        # To add gB and gC of 4 tokens over 32 lanes, 8 rows become 4, 2 and 1, which is then added up twice more.
        expected = 4 + 2 + 1 + 2 if launch.kernel == "gradient_kernel" else 0
        assert shuffles == expected, launch.kernel


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("capability", [75, 80, 86, 89, 90, 100, 120])
def test_no_configuration_spills_on_any_gpu(capability, dtype):
    if dtype == torch.bfloat16 and capability < 80:
        pytest.skip("GPUs below 8.0 have no bfloat16")
    for launch in launches_of_a_step(dtype, (_triton.FORWARD, _triton.BACKWARD)):
        assert_only_registers(launch, compiled(launch, capability))


@pytest.mark.parametrize("size", [*"ntbl"])
def test_the_kernels_of_every_model_are_compiled_before_it_trains(size):
    cpu = torch.device("cpu")
    defaults = [
        list({_triton._candidates(of, channels)[0] for channels in (32, 1024)})
        for of in (_triton.FORWARD, _triton.BACKWARD)
    ]
    with noted_launches(num_multiprocessors=8) as noted:
        _triton.launch_all(cpu, *defaults)
    before = {keys_of(launch) for launch in noted}
    with noted_launches(num_multiprocessors=8) as noted:
        for channels in sorted(INNER_CHANNELS[size]):
            delta = torch.empty(4, 2 * 1600, channels).transpose(0, 1).view(2, 1600, 4, channels)
            B, C = torch.empty(2, 1600, 4, 40).split([16, 24], dim=-1)
            scan = Scan(
                u=torch.empty(2, 1600, 1, channels),
                delta=delta,
                A=torch.empty(4, channels, 16),
                B=B,
                C=C[..., :16],
                D=torch.empty(4, channels),
                bias=torch.empty(4, channels),
            )
            ways = Ways(40, tuple(map(int, CROSS)))
            _triton.forward(scan, ways, save_states=False)
            y, states = _triton.forward(scan, ways, save_states=True)
            _triton.backward(y, scan, ways, states)
    assert {keys_of(launch) for launch in noted} <= before


INNER_CHANNELS = {"n": {32, 64, 128}, "t": {64, 128, 256, 512}, "b": {128, 256, 512, 1024}, "l": {192, 384, 768, 1152}}


def keys_of(launch):
    source, _ = source_of(launch, 90)
    return source.hash(), launch.code


def test_processes_share_what_triton_has_compiled(tmp_path):
    """The second of two processes finds the kernel in the cache of the first; both compile without a GPU."""
    program = """
import torch
from tests.support.triton_ahead import compiled, launches_of_a_step
launch = next(x for x in launches_of_a_step(torch.float32) if x.kernel == "link_kernel")
print(compiled(launch, 90).hash)
"""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    run = partial(subprocess.check_output, [sys.executable, "-c", program], text=True, env=environment)
    first = run()
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert run() == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == files
    assert any(file.suffix == ".cubin" for file in files)
