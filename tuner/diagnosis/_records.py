"""Read the records of a run that follows the contract: its epochs, and how it ended."""

import re
from collections.abc import Mapping
from dataclasses import replace

from tuner.contract import ContractError, EndRecord, EpochRecord, Outcome, decode
from tuner.diagnosis.runs import RunEpoch
from tuner.exceptions import UsageError

_ENDED = re.compile(r"^trainer\.exceptions\.(Diverged|OutOfMemory)(?:Error)?: (.*)$", re.MULTILINE)
_EPOCH = re.compile(r"epoch \d+/\d+: ")
_OUTCOMES = {"Diverged": Outcome.DIVERGED, "OutOfMemory": Outcome.OUT_OF_MEMORY}


def epochs_of_records(text: str, file: str) -> tuple[tuple[RunEpoch, ...], tuple[str, ...]]:
    """Return the epochs in order, without validation losses, and one line for each record that was skipped.

    Args:
        text: the content of the file.
        file: the name of the file for error messages.

    Raises:
        UsageError: a line other than the last is not an epoch record.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    kept: list[RunEpoch] = []
    for number, line in lines:
        try:
            epoch = _epoch(line)
        except (ContractError, ValueError, OverflowError, RecursionError) as error:
            if number == lines[-1][0]:
                return tuple(kept), (f"line {number} of records.jsonl is cut off and was skipped",)
            rule = f"{file}:{number}: Every line must be an epoch record of the trainer"
            raise UsageError(f"{rule}, but this one is not ({error!s:.200}); remove the line.") from error
        while kept and kept[-1].epoch >= epoch.epoch:
            kept.pop()
        kept.append(epoch)
    return tuple(kept), ()


def with_validation_losses(epochs: tuple[RunEpoch, ...], table: tuple[RunEpoch, ...]) -> tuple[RunEpoch, ...]:
    """Add the validation losses of results.csv to validated epochs; rows of other epochs repeat old values."""
    losses = {epoch.epoch: epoch.val for epoch in table}
    return tuple(replace(e, val=losses.get(e.epoch)) if e.metrics is not None else e for e in epochs)


def end_of_record(text: str) -> EndRecord | None:
    """Read how a run ended from its end record; none if the text is not one."""
    try:
        end = decode(text)
    except (ContractError, RecursionError, ValueError):
        return None
    return end if isinstance(end, EndRecord) else None


def end_of_log(log: str) -> EndRecord | None:
    """Find in the log of a run without an end record how it ended; none if it trained epochs since, or ended well.

    Versions before the end record of every run left nothing else.
    """
    found = next(reversed(list(_ENDED.finditer(log))), None)
    if found is None or _EPOCH.search(log, found.end()):
        return None
    return EndRecord(outcome=_OUTCOMES[found[1]], message=found[2])


def _epoch(line: str) -> RunEpoch:
    record = decode(line)
    if not isinstance(record, EpochRecord):
        raise ValueError(f"it is a record of type {record.type}")
    values = (record.epoch, record.seconds, record.memory_gib, record.learning_rate)
    if not all(isinstance(value, int | float) for value in values) or record.epoch < 1:
        raise ValueError("epoch, seconds, memory and learning rate must be numbers, and epoch at least 1")
    if not isinstance(record.losses, Mapping) or not isinstance(record.metrics, Mapping | None):
        raise ValueError("losses and metrics must map names to values")
    return RunEpoch(
        epoch=int(record.epoch),
        train=dict(record.losses),
        metrics=None if record.metrics is None else dict(record.metrics),
        seconds=float(record.seconds),
        memory_gib=float(record.memory_gib),
        learning_rate=float(record.learning_rate),
    )
