"""Check a device: the selective scan, whole models, memory and data loading."""

from collections.abc import Callable
from importlib import import_module

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

        from trainer.device_check.mode import torch_mode

        torch.set_num_threads(max(request.threads, 1))
        check = import_module(f"trainer.device_check.{request.check.replace('-', '_')}")
        with torch_mode(deterministic=True):  # as runs are by default
            emit(check.run(torch.device(request.device), small=request.small))
    except TrainerError as error:
        return EndRecord(outcome=Outcome.ERROR, message=str(error))
    return EndRecord(outcome=Outcome.COMPLETED)
