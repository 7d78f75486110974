"""What the OpenAPI document promises is kept: every operation, with arguments of all kinds."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from aggregator.api.guard import RULES
from tests.aggregator.test_api_access import SECRETS, Door

EXAMPLES = 40 if settings().max_examples <= 100 else 300
OPERATIONS = sorted(f"{method} {path}" for method, path in RULES)
UNTOLD = {"GET /", "GET /docs", "GET /console/{name}", "GET /openapi.json"}
"""Pages for people, and the document itself."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    door = Door(tmp_path_factory.mktemp("openapi"))
    yield schemathesis.openapi.from_asgi("/openapi.json", door.app)
    door.ledger.store.close()
    for database in (door.facts, door.restatements, door.closings, door.tokens):
        database.close()


def operations(schema: BaseSchema) -> dict[str, Any]:
    found = list(schema.get_all_operations())
    assert all(isinstance(one, Ok) for one in found), found
    return {one.ok().label: one.ok() for one in found if isinstance(one, Ok)}


@pytest.mark.parametrize("label", [one for one in OPERATIONS if one not in UNTOLD])
def test_an_operation_keeps_what_the_document_promises(schema: BaseSchema, label: str) -> None:
    operation = operations(schema)[label]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy())
    def holds(case: "Case[Any]") -> None:
        # A schema cannot say that `from` lies before `to`, or that an exchange needs a meter.
        case.call_and_validate(
            headers={"Authorization": f"Bearer {SECRETS['engineer']}"},
            excluded_checks=[positive_data_acceptance],
        )

    holds()


def test_every_operation_is_in_the_document(schema: BaseSchema) -> None:
    assert set(operations(schema)) == set(OPERATIONS) - UNTOLD
