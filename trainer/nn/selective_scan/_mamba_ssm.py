"""Selective scan of mamba-ssm: its compiled CUDA extension, called directly.

https://github.com/state-spaces/mamba, csrc/selective_scan. The extension is a separate module, `selective_scan_cuda`,
and we use nothing else. Importing `mamba_ssm` requires transformers and more, and proves nothing, because some versions
come without the extension.

The extension needs every sequence as one block in memory, token after token in path order. Maps are therefore
transposed on the way in and out. It supports at most 256 states per channel and raises RuntimeError for more.

Gradients that several threads add to come from atomic additions, in another order every time: backward is not
deterministic.
"""

import importlib
import math
import warnings
from typing import Any

import torch
from torch import Tensor

from trainer.nn.selective_scan._problem import Scan, Ways, along_paths, from_paths

# The extension accepts half types, but writes the output in the type of delta, where it overflows:
# https://github.com/MzeroMiko/VMamba/issues/138.
TAKES_HALF = False

_EXTENSION = "selective_scan_cuda"
_FUNCTIONS = ("fwd", "bwd")
_CHUNK_LENGTH = 2048

_REMEDY = 'see docs/performance.md, "mamba-ssm on CUDA"'


def why_not(device: torch.device) -> str | None:
    """Check whether the extension is installed and fits this torch; only a run shows whether the GPU supports it."""
    if device.type != "cuda":
        return "it runs on CUDA devices only"
    try:
        extension = _extension()
    except ModuleNotFoundError:
        return f"{_EXTENSION} is not installed; not every version of mamba-ssm includes it; {_REMEDY}"
    except (ImportError, OSError, RuntimeError) as error:
        first_line, *_ = str(error).strip().splitlines() or [type(error).__name__]
        return (
            f"{_EXTENSION} cannot be loaded, maybe as it was built for another torch or CUDA ({first_line}); {_REMEDY}"
        )
    missing = [name for name in _FUNCTIONS if not hasattr(extension, name)]
    if missing:
        return (
            f"the installed {_EXTENSION} is not from mamba-ssm, because it has no {' and no '.join(missing)}; {_REMEDY}"
        )
    return None


def states_shape(scan: Scan) -> tuple[int, ...]:
    """Return the shape of the kept states: (B, K*D, chunks, 2N).

    Decay since the first token and state alternate, at the end of each chunk.
    """
    batch, length, groups, channels = scan.delta.shape
    return batch, groups * channels, math.ceil(length / _CHUNK_LENGTH), 2 * scan.A.shape[2]


def forward(scan: Scan, ways: Ways, *, save_states: bool) -> tuple[Tensor, Tensor]:
    """Implement `Backend.forward`."""
    softplus = True
    y, states = _extension().fwd(*_arguments(scan, ways), softplus)
    return _by_pixel(y, scan, ways), states if save_states else states.new_empty(0)


def backward(gy: Tensor, scan: Scan, ways: Ways, states: Tensor) -> Scan:
    """Implement `Backend.backward`.

    Raises:
        RuntimeError: torch allows deterministic algorithms only. If it is set to warn, this warns instead.
    """
    _alert_not_deterministic()
    gy = _sequences(gy, ways).flatten(1, 2)
    output = gz = None  # only used with a gate z
    softplus, recompute_gated_output = True, False
    gu, gdelta, gA, gB, gC, gD, gbias = _extension().bwd(
        *_arguments(scan, ways), gy, states, output, gz, softplus, recompute_gated_output
    )
    return Scan(
        u=_by_pixel(gu, scan, ways),
        delta=_pixels(gdelta, ways),
        A=gA.view(scan.A.shape),
        B=_pixels(gB, ways),
        C=_pixels(gC, ways),
        D=gD.view(scan.D.shape),
        bias=gbias.view(scan.bias.shape),
    )


def _extension() -> Any:
    return importlib.import_module(_EXTENSION)


def _arguments(scan: Scan, ways: Ways) -> tuple[Tensor | None, ...]:
    """Return the first arguments of both functions of the extension: u, delta, A, B, C, D, z, bias."""
    u, delta, B, C = (_sequences(x, ways) for x in (scan.u, scan.delta, scan.B, scan.C))
    A, D, bias = scan.A.flatten(0, 1), scan.D.flatten().contiguous(), scan.bias.flatten().contiguous()
    return u.flatten(1, 2), delta.flatten(1, 2), A, B, C, D, None, bias


def _sequences(x: Tensor, ways: Ways) -> Tensor:
    """Copy x (B, L, Q, X) along the paths, one sequence after the other in memory: (B, K, X, L)."""
    return along_paths(x, ways).permute(0, 2, 3, 1).contiguous()


def _pixels(x: Tensor, ways: Ways) -> Tensor:
    """Undo `_sequences`, except for Q: (B, K*X, L) or (B, K, X, L) to (B, L, K, X)."""
    batch, length = x.shape[0], x.shape[-1]
    return from_paths(x.view(batch, len(ways.paths), -1, length).permute(0, 3, 1, 2), ways)


def _by_pixel(x: Tensor, scan: Scan, ways: Ways) -> Tensor:
    """Reshape x (B, K*D, L) to the form of the output: (B, L, Q, D)."""
    y = _pixels(x, ways)
    return y.sum(2, keepdim=True) if scan.is_shared else y


def _alert_not_deterministic() -> None:
    """Raise or warn as torch does for operations without a deterministic form."""
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        "The backward of the selective scan 'mamba_ssm' is not deterministic, but "
        "torch.use_deterministic_algorithms is on; choose another scan with MAMBA_YOLO_SCAN, such as torch."
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, stacklevel=2)
