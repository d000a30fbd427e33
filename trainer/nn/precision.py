"""Floating-point type of the state-space part, independent of the rest of the model."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Half precision overflows here: mamba (https://github.com/state-spaces/mamba/issues/72) and VMamba
# (https://github.com/MzeroMiko/VMamba/issues/138) both met NaN after some epochs of scanning in float16.


def accurate_dtype(x: Tensor) -> torch.dtype:
    """Return the type to compute with for input `x`: float64 if `x` is float64, otherwise float32."""
    return torch.promote_types(x.dtype, torch.float32)


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which operations on the device of `x` keep the types of their inputs."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device):  # "meta", for example, has no autocast to turn off
        return nullcontext()
    return torch.autocast(device, enabled=False)
