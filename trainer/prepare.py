"""Check data set and model before the first trial, and build what all trials share."""

from pathlib import Path

from trainer.data import dataset, sample
from trainer.exceptions import DataError, ModelError
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, Outcome, PreparedRecord, PrepareRequest

MIN_SAMPLE_IMAGES = 8

_CHECKPOINT_BYTES_PER_PARAMETER = 10
"""Two moments of Adam or AdamW at 4 bytes, and the averaged weights at 2; with other optimizers it is less."""

_CHECKPOINT_BYTES_BESIDES = 2 * 2**20
"""The modules, the names of the 1500 or so parts of the file, 350 bytes each, and room for the curves of the run."""


def run(request: PrepareRequest) -> tuple[PreparedRecord | None, EndRecord]:
    """The prepared record, or none with the reason in the end record.

    The data set is read first and without torch, so a wrong path is told in a second.
    """
    if malware := environment.known_malware():
        return None, EndRecord(outcome=Outcome.ERROR, message=malware)
    try:
        checked = dataset.resolve(source_of(request.data))
        sha256 = dataset.fingerprint(checked)
        data = dataset.write_resolved(checked, Path(request.directory) / "data.yaml")
        environment.configure()
        from trainer.ultralytics_bridge import models, usable  # imports torch: seconds

        model = models.locate(request.model)
        num_parameters = models.count_parameters(model, len(checked.names))
        prepared = PreparedRecord(
            data=str(data),
            data_sha256=sha256,
            num_classes=len(checked.names),
            num_images={name: split.num_images for name, split in checked.splits.items()},
            model=model,
            portable_model=models.portable(model, len(checked.names), Path(request.directory)),
            num_parameters=num_parameters,
            checkpoint_bytes=num_parameters * _CHECKPOINT_BYTES_PER_PARAMETER + _CHECKPOINT_BYTES_BESIDES,
            versions=models.versions(),
            notes=(*checked.notes, *usable.scan(data), *environment.version_notes()),
        )
    except DataError as error:
        return None, EndRecord(outcome=Outcome.BAD_DATA, message=str(error))
    except ModelError as error:
        return None, EndRecord(outcome=Outcome.BAD_MODEL, message=str(error))
    return prepared, EndRecord(outcome=Outcome.COMPLETED)


def source_of(data: str) -> Path:
    """The data set's YAML; `sample` and `sample:N` (N training pictures) are composed on first use."""
    name, _, number = data.partition(":")
    if name != "sample":
        return Path(data)
    if not number:
        return sample.compose(sample.default_directory())
    if not number.isdecimal() or int(number) < MIN_SAMPLE_IMAGES:
        raise DataError(
            f"The sample data set is 'sample' or 'sample:N' with at least {MIN_SAMPLE_IMAGES} training pictures, "
            f"but got '{data}'."
        )
    folder = sample.default_directory()
    train = int(number)
    return sample.compose(folder.with_name(f"{folder.name}-{train}"), train_images=train, val_images=max(1, train // 4))
