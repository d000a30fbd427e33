"""Read the forms of the pages."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tuner.team_service.answers import Problem
from tuner.team_service.schema import SubmitRequest

_MOST_FIELDS = 50
_TYPE = "application/x-www-form-urlencoded"


async def fields_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; those that are left empty are missing.

    Raises:
        HTTPException: 400 it is not a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind != _TYPE:
            raise ValueError
        text = (await request.body()).decode()
        return {name: value for name, value in parse_qsl(text, max_num_fields=_MOST_FIELDS) if value.strip()}
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"A form must be sent as {_TYPE}.") from error


def submit_request(fields: Mapping[str, str]) -> SubmitRequest | list[Problem]:
    """Return the request of a filled form, or what is wrong with its fields."""
    values: dict[str, Any] = {name: text for name, text in fields.items() if name in SubmitRequest.model_fields}
    values["promote"] = "promote" in fields
    values["space"] = fields.get("space", "").replace("\r\n", "\n")
    try:
        return SubmitRequest.model_validate(values, strict=False)
    except ValidationError as error:
        return [problem_of(dict(each)) for each in error.errors(include_url=False, include_input=False)]


def problem_of(error: Mapping[str, Any]) -> Problem:
    """Put an error of pydantic into words."""
    place = [str(part) for part in error["loc"] if part not in ("body", "query")]
    return Problem(field=".".join(place)[:100], text=str(error["msg"])[:500])
