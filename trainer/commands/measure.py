"""Measure a trained model for its card."""

from collections.abc import Callable
from pathlib import Path

from trainer.exceptions import ModelError, TrainerError
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, MeasureRequest, Outcome, Record


def run(request: MeasureRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Measure the weights; the outcome is `bad_model` for weights that cannot be loaded."""
    weights = Path(request.weights)
    if not weights.is_file():
        return EndRecord(outcome=Outcome.BAD_MODEL, message=f"there is no file '{weights}'")
    try:
        environment.configure()
        from trainer.ultralytics_bridge.measuring import measured  # imports torch, which takes seconds

        emit(
            measured(
                weights,
                request.imgsz,
                use_gpu=request.use_gpu,
                threads=max(request.threads, 1),
                folder=Path(request.directory),
            )
        )
    except ModelError as error:
        return EndRecord(outcome=Outcome.BAD_MODEL, message=str(error))
    except TrainerError as error:
        return EndRecord(outcome=Outcome.ERROR, message=str(error))
    return EndRecord(outcome=Outcome.COMPLETED)
