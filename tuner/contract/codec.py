"""Encode and decode every message of the contract: one JSON object a line, with version and type."""

import json
from typing import Any, get_args

from tuner.contract._json_values import record_of, values_of
from tuner.contract.data_report import CleanedRecord, DataCheckRequest, ProgressRecord
from tuner.contract.device_check import DeviceCheckRecord, DeviceCheckRequest
from tuner.contract.environment import EnvironmentRecord, EnvironmentRequest
from tuner.contract.measuring import MeasuredRecord, MeasureRequest
from tuner.contract.messages import (
    EndRecord,
    EpochRecord,
    PreparedRecord,
    PrepareRequest,
    StartedRecord,
    TrainRequest,
)
from tuner.contract.preview import PreviewRecord, PreviewRequest
from tuner.exceptions import TunerError

CONTRACT_VERSION = 1

Request = (
    PrepareRequest
    | TrainRequest
    | DataCheckRequest
    | PreviewRequest
    | EnvironmentRequest
    | MeasureRequest
    | DeviceCheckRequest
)
Record = (
    PreparedRecord
    | StartedRecord
    | EpochRecord
    | ProgressRecord
    | CleanedRecord
    | PreviewRecord
    | EnvironmentRecord
    | MeasuredRecord
    | DeviceCheckRecord
    | EndRecord
)

_KINDS: dict[str, type[Any]] = {kind.type: kind for kind in (*get_args(Request), *get_args(Record))}


class ContractError(TunerError):
    """Error: a line on the pipe is not a record of this contract."""


class UnknownTypeError(ContractError):
    """Error: a message has a type that this version of the contract does not know."""


def encode(message: Request | Record) -> str:
    """Write a message as one line of JSON, without the newline; NaN and infinities as "nan", "inf" and "-inf"."""
    body = {"version": CONTRACT_VERSION, "type": message.type, **values_of(message)}
    return json.dumps(body, allow_nan=False, separators=(",", ":"))


def decode(line: str) -> Request | Record:
    """Read the message on one line. Extra fields are ignored, so that a newer trainer can send more.

    Raises:
        UnknownTypeError: the type is unknown.
        ContractError: the line is not a JSON object, has another contract version, or lacks fields.
    """
    try:
        body = json.loads(line)
    except json.JSONDecodeError as error:
        raise ContractError(f"A record must be one line of JSON, but got {line[:200]!r}.") from error
    if not isinstance(body, dict) or body.get("version") != CONTRACT_VERSION:
        raise ContractError(f"A record must carry version {CONTRACT_VERSION}, but got {line[:200]!r}.")
    kind = _KINDS.get(str(body.get("type")))
    if kind is None:
        raise UnknownTypeError(f"A record's type must be one of {sorted(_KINDS)}, but got {body.get('type')!r}.")
    try:
        message: Request | Record = record_of(kind, body)
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"The {kind.type} record must be complete and valid ({error}), but got {line[:200]!r}."
        ) from error
    return message
