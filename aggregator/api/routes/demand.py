"""Maximum demand (最大需量), load factor (负荷率) and power factor (功率因数), by month."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.shapes import Format, Id, Shape, check_rows, csv_response, find_sites, utc
from aggregator.demand import PowerFactor, coincident, demand, power_factor
from aggregator.register.carriers import carriers
from aggregator.register.model import Role, Site
from aggregator.register.roles import consumption_sign
from contract.channels import catalogue
from contract.interval import BEIJING_OFFSET_MS, month_start, next_month
from contract.stored import Level

_BOUNDARY = (Role.BOUNDARY_IN, Role.BOUNDARY_OUT)


class DemandFigures(Shape):
    """Figures of one load in one month. Demand is energy over the length of an interval."""

    max_kw: float | None
    """Of the intervals that were measured from end to end; null when none was."""
    max_start: str | None
    """When that interval began: the first of equals."""
    max_start_ms: int | None
    mean_kw: float | None
    """Over the same intervals."""
    load_factor: float | None
    """mean_kw / max_kw; null while nothing flowed."""
    power_factor: float | None
    """Of the month's energy taken in, active and reactive; null without registers of both."""
    power_factor_at_max: float | None
    """Of the interval of the maximum."""
    power_factor_intervals: int
    """Those in which both were measured from end to end."""
    measured_intervals: int
    expected_intervals: int
    """Of the month so far. More than measured: a larger demand may have gone unseen."""


class DemandRow(DemandFigures):
    """One channel of one meter in one month."""

    site: str
    meter: str
    channel: str
    role: str
    month: str
    """2026-03, at +08:00."""
    interval_min: int


class SiteDemand(DemandFigures):
    """A site: sums of coincident intervals of its boundary meters, what is given out taken away.

    An interval counts where all of them were measured from end to end.
    """

    site: str
    meters: tuple[str, ...]


class DemandAnswer(Shape):
    """Boundary meters of electricity, and their sites."""

    month: str
    from_ms: int
    to_ms: int
    demand: tuple[DemandRow, ...]
    sites: tuple[SiteDemand, ...]


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
        borders = [(site, _boundary(reader, site, from_ms, to_ms)) for site in sites]
        count = sum(len(own) for _, own in borders)
        check_rows(Level.INTERVAL, reader.grid_ms, count, from_ms, to_ms)
        loads = [_SiteLoads(reader, site, own, from_ms, to_ms) for site, own in borders if own]
        rows = tuple(row for one in loads for row in one.rows())
        if query.format == "csv":
            return csv_response(rows)
        return DemandAnswer(
            month=_name(from_ms),
            from_ms=from_ms,
            to_ms=to_ms,
            demand=rows,
            sites=tuple(one.total() for one in loads),
        )

    return router


@dataclass(frozen=True, slots=True)
class _Counter:
    """A channel at the border of a site."""

    series: int
    meter: str
    channel: str
    role: Role
    sign: int
    """How it enters the site's demand."""


def _boundary(reader: LedgerReader, site: Site, from_ms: int, to_ms: int) -> Sequence[_Counter]:
    """Return the channels at the border at the month's end."""
    at_ms = max(from_ms, min(to_ms, reader.now_ms()) - 1)
    rows = {meter.id: meter for meter in reader.register.meters(site.id, at_ms)}
    found = []
    for series in cumulative(reader.series(site.id), site.region):
        meter, channel = rows.get(series.key.meter), series.key.channel
        if meter is None or meter.role not in _BOUNDARY or str(catalogue()[channel].unit) != "kWh":
            continue
        direction = carriers()[meter.carrier].accounted({channel}).get(channel)
        if direction is not None:
            sign = consumption_sign(meter.role) * direction
            found.append(_Counter(series.index, meter.id, channel, meter.role, sign))
    return sorted(found, key=attrgetter("series"))


class _SiteLoads:
    """The measured intervals of a site's border in a month."""

    def __init__(
        self,
        reader: LedgerReader,
        site: Site,
        border: Sequence[_Counter],
        from_ms: int,
        to_ms: int,
    ) -> None:
        self._site = site
        self._border = border
        self._month = _name(from_ms)
        self._grid_ms = reader.grid_ms
        self._series = {
            (found.key.meter, found.key.channel): found.index
            for found in cumulative(reader.series(site.id), site.region)
        }
        self._reactive = {
            meter: [
                self._series[meter, f"reactive_energy_{way}"]
                for way in ("import", "export")
                if (meter, f"reactive_energy_{way}") in self._series
            ]
            for meter in {counter.meter for counter in border}
        }
        every = {counter.series for counter in border}
        every.update(*self._reactive.values())
        self._figures = reader.figures(Level.INTERVAL, sorted(every), from_ms, to_ms)
        self._expected = max(0, min(to_ms, reader.now_ms()) - from_ms) // reader.grid_ms

    def rows(self) -> Iterator[DemandRow]:
        for counter in self._border:
            yield DemandRow(
                site=self._site.id,
                meter=counter.meter,
                channel=counter.channel,
                role=str(counter.role),
                month=self._month,
                interval_min=self._grid_ms // 60_000,
                **self._of({counter.series: 1}, [counter]),
            )

    def total(self) -> SiteDemand:
        return SiteDemand(
            site=self._site.id,
            meters=tuple(dict.fromkeys(counter.meter for counter in self._border)),
            **self._of({counter.series: counter.sign for counter in self._border}, self._border),
        )

    def _of(self, signs: Mapping[int, int], counters: Sequence[_Counter]) -> dict[str, Any]:
        load = coincident(self._figures, signs, self._grid_ms)
        largest = demand(load, self._grid_ms)
        month = at_max = PowerFactor(None, 0)
        taken = [counter for counter in counters if counter.sign > 0]
        if taken and all(self._reactive[counter.meter] for counter in taken):
            own = {series: 1 for counter in taken for series in self._reactive[counter.meter]}
            active = coincident(self._figures, {one.series: 1 for one in taken}, self._grid_ms)
            reactive = coincident(self._figures, own, self._grid_ms)
            month = power_factor(active, reactive)
            if largest is not None:
                at_max = power_factor(active, reactive, largest.start_ms)
        return {
            "max_kw": largest and largest.max_kw,
            "max_start": largest and utc(largest.start_ms),
            "max_start_ms": largest and largest.start_ms,
            "mean_kw": largest and largest.mean_kw,
            "load_factor": largest and largest.load_factor,
            "power_factor": month.value,
            "power_factor_at_max": at_max.value,
            "power_factor_intervals": month.intervals,
            "measured_intervals": largest.intervals if largest else 0,
            "expected_intervals": self._expected,
        }


def _month_ms(name: str | None, now_ms: int) -> int:
    if name is None:
        return month_start(now_ms)
    first = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    return int(first.timestamp()) * 1000 - BEIJING_OFFSET_MS


def _name(month_ms: int) -> str:
    return datetime.fromtimestamp((month_ms + BEIJING_OFFSET_MS) // 1000, UTC).strftime("%Y-%m")
