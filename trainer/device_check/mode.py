"""torch's deterministic mode, as ultralytics sets it for a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def torch_mode(*, deterministic: bool) -> Iterator[None]:
    """Set torch's mode like ultralytics' argument `deterministic`, and restore it at the end.

    Operations without a deterministic form only warn.
    """
    utils: Any = torch.utils.deterministic
    was_on = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    of_cudnn, fills = torch.backends.cudnn.deterministic, utils.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once in a process, when cuBLAS starts
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic, utils.fill_uninitialized_memory = deterministic, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        torch.backends.cudnn.deterministic, utils.fill_uninitialized_memory = of_cudnn, fills
