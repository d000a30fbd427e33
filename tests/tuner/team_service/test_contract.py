"""Test the REST interface against its own OpenAPI description, with requests by schemathesis."""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.team_service import running_team
from tests.tuner.team_service.conftest import filled
from tuner.team_service.limits import RateLimit

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]
TIMEOUT_S = 60
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def described(request, tmp_path_factory, template):
    """Start a service on each kind of database, without rate limits."""
    storage = None if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()
    with running_team(tmp_path_factory.mktemp("home"), storage=storage) as team:
        unlimited = RateLimit(burst=100_000, per_s=1000)
        team.service.guard._requests = team.service.guard._failures = team.service.guard._checks = unlimited
        yield filled(team, template)


def ask_all(team, examples):
    """Send requests to every operation, some as described and some not; return the number of operations."""
    schema = schemathesis.openapi.from_url(f"{team.url}/api/v1/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        for mode in MODES:
            ask(team, operation.as_strategy(generation_mode=mode), examples)
    return len(operations)


def ask(team, cases, examples):
    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=cases)
    def send(case):
        if "name" in case.path_parameters and len(str(case.path_parameters["name"])) % 2:
            case.path_parameters["name"] = "bobs"  # an existing study; random names never match one
        headers = {"Authorization": f"Bearer {team.tokens['ann']}"}
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=TIMEOUT_S)

    send()


def test_every_answer_is_as_described(described):
    assert ask_all(described, 2) == 11


@pytest.mark.slow
def test_every_answer_is_as_described_for_many_requests(described):
    assert ask_all(described, 30) == 11
