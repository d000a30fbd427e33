"""Describe the environment that this trainer trains in."""

from collections.abc import Callable

from trainer.exceptions import TrainerError
from trainer.ultralytics_bridge.report import environment_report
from tuner.contract import EndRecord, EnvironmentRequest, Outcome, Record


def run(request: EnvironmentRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Report versions, devices and problems."""
    try:
        emit(environment_report())
    except TrainerError as error:
        return EndRecord(outcome=Outcome.ERROR, message=str(error))
    return EndRecord(outcome=Outcome.COMPLETED)
