"""Maximum demand (最大需量), load factor (负荷率) and power factor (功率因数), by month."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.accounts import spans_of
from aggregator.api.reader import LedgerReader, by_channel
from aggregator.api.shapes import Format, Id, Shape, check_rows, csv_response, find_sites, utc
from aggregator.batch import IntervalColumns
from aggregator.demand import Load, PowerFactor, coincident, demand, joined, power_factor
from aggregator.kernels.integral import INTEGRATED
from aggregator.periods import month_of, month_text
from aggregator.register.model import Role, Site
from aggregator.register.roles import Term
from contract.interval import month_start, next_month
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
    """Of the month so far, while it was at the border. More than measured: a larger demand may have
    gone unseen."""
    integrated: bool
    """No register counted it, or some of it: it is of the integral of a measured power."""


class DemandRow(DemandFigures):
    """One channel of one meter in one month, while the meter had one role at the border."""

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
        from_ms = month_of(query.month) if query.month else month_start(reader.now_ms())
        to_ms = next_month(from_ms)
        sites = find_sites(reader, query.site)
        borders = [(site, _borders(reader, site, from_ms, to_ms)) for site in sites]
        count = sum(len({series for one in own for series in one.terms}) for _, own in borders)
        check_rows(Level.INTERVAL, reader.grid_ms, count, from_ms, to_ms)
        loads = [_SiteLoads(reader, site, own, from_ms, to_ms) for site, own in borders if own]
        rows = tuple(row for one in loads for row in one.rows())
        if query.format == "csv":
            return csv_response(DemandRow, rows)
        return DemandAnswer(
            month=month_text(from_ms),
            from_ms=from_ms,
            to_ms=to_ms,
            demand=rows,
            sites=tuple(one.total() for one in loads),
        )

    return router


@dataclass(frozen=True, slots=True)
class _Border:
    """The channels at the border of a site in a time in which its register does not change."""

    start_ms: int
    end_ms: int
    terms: Mapping[int, Term]
    """By series."""

    def inside(self, figures: IntervalColumns) -> IntervalColumns:
        """Return the figures that start in this time."""
        return figures.take((figures.start_ms >= self.start_ms) & (figures.start_ms < self.end_ms))


def _borders(reader: LedgerReader, site: Site, from_ms: int, to_ms: int) -> Sequence[_Border]:
    """Return what the site's border is made of in [from_ms, to_ms), one time after the other."""
    found = []
    for span in spans_of(reader, site, from_ms, to_ms):
        own = {
            series: term
            for series, term in sorted(span.terms)
            if term.role in _BOUNDARY and term.unit == "kWh"
        }
        if own:
            found.append(_Border(span.start_ms, span.end_ms, own))
    return found


class _SiteLoads:
    """The measured intervals of a site's border in a month."""

    def __init__(
        self,
        reader: LedgerReader,
        site: Site,
        borders: Sequence[_Border],
        from_ms: int,
        to_ms: int,
    ) -> None:
        self._site = site
        self._borders = borders
        self._month = month_text(from_ms)
        self._grid_ms = reader.grid_ms
        self._until_ms = min(to_ms, reader.now_ms())
        terms = {series: term for border in borders for series, term in border.terms.items()}
        channels = by_channel(reader, site)
        self._reactive = {
            meter: [
                channels[meter, f"reactive_energy_{way}"]
                for way in ("import", "export")
                if (meter, f"reactive_energy_{way}") in channels
            ]
            for meter in {term.meter for term in terms.values()}
        }
        every = {*terms, *(series for own in self._reactive.values() for series in own)}
        self._figures = reader.figures(Level.INTERVAL, sorted(every), from_ms, to_ms)

    def rows(self) -> Iterator[DemandRow]:
        parts: dict[tuple[int, Role], list[_Border]] = defaultdict(list)
        for border in self._borders:
            for series, term in border.terms.items():
                parts[series, term.role].append(replace(border, terms={series: term}))
        for (series, role), own in sorted(parts.items()):
            term = own[0].terms[series]
            yield DemandRow(
                site=self._site.id,
                meter=term.meter,
                channel=term.channel,
                role=str(role),
                month=self._month,
                interval_min=self._grid_ms // 60_000,
                **self._of(own, lambda _: 1),
            )

    def total(self) -> SiteDemand:
        terms = [term for border in self._borders for term in border.terms.values()]
        return SiteDemand(
            site=self._site.id,
            meters=tuple(dict.fromkeys(term.meter for term in terms)),
            **self._of(self._borders, attrgetter("consumption")),
        )

    def _is_integrated(self, border: _Border) -> bool:
        own = border.inside(self._figures)
        own = own.take(np.isin(own.series, list(border.terms)))
        return bool((own.flags & INTEGRATED).any())

    def _of(self, borders: Sequence[_Border], sign: Callable[[Term], int]) -> dict[str, Any]:
        load = self._load(borders, sign)
        largest = demand(load, self._grid_ms)
        month = at_max = PowerFactor(None, 0)
        taken = [
            replace(border, terms={s: t for s, t in border.terms.items() if t.consumption > 0})
            for border in borders
        ]
        taken = [border for border in taken if border.terms]
        meters = {term.meter for border in taken for term in border.terms.values()}
        if meters and all(self._reactive[meter] for meter in meters):
            active = self._load(taken, lambda _: 1)
            reactive = joined(
                coincident(
                    border.inside(self._figures),
                    {one: 1 for t in border.terms.values() for one in self._reactive[t.meter]},
                    self._grid_ms,
                )
                for border in taken
            )
            month = power_factor(active, reactive)
            if largest is not None:
                at_max = power_factor(active, reactive, largest.start_ms)
        expected_ms = sum(max(0, min(b.end_ms, self._until_ms) - b.start_ms) for b in borders)
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
            "expected_intervals": expected_ms // self._grid_ms,
            "integrated": any(map(self._is_integrated, borders)),
        }

    def _load(self, borders: Sequence[_Border], sign: Callable[[Term], int]) -> Load:
        """Add up what each border's channels counted at once."""
        return joined(
            coincident(
                border.inside(self._figures),
                {series: sign(term) for series, term in border.terms.items()},
                self._grid_ms,
            )
            for border in borders
        )
