"""Maximum demand (最大需量) and load factor (负荷率) of boundary meters, by month."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.accounts import of_series
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.shapes import Format, Id, Shape, check_rows, csv_response, find_sites, utc
from aggregator.register.carriers import carriers
from aggregator.register.model import Role, Site
from contract.channels import catalogue
from contract.interval import BEIJING_OFFSET_MS, HOUR_MS, month_start, next_month
from contract.stored import Level
from contract.units import MICRO

_BOUNDARY = (Role.BOUNDARY_IN, Role.BOUNDARY_OUT)


class DemandRow(Shape):
    """One channel of one meter in one month. Demand is energy over the length of an interval."""

    site: str
    meter: str
    channel: str
    role: str
    month: str
    """2026-03, at +08:00."""
    interval_min: int
    max_kw: float | None
    """Of the intervals that were measured from end to end; null when none was."""
    max_start: str | None
    """When that interval began: the first of equals."""
    max_start_ms: int | None
    mean_kw: float | None
    """Over the same intervals."""
    load_factor: float | None
    """mean_kw / max_kw; null while nothing flowed."""
    measured_intervals: int
    expected_intervals: int
    """Of the month so far. More than measured: a larger demand may have gone unseen."""


class DemandAnswer(Shape):
    """Boundary meters of electricity."""

    month: str
    from_ms: int
    to_ms: int
    demand: tuple[DemandRow, ...]


class DemandQuery(Shape):
    """Parameters of /demand."""

    site: Id | None = None
    month: Annotated[str, Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$")] | None = None
    """2026-03; default: the present one at +08:00."""
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["ledger"])

    @router.get("/demand", response_model=DemandAnswer)
    def monthly(query: Annotated[DemandQuery, Query()]) -> DemandAnswer | Response:
        """Return the largest demand of each boundary meter in a month."""
        from_ms = _month_ms(query.month, reader.now_ms())
        to_ms = next_month(from_ms)
        sites = find_sites(reader, query.site)
        count = sum(len(_boundary(reader, site, from_ms, to_ms)) for site in sites)
        check_rows(Level.INTERVAL, reader.grid_ms, count, from_ms, to_ms)
        rows = tuple(row for site in sites for row in _rows(reader, site, from_ms, to_ms))
        if query.format == "csv":
            return csv_response(rows)
        return DemandAnswer(month=_name(from_ms), from_ms=from_ms, to_ms=to_ms, demand=rows)

    return router


def _boundary(
    reader: LedgerReader, site: Site, from_ms: int, to_ms: int
) -> Sequence[tuple[int, str, str, Role]]:
    """Return (series, meter, channel, role) of the meters at the border at the month's end."""
    at_ms = max(from_ms, min(to_ms, reader.now_ms()) - 1)
    rows = {meter.id: meter for meter in reader.register.meters(site.id, at_ms)}
    found = []
    for series in cumulative(reader.series(site.id), site.region):
        meter, channel = rows.get(series.key.meter), series.key.channel
        if (
            meter is not None
            and meter.role in _BOUNDARY
            and str(catalogue()[channel].unit) == "kWh"
            and channel in carriers()[meter.carrier].accounted({channel})
        ):
            found.append((series.index, meter.id, channel, meter.role))
    return sorted(found)


def _rows(reader: LedgerReader, site: Site, from_ms: int, to_ms: int) -> Iterator[DemandRow]:
    chosen = _boundary(reader, site, from_ms, to_ms)
    if not chosen:
        return
    grid_ms = reader.grid_ms
    figures = reader.figures(Level.INTERVAL, [one[0] for one in chosen], from_ms, to_ms)
    expected = max(0, min(to_ms, reader.now_ms()) - from_ms) // grid_ms
    per_kw = MICRO * grid_ms / HOUR_MS
    for series, meter, channel, role in chosen:
        rows = of_series(figures, series)
        rows = rows.take(rows.measured_ms == grid_ms)  # what was estimated or held sets no maximum
        max_kw = mean_kw = start_ms = None
        if len(rows):
            largest = int(rows.amount.argmax())  # the first of equals
            max_kw = int(rows.amount[largest]) / per_kw
            mean_kw = int(rows.amount.sum()) / len(rows) / per_kw
            start_ms = int(rows.start_ms[largest])
        yield DemandRow(
            site=site.id,
            meter=meter,
            channel=channel,
            role=str(role),
            month=_name(from_ms),
            interval_min=grid_ms // 60_000,
            max_kw=max_kw,
            max_start=None if start_ms is None else utc(start_ms),
            max_start_ms=start_ms,
            mean_kw=mean_kw,
            load_factor=mean_kw / max_kw if mean_kw is not None and max_kw else None,
            measured_intervals=len(rows),
            expected_intervals=expected,
        )


def _month_ms(name: str | None, now_ms: int) -> int:
    if name is None:
        return month_start(now_ms)
    first = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    return int(first.timestamp()) * 1000 - BEIJING_OFFSET_MS


def _name(month_ms: int) -> str:
    return datetime.fromtimestamp((month_ms + BEIJING_OFFSET_MS) // 1000, UTC).strftime("%Y-%m")
