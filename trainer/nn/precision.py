"""Which floating-point type the state-space part computes in, whatever the rest of the model runs in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Half precision overflows in here: mamba (https://github.com/state-spaces/mamba/issues/72) and VMamba
# (https://github.com/MzeroMiko/VMamba/issues/138) both met NaN after some epochs of scanning in float16.


def accurate_dtype(x: Tensor) -> torch.dtype:
    """The type to compute with for input `x`: float64 if it is that already, else float32."""
    return torch.promote_types(x.dtype, torch.float32)


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which operations on the device of `x` keep the types that they are given."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device):  # "meta", for one, has none to turn off
        return nullcontext()
    return torch.autocast(device, enabled=False)
