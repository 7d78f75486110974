"""What the rules said of a meter's readings."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.shapes import Format, Id, Period, Shape, csv_response, find_meter, utc
from aggregator.verdict import RuleId
from contract.channels import catalogue
from contract.units import MICRO

MAX_VERDICTS = 10_000
"""Most verdicts one answer holds."""


class VerdictRow(Shape):
    """One rule about one reading."""

    meter: str
    channel: str
    time: str
    time_ms: int
    """Of the reading, where a clock event has put it; of a stuck register the window's start."""
    rule: str
    """A row of /rules."""
    outcome: str
    """left_out, held, booked or flagged."""
    value: float
    """What the display showed [unit], before CT x VT; of a stuck register the mean rate that was
    measured meanwhile [unit per hour]."""
    unit: str


class VerdictsAnswer(Shape):
    """Verdicts that stand, by channel and time."""

    from_ms: int
    to_ms: int
    total: int
    """In the whole period."""
    next_offset: int | None
    """Ask with this `offset` for more; null: that was all."""
    verdicts: tuple[VerdictRow, ...]


class VerdictsQuery(Period):
    """Parameters of /verdicts."""

    site: Id
    meter: Id
    channel: str | None = Field(None, max_length=63)
    rule: str | None = Field(None, max_length=63)
    offset: int = Field(0, ge=0, le=2**31, strict=False)
    limit: int = Field(1_000, ge=1, le=MAX_VERDICTS, strict=False)
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["events"])

    @router.get("/verdicts", response_model=VerdictsAnswer)
    def verdicts(query: Annotated[VerdictsQuery, Query()]) -> VerdictsAnswer | Response:
        """Return the verdicts that stand about a meter's readings, as many at once as asked for."""
        from_ms, to_ms = query.resolve(reader.now_ms())
        site = find_meter(reader, query.site, query.meter)
        if query.rule is not None and query.rule not in {str(rule) for rule in RuleId}:
            raise ApiError(422, "rule", f"unknown; known: {', '.join(RuleId)}")
        channels = {
            found.index: found.key.channel
            for found in cumulative(reader.series(site.id), site.region)
            if found.key.meter == query.meter and query.channel in (None, found.key.channel)
        }
        found = [
            verdict
            for verdict in reader.verdicts(list(channels), from_ms, to_ms)
            if query.rule in (None, verdict.rule)
        ]
        found.sort(key=lambda one: (channels[one.series], one.time_ms, one.rule.number))
        end = query.offset + query.limit
        rows = tuple(
            VerdictRow(
                meter=query.meter,
                channel=channels[one.series],
                time=utc(one.time_ms),
                time_ms=one.time_ms,
                rule=str(one.rule),
                outcome=str(one.outcome),
                value=one.value / MICRO,
                unit=str(catalogue()[channels[one.series]].unit),
            )
            for one in found[query.offset : end]
        )
        if query.format == "csv":
            return csv_response(VerdictRow, rows)
        return VerdictsAnswer(
            from_ms=from_ms,
            to_ms=to_ms,
            total=len(found),
            next_offset=end if end < len(found) else None,
            verdicts=rows,
        )

    return router
