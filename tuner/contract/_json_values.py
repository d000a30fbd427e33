"""Turn records into JSON values and back, by the annotations of their fields."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import EnumType
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")
_Restore = Callable[[Any], Any]

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def values_of(record: Any) -> dict[str, Any]:
    """Convert a record to a JSON object; NaN and infinities become the strings "nan", "inf" and "-inf"."""
    values: dict[str, Any] = _jsonable(asdict(record))
    return values


def record_of(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Convert a JSON object to a record; fields that the record does not have are ignored.

    Raises:
        TypeError: a field is missing, or does not have the form that its annotation requires.
        ValueError: a field has an invalid value.
    """
    restorers = _restorers(cast(Any, kind))
    return kind(**{name: restore(values[name]) for name, restore in restorers.items() if name in values})


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    return value


@cache
def _restorers(kind: type[Any]) -> dict[str, _Restore]:
    """Return for each field the function that converts its JSON value; cached, as resolving annotations is slow."""
    hints = get_type_hints(kind)
    return {field.name: _restorer(hints[field.name]) for field in fields(kind)}


def _restorer(hint: Any) -> _Restore:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType and type(None) in arguments:
        (other,) = (argument for argument in arguments if argument is not type(None))
        return _optional(_restorer(other))
    if origin is tuple:
        return _tuple_of(_restorer(arguments[0]))
    if origin is not None and issubclass(cast(type, origin), Mapping):
        return _mapping_to(_number if arguments[1] is float else _restorer(arguments[1]))
    if is_dataclass(hint):
        return lambda values: record_of(cast(type, hint), _object(values))
    if isinstance(hint, EnumType):
        return hint
    return _finite_or_not if hint is float else _as_it_is


def _optional(restore: _Restore) -> _Restore:
    return lambda value: None if value is None else restore(value)


def _tuple_of(restore: _Restore) -> _Restore:
    def restored(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"must be a list, but got {value!r:.100}")
        return tuple(map(restore, value))

    return restored


def _mapping_to(restore: _Restore) -> _Restore:
    return lambda value: {name: restore(each) for name, each in _object(value).items()}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"must be an object, but got {value!r:.100}")
    return value


def _number(value: Any) -> float:
    number = _finite_or_not(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"a metric must be a number, but got {number!r:.100}")
    return number


def _finite_or_not(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def _as_it_is(value: Any) -> Any:
    return value
