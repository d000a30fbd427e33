"""Check the data set and the model before the first trial, and write the files that all trials share."""

import logging
from collections.abc import Callable
from pathlib import Path

from trainer.data import dataset
from trainer.data.checking import check
from trainer.data.dataset_writer import write_resolved
from trainer.data.opening import CONVERTED, opened
from trainer.exceptions import DataError, ModelError, TrainerError
from trainer.system import atomic_files, decoded_images
from trainer.ultralytics_bridge import environment
from tuner.contract import (
    COMPILE_STEP,
    EndRecord,
    ImageCache,
    Outcome,
    PreparedRecord,
    PrepareRequest,
    ProgressRecord,
    Record,
)
from tuner.contract.data_report import encode_report
from tuner.contract.run_folder import DATA_REPORT, log_of

_CHECKPOINT_BYTES_PER_PARAMETER = 20
"""Bytes of a checkpoint per parameter, at 4 bytes per value: two moments of Adam or AdamW, the weights and their
average, and unused gradients if an epoch ends between two optimizer steps. Other optimizers need less."""

_CHECKPOINT_BYTES_BESIDES = 2 * 2**20
"""Other bytes of a checkpoint: modules, about 1500 file entries of 350 bytes each, and space for the run's curves."""

_MAX_SOURCES = 64

logger = logging.getLogger("trainer")


def run(request: PrepareRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Check the data set and the model, and report the settings for the trials."""
    if malware := environment.known_malware():
        return EndRecord(outcome=Outcome.ERROR, message=malware)
    directory = Path(request.directory)
    try:
        with atomic_files.held(directory / log_of(request.type)):  # another process may prepare the same study now
            emit(_prepared(request, emit))
    except DataError as error:
        return EndRecord(outcome=Outcome.BAD_DATA, message=str(error))
    except ModelError as error:
        return EndRecord(outcome=Outcome.BAD_MODEL, message=str(error))
    return EndRecord(outcome=Outcome.COMPLETED)


def _prepared(request: PrepareRequest, emit: Callable[[Record], None]) -> PreparedRecord:
    """Prepare a study; read the data set first and without torch, so that a wrong path is reported in a second."""
    found = opened(request.data, Path(request.directory) / CONVERTED)
    report = check.checked(found)
    atomic_files.write_whole(Path(request.directory) / DATA_REPORT, encode_report(report).encode())
    if report.refusal:
        raise DataError(report.refusal)
    trained = check.usable(found, report)
    sha256 = dataset.fingerprint(trained)
    data = write_resolved(trained, Path(request.directory) / "data.yaml")
    environment.configure()
    from trainer.ultralytics_bridge import (
        dataset_scan,  # imports torch, which takes seconds
        models,
    )

    decoded = dataset_scan.scan(data)
    model = models.locate(request.model)
    num_parameters = models.count_parameters(model, len(trained.names), trained.channels)
    if request.gpus and models.has_scan(model, len(trained.names), trained.channels):
        _compile(emit)
    return PreparedRecord(
        data=str(data),
        data_sha256=sha256,
        num_classes=len(trained.names),
        num_images={name: split.num_images for name, split in trained.splits.items()},
        model=model,
        portable_model=models.portable(model, len(trained.names), trained.channels, Path(request.directory)),
        num_parameters=num_parameters,
        checkpoint_bytes=num_parameters * _CHECKPOINT_BYTES_PER_PARAMETER + _CHECKPOINT_BYTES_BESIDES,
        versions=models.versions(),
        notes=(*found.notes, *check.notes(report), *environment.version_notes()),
        model_sha256=models.digest(model),
        sources=_sources(trained, data, model),
        image_cache=ImageCache(
            folder=str(decoded_images.folder()),
            used_bytes=decoded_images.used_bytes(),
            num_images=decoded.num_images,
            bytes_per_square=decoded.bytes_per_square,
        ),
    )


def _compile(emit: Callable[[Record], None]) -> None:
    """Compile the selective scan for each kind of visible GPU, before many trials do so at the same time.

    A failure is logged only: a trial on that GPU reports it, and the GPU may be busy now and not then.
    """
    import torch

    from trainer.nn.selective_scan import scan_on

    kinds: dict[object, int] = {}
    try:
        for index in range(torch.cuda.device_count()):
            kinds.setdefault((torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)), index)
    except RuntimeError:
        logger.warning("the GPUs cannot be used", exc_info=True)
    for done, index in enumerate(kinds.values()):
        emit(ProgressRecord(step=COMPILE_STEP, done=done, total=len(kinds)))
        try:
            scan_on(f"cuda:{index}")
        except (TrainerError, RuntimeError):
            logger.warning("the selective scan cannot be compiled for GPU %d", index, exc_info=True)


def _sources(trained: dataset.DataSet, data: Path, model: str) -> tuple[str, ...]:
    """Return the resolved YAML, the model if it is a file, and the first image of each folder."""
    images = {image.path.parent: str(image.path) for s in trained.splits.values() for image in reversed(s.images)}
    own = [str(data), *([model] if Path(model).is_absolute() else [])]
    return (*own, *sorted(images.values())[:_MAX_SOURCES])
