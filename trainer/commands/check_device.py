"""Check a device: the selective scan, whole models, memory and data loading."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from trainer.exceptions import TrainerError
from trainer.ultralytics_bridge import environment
from tuner.contract import DeviceCheck, DeviceCheckRequest, EndRecord, Outcome, Record


def run(request: DeviceCheckRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Make one check; the outcome is `unsupported` if there is no check with this name."""
    if request.check not in list(DeviceCheck):
        known = ", ".join(DeviceCheck)
        return EndRecord(outcome=Outcome.UNSUPPORTED, message=f"A check must be one of {known}: {request.check!r}")
    try:
        environment.configure()
        import torch

        torch.set_num_threads(max(request.threads, 1))
        check = import_module(f"trainer.device_check.{request.check.replace('-', '_')}")
        with _as_in_training():
            emit(check.run(torch.device(request.device), small=request.small))
    except TrainerError as error:
        return EndRecord(outcome=Outcome.ERROR, message=str(error))
    return EndRecord(outcome=Outcome.COMPLETED)


@contextmanager
def _as_in_training() -> Iterator[None]:
    """Switch on torch's deterministic mode as ultralytics does: operations without a deterministic form only warn."""
    import torch

    deterministic: Any = torch.utils.deterministic
    was_on = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    of_cudnn, fills = torch.backends.cudnn.deterministic, deterministic.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, deterministic.fill_uninitialized_memory = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        torch.backends.cudnn.deterministic, deterministic.fill_uninitialized_memory = of_cudnn, fills
