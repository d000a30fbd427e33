"""Build the request to train one run."""

from dataclasses import dataclass
from pathlib import Path

from tuner.contract import Params, PreparedRecord, Stage, TrainRequest
from tuner.study import StudySpec


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTerms:
    """Settings that all trials of a search share."""

    threads: int
    gpus_per_trial: int
    validate_every_epoch: bool
    gpu_share: float = 1.0
    """Share of each GPU that a trial has, 0..1."""
    image_cache_bytes: int = 0
    """Maximum size of the decoded images that the trials share."""
    devices: frozenset[str] = frozenset()
    """Names of the GPUs that trials may land on, if they are of several kinds; empty if only trainers can tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Data set and model of a run, as the trainer has prepared them."""

    data: str
    model: str
    data_sha256: str = ""
    model_sha256: str = ""
    shares_files: bool = True
    """False if machines share no folder: data set and model are then as the user named them."""

    @classmethod
    def of_study(cls, spec: StudySpec) -> "Inputs":
        """Return the inputs that all runs of a study share."""
        return cls(
            data=spec.data_source,
            model=spec.model_source,
            data_sha256=spec.data_sha256,
            model_sha256=spec.model_sha256,
        )

    @classmethod
    def prepared(cls, record: PreparedRecord) -> "Inputs":
        """Return the inputs that the trainer has just prepared."""
        return cls(
            data=record.data,
            model=record.model,
            data_sha256=record.data_sha256,
            model_sha256=record.model_sha256,
        )


def every_epoch(epochs: int) -> tuple[int, ...]:
    """Return the validation epochs of a run that is validated after every epoch."""
    return tuple(range(1, epochs + 1))


def train_request(
    inputs: Inputs,
    params: Params,
    *,
    study: str,
    trial: int,
    epochs: int,
    validation_epochs: tuple[int, ...],
    seed: int,
    gpus: int,
    threads: int,
    directory: Path,
    stop_epoch: int | None = None,
    full: bool = False,
    stages: tuple[Stage, ...] = (),
    backup: str = "",
    gpu_share: float = 1.0,
    image_cache_bytes: int = 0,
) -> TrainRequest:
    """Build a request. `tuner.contract.TrainRequest` describes all fields.

    The run uses devices 0 to `gpus` - 1, or the CPU if `gpus` is 0. If `stop_epoch` is None, it is the last epoch.
    """
    return TrainRequest(
        study=study,
        trial=trial,
        params=dict(params),
        model=inputs.model,
        data=inputs.data,
        data_sha256=inputs.data_sha256,
        model_sha256=inputs.model_sha256,
        shares_files=inputs.shares_files,
        epochs=epochs,
        stop_epoch=epochs if stop_epoch is None else stop_epoch,
        validation_epochs=validation_epochs,
        seed=seed,
        devices=tuple(range(gpus)),
        threads=threads,
        directory=str(directory),
        full=full,
        stages=stages,
        backup=backup,
        gpu_share=gpu_share,
        image_cache_bytes=image_cache_bytes,
    )
