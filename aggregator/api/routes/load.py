"""The load curve of a site: its mean electric power in each interval."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response

from aggregator.api.accounts import figures_of, spans_of
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.shapes import (
    Format,
    Id,
    Period,
    Shape,
    check_rows,
    csv_response,
    find_site,
    utc,
)
from aggregator.periods import first_start
from aggregator.register.model import Site
from aggregator.register.roles import consumption_sign
from contract.interval import HOUR_MS
from contract.stored import Level
from contract.units import MICRO

ELECTRICITY = "electricity"


class LoadRow(Shape):
    """One interval, stamped with its start."""

    start: str
    start_ms: int
    power_kw: float | None
    """Boundary in - boundary out + own generation; null when one of these meters has no figure."""
    measured_share: float | None
    """Measured time of these meters, over all their time; null without such meters."""


class LoadAnswer(Shape):
    """Intervals that start in [from, to) and are over."""

    site: str
    grid_ms: int
    from_ms: int
    to_ms: int
    load: tuple[LoadRow, ...]


class LoadQuery(Period):
    """Parameters of /load."""

    site: Id
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["ledger"])

    @router.get("/load", response_model=LoadAnswer)
    def load(query: Annotated[LoadQuery, Query()]) -> LoadAnswer | Response:
        """Return the load curve of a site (default: today)."""
        from_ms, to_ms = query.resolve(reader.now_ms())
        site = find_site(reader, query.site)
        count = max(1, len(cumulative(reader.series(site.id), site.region)))
        check_rows(Level.INTERVAL, reader.grid_ms, count, from_ms, to_ms)
        rows = tuple(_rows(reader, site, from_ms, min(to_ms, reader.now_ms())))
        if query.format == "csv":
            return csv_response(LoadRow, rows)
        return LoadAnswer(
            site=site.id, grid_ms=reader.grid_ms, from_ms=from_ms, to_ms=to_ms, load=rows
        )

    return router


def _rows(reader: LedgerReader, site: Site, from_ms: int, to_ms: int) -> Iterator[LoadRow]:
    grid_ms = reader.grid_ms
    from_ms = first_start(Level.INTERVAL, grid_ms, from_ms)
    count = (to_ms - from_ms) // grid_ms
    if count <= 0:
        return
    to_ms = from_ms + count * grid_ms
    power_kw, measured_ms = np.zeros((2, count))
    wanted, known = np.zeros((2, count), np.int64)
    spans = spans_of(reader, site, from_ms, to_ms)
    figures = figures_of(reader, spans, Level.INTERVAL, from_ms, to_ms)
    for span in spans:
        first, end = (-((from_ms - time_ms) // grid_ms) for time_ms in (span.start_ms, span.end_ms))
        wanted[first:end] += sum(
            meter.carrier == ELECTRICITY and consumption_sign(meter.role) != 0
            for meter in span.meters
        )
        for series, term in span.terms:
            if term.carrier != ELECTRICITY or not term.consumption:
                continue
            rows = span.of(figures, series)
            rows = rows.take(rows.measured_ms + rows.estimated_ms > 0)
            at = (rows.start_ms - from_ms) // grid_ms
            covered_h = (rows.measured_ms + rows.estimated_ms) / HOUR_MS
            power_kw[at] += term.consumption * rows.amount / MICRO / covered_h
            if term.direction > 0:
                known[at] += 1
                measured_ms[at] += rows.measured_ms
    for i in range(count):
        start_ms, meters = from_ms + i * grid_ms, int(wanted[i])
        yield LoadRow(
            start=utc(start_ms),
            start_ms=start_ms,
            power_kw=float(power_kw[i]) if meters and known[i] == meters else None,
            measured_share=float(measured_ms[i]) / (meters * grid_ms) if meters else None,
        )
