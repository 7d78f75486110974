"""The proof per channel: registers as read against what the ledger holds."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.errors import ApiError
from aggregator.api.proving import By, ProofRow, Span, periods, proof_rows
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.shapes import (
    MAX_ROWS,
    Format,
    Id,
    Shape,
    TimeMs,
    csv_response,
    find_meter,
    find_sites,
    utc,
)
from contract.interval import MINUTE_MS

MAX_CHANNELS = 500
"""Most channels one request may prove: readings are read for each."""


class ProofAnswer(Shape):
    """All channels of registered meters."""

    closes: bool
    """Whether every channel does."""
    channels: tuple[ProofRow, ...]


class ProofQuery(Shape):
    """Parameters of /proof."""

    site: Id | None = None
    meter: Id | None = None
    from_ms: TimeMs | None = Field(None, alias="from")
    """A border of intervals, included; without it, the first reading."""
    to_ms: TimeMs | None = Field(None, alias="to")
    """A border of intervals, excluded; without it, the last reading."""
    by: By = "all"
    """One row for the whole, or one per Beijing day or month of it."""
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["proof"])

    @router.get("/proof", response_model=ProofAnswer)
    def proof(query: Annotated[ProofQuery, Query()]) -> ProofAnswer | Response:
        """Prove every channel of one meter, one site, or all, up to 500 at once.

        From its first to its last reading, or between any two borders of intervals.
        """
        spans = _spans(reader, query)
        if query.meter is not None:
            find_meter(reader, query.site, query.meter)
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
        if len(chosen) * len(spans) > MAX_ROWS:
            raise ApiError(
                422,
                "to",
                f"asks for {len(chosen) * len(spans)} rows, at most {MAX_ROWS} are given at once: "
                "shorten the period, or name one meter",
            )
        rows = [row for found, meter in chosen for row in proof_rows(reader, found, meter, spans)]
        if query.format == "csv":
            return csv_response(ProofRow, rows)
        return ProofAnswer(closes=all(row.closes for row in rows), channels=tuple(rows))

    return router


def _spans(reader: LedgerReader, query: ProofQuery) -> Sequence[Span]:
    """Return the periods asked for; ApiError 422."""
    for name, time_ms in (("from", query.from_ms), ("to", query.to_ms)):
        if time_ms is not None and time_ms % reader.grid_ms:
            raise ApiError(
                422,
                name,
                f"{utc(time_ms)} is no border of intervals of {reader.grid_ms // MINUTE_MS} min",
            )
    if query.from_ms is not None and query.to_ms is not None and query.from_ms >= query.to_ms:
        raise ApiError(422, "from", f"{utc(query.from_ms)} is not before to = {utc(query.to_ms)}")
    try:
        return periods(query.from_ms, query.to_ms, query.by)
    except ValueError as error:
        raise ApiError(422, "by", str(error)) from None
