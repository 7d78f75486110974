"""The rules by which readings are judged."""

from collections.abc import Mapping

from fastapi import APIRouter

from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Shape
from aggregator.ledger.rules import rules


class RuleRow(Shape):
    """One rule."""

    id: str
    valid_from: str
    """First Beijing day on which readings are judged by it."""
    valid_until: str | None
    """First day on which they no longer are; null: it is in force."""
    severity: str
    effect: str
    """left_out, held, booked or flagged; quarantined: outside; estimated: the figure says so."""
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
                    valid_from=rule.valid_from.isoformat(),
                    valid_until=None if rule.valid_until is None else rule.valid_until.isoformat(),
                    severity=rule.severity,
                    effect=rule.effect,
                    parameters=dict(rule.parameters),
                    what=rule.what,
                    verdicts=counters.get(rule.counter),
                )
                for rows in rules().values()
                for rule in rows
            )
        )

    return router
