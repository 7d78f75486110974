"""The proof per channel: registers as read against what the ledger holds."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader, Series, cumulative
from aggregator.api.shapes import Format, Id, Shape, csv_response, find_site, find_sites
from aggregator.proof import prove
from aggregator.register.model import Meter

MAX_CHANNELS = 500
"""Most channels one request may prove: each is read from its first reading to its last."""


class ProofRow(Shape):
    """One channel, from its first to its last reading.

    (register end - start) x multiplier + events = booked + held + difference, in micro-units of
    the channel's unit. Registers are as displayed; booked, held and events are energy.
    """

    site: str
    meter: str
    channel: str
    carrier: str
    role: str
    multiplier: int
    received: int
    """Readings that count."""
    first_ms: int | None
    last_ms: int | None
    register_start_micro: int | None
    register_end_micro: int | None
    events_micro: int
    booked_micro: int
    held_micro: int
    difference_micro: int
    closes: bool


class ProofAnswer(Shape):
    """All channels of registered meters."""

    closes: bool
    """Whether every channel does."""
    channels: tuple[ProofRow, ...]


class ProofQuery(Shape):
    """Parameters of /proof."""

    site: Id | None = None
    meter: Id | None = None
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["proof"])

    @router.get("/proof", response_model=ProofAnswer)
    def proof(query: Annotated[ProofQuery, Query()]) -> ProofAnswer | Response:
        """Prove every channel of one meter, one site, or all, up to 500 at once."""
        if query.meter is not None:
            if query.site is None:
                raise ApiError(422, "site", "missing: a meter's id is unique within its site only")
            find_site(reader, query.site)
            if (query.site, query.meter) not in reader.register.rows:
                raise ApiError(404, "meter", f"no meter {query.meter!r} at site {query.site!r}")
        chosen = [
            (found, reader.register.rows[site.id, found.key.meter][-1])
            for site in find_sites(reader, query.site)
            for found in cumulative(reader.series(site.id), site.region)
            if (site.id, found.key.meter) in reader.register.rows
            and query.meter in (None, found.key.meter)
        ]
        if len(chosen) > MAX_CHANNELS:
            raise ApiError(
                422,
                "site" if query.site is None else "meter",
                f"asks for {len(chosen)} channels, at most {MAX_CHANNELS} are proved at once: "
                "name one",
            )
        rows = [_prove(reader, found, meter) for found, meter in chosen]
        if query.format == "csv":
            return csv_response(rows)
        return ProofAnswer(closes=all(row.closes for row in rows), channels=tuple(rows))

    return router


def _prove(reader: LedgerReader, found: Series, meter: Meter) -> ProofRow:
    readings, intervals = reader.history(found.index)
    line = prove(
        readings.time_ms,
        readings.value.astype("int64"),
        reader.facts(found.index),
        int(intervals.amount.sum()),
        int(intervals.amount_held.sum()),
    )
    return ProofRow(
        site=meter.site,
        meter=meter.id,
        channel=found.key.channel,
        carrier=meter.carrier,
        role=str(meter.role),
        multiplier=line.multiplier,
        received=line.received,
        first_ms=line.first_ms,
        last_ms=line.last_ms,
        register_start_micro=line.register_start_micro,
        register_end_micro=line.register_end_micro,
        events_micro=line.events_micro,
        booked_micro=line.booked_micro,
        held_micro=line.held_micro,
        difference_micro=line.difference_micro,
        closes=line.closes,
    )
