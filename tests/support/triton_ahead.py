"""Compile the Triton kernels ahead of time, for GPUs that are not there."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from trainer.nn.selective_scan import _triton, _triton_kernels
from trainer.nn.selective_scan._configurations import Configuration
from trainer.nn.selective_scan._problem import CROSS, Scan, Ways


class Launch(NamedTuple):
    """Launch of a kernel that was recorded instead of executed."""

    kernel: str
    args: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def code(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """Properties that the machine code depends on, apart from types."""
        return self.kernel, tuple(sorted(self.options.items()))


@contextmanager
def noted_launches(num_multiprocessors: int = 1000) -> Iterator[list[Launch]]:
    """Keep the arguments of all launches instead of launching."""
    launches: list[Launch] = []

    class NotedKernel:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getitem__(self, grid: object) -> Callable[..., None]:
            return lambda *args, **options: launches.append(Launch(self._name, args, options))

    names = ("carry_kernel", "link_kernel", "output_kernel", "gradient_kernel")
    noted = SimpleNamespace(**{name: NotedKernel(name) for name in names})
    with (
        mock.patch.object(_triton, "_kernels", return_value=noted),
        mock.patch.object(_triton, "_num_multiprocessors", return_value=num_multiprocessors),
    ):
        yield launches


def launches_of_a_step(
    dtype: torch.dtype, configurations: tuple[Sequence[Configuration], Sequence[Configuration]] | None = None
) -> list[Launch]:
    """Return the launches of a training step of SS2D at the size of a real map, without those of the same code.

    Without `configurations`, forward and backward, by the default ones.
    """
    batch, length, groups, channels, states = 2, 1600, 4, 256, 16
    scan = Scan(
        u=torch.empty(batch, length, 1, channels, dtype=dtype),
        delta=torch.empty(batch, length, groups, channels, dtype=dtype),
        A=torch.empty(groups, channels, states),
        B=torch.empty(batch, length, groups, states, dtype=dtype),
        C=torch.empty(batch, length, groups, states, dtype=dtype),
        D=torch.empty(groups, channels),
        bias=torch.empty(groups, channels),
    )
    ways = Ways(40, tuple(map(int, CROSS)))
    forwards, backwards = configurations or (_triton.FORWARD[:1], _triton.BACKWARD[:1])
    with noted_launches() as noted:
        for config in forwards:
            y, kept = _triton._forward(scan, ways, True, config)
        for config in backwards:
            _triton._backward(y, scan, ways, kept, config)
    return list({launch.code: launch for launch in noted}.values())


def source_of(launch: Launch, capability: int) -> tuple[Any, dict[str, Any]]:
    """Return the source that Triton compiles for this launch on a GPU of `capability`, and its options."""
    kernel = getattr(_triton_kernels, launch.kernel)
    backend = make_backend(GPUTarget("cuda", capability, 32))
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, _ = bind(*launch.args, **launch.options, debug=False, instrumentation_mode="")
    parsed, *source = kernel._pack_args(backend, launch.options, bound, specialization, None)
    return ASTSource(kernel, *source), parsed.__dict__


def compiled(launch: Launch, capability: int) -> Any:
    """Compile the kernel as this launch would on a GPU of `capability`."""
    source, options = source_of(launch, capability)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def machine_code(binary: Any) -> tuple[str, str]:
    """Return resource usage and instructions, as NVIDIA's tools in Triton's wheel print them."""
    tools = FilePath(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        commands = ([str(tools / "cuobjdump"), "--dump-resource-usage"], [str(tools / "nvdisasm"), "-c"])
        usage, code = (
            subprocess.run([*command, file.name], text=True, capture_output=True, check=True).stdout
            for command in commands
        )
    return usage, code
