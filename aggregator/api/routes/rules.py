"""The rules by which readings are judged."""

from collections.abc import Mapping

from fastapi import APIRouter

from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Shape
from aggregator.ledger.rules import rules


class RuleRow(Shape):
    """One rule."""

    id: str
    since: str
    """Day from which on it is applied."""
    severity: str
    effect: str
    parameters: Mapping[str, str]
    what: str
    verdicts: int | None
    """How often it spoke since the aggregator's start; null: not counted."""


class RulesAnswer(Shape):
    """All rules."""

    rules: tuple[RuleRow, ...]


def routes(reader: LedgerReader) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["events"])

    @router.get("/rules")
    def all_rules() -> RulesAnswer:
        """Return the rules and how often each spoke."""
        counters = reader.counters()
        return RulesAnswer(
            rules=tuple(
                RuleRow(
                    id=str(rule.id),
                    since=rule.since.isoformat(),
                    severity=rule.severity,
                    effect=rule.effect,
                    parameters=dict(rule.parameters),
                    what=rule.what,
                    verdicts=counters.get(rule.counter),
                )
                for rule in rules().values()
            )
        )

    return router
