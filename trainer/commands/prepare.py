"""Check data set and model before the first trial, and build what all trials share."""

from pathlib import Path

from trainer.data import dataset
from trainer.data.checking import check
from trainer.data.sample import sample
from trainer.exceptions import DataError, ModelError
from trainer.system import atomic_files
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, Outcome, PreparedRecord, PrepareRequest
from tuner.contract.data_report import encode_report

_CHECKPOINT_BYTES_PER_PARAMETER = 20
"""At 4 bytes each: two moments of Adam or AdamW, the weights and their average, and gradients that no step has used yet
where an epoch ends between two steps; with other optimizers it is less."""

_CHECKPOINT_BYTES_BESIDES = 2 * 2**20
"""The modules, the names of the 1500 or so parts of the file, 350 bytes each, and room for the curves of the run."""


_MAX_SOURCES = 64


def run(request: PrepareRequest) -> tuple[PreparedRecord | None, EndRecord]:
    """The prepared record, or none with the reason in the end record.

    The data set is read first and without torch, so a wrong path is told in a second.
    """
    if malware := environment.known_malware():
        return None, EndRecord(outcome=Outcome.ERROR, message=malware)
    try:
        found = dataset.resolve(sample.located(request.data))
        report = check.checked(found)
        atomic_files.write(Path(request.directory) / "data-report.json", encode_report(report).encode())
        if report.refusal:
            raise DataError(report.refusal)
        trained = check.usable(found, report)
        sha256 = dataset.fingerprint(trained)
        data = dataset.write_resolved(trained, Path(request.directory) / "data.yaml")
        environment.configure()
        from trainer.ultralytics_bridge import (
            dataset_scan,  # imports torch: seconds
            models,
        )

        dataset_scan.scan(data)
        model = models.locate(request.model)
        num_parameters = models.count_parameters(model, len(trained.names), trained.channels)
        prepared = PreparedRecord(
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
        )
    except DataError as error:
        return None, EndRecord(outcome=Outcome.BAD_DATA, message=str(error))
    except ModelError as error:
        return None, EndRecord(outcome=Outcome.BAD_MODEL, message=str(error))
    return prepared, EndRecord(outcome=Outcome.COMPLETED)


def _sources(trained: dataset.DataSet, data: Path, model: str) -> tuple[str, ...]:
    """The first image of each folder, the resolved YAML, and the model where it is a file."""
    images = {image.path.parent: str(image.path) for s in trained.splits.values() for image in reversed(s.pictures)}
    own = [str(data), *([model] if Path(model).is_absolute() else [])]
    return (*own, *sorted(images.values())[:_MAX_SOURCES])
