"""Define the columns of the table of learning curves. docs/curves.md describes the format."""

from collections.abc import Sequence

import pyarrow as pa

from tuner.contract import METRICS, ParamValue
from tuner.space import ChoiceParameter, IntParameter, SearchedParameter, Space

FORMAT_VERSION = 1
METADATA_KEY = b"mamba-yolo-tuner"
LOSS_PREFIX = "loss_"


def schema_of(space: Space, losses: Sequence[str]) -> pa.Schema:
    """Lay out the columns for a space whose runs have these losses."""
    text, whole, real = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64()
    return pa.schema(
        {
            "study": text,
            **dict.fromkeys(("trial", "seed", "epoch"), whole),
            **dict.fromkeys((*METRICS, *losses, "seconds", "memory_gib", "learning_rate"), real),
            "batch_trained": whole,
            "state": text,
            "reason": text,
            **{parameter.label: _column_type(parameter, text) for parameter in space.searched},
        }
    )


def _column_type(parameter: SearchedParameter, text: pa.DataType) -> pa.DataType:
    if not isinstance(parameter, ChoiceParameter):
        return pa.int64() if isinstance(parameter, IntParameter) else pa.float64()
    types = {type(choice) for choice in parameter.choices}
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(types.pop(), text) if len(types) == 1 else text


def as_stored(parameter: SearchedParameter, value: ParamValue) -> ParamValue:
    """Convert a sampled value for its column: text if a choice has values of several types."""
    is_mixed = isinstance(parameter, ChoiceParameter) and len({type(choice) for choice in parameter.choices}) > 1
    return str(value).lower() if is_mixed and isinstance(value, bool) else str(value) if is_mixed else value


def as_sampled(parameter: SearchedParameter, stored: ParamValue) -> ParamValue:
    """Convert back the value that `as_stored` made."""
    choices = parameter.choices if isinstance(parameter, ChoiceParameter) else ()
    return next((choice for choice in choices if as_stored(parameter, choice) == stored), stored)
