"""Now, today and this month: each region as a whole, and its largest sites.

From the stored figures of sites, not of channels: a site costs a row per carrier, however many
meters it has. They follow the readings by a round of roll-ups: a minute, and as long as that takes.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from aggregator.api.accounts import edges_of
from aggregator.api.reader import LedgerReader, states_by_site
from aggregator.api.routes.live import power_of
from aggregator.api.shapes import Amounts, Format, Shape, csv_response
from aggregator.register.carriers import carriers
from aggregator.register.model import Site
from contract.interval import DAY_MS, day_start, month_start, next_month
from contract.state import EdgeState
from contract.stored import ENERGY, Level

MOST_SITES = 1_000

Place = tuple[str, str]
"""Region and site."""


class RegionCarrier(Shape):
    """One carrier over sites."""

    carrier: str
    carrier_zh: str
    counted: bool
    """False: a medium (耗能工质) outside converted totals."""
    consumption: Amounts
    tce_calorific: float | None
    sites: int
    """With figures."""
    sites_known: int
    """Of them those whose standard coal is determined; what is null elsewhere is not added."""


class Use(Shape):
    """Comprehensive energy of a period so far, over the sites of which it is determined."""

    sites: int
    """With figures."""
    sites_known: int
    tce_calorific: float | None
    tce_equivalent: float | None
    co2_t: float | None
    cost_cny: float | None
    """Over all that was bought; of sites of which all of it has a price."""
    measured_ms: int
    """Of the meters that count, summed."""
    due_ms: int
    """For how long they should have been measured so far."""
    measured_share: float | None
    """measured_ms / due_ms: a site weighs as much as it has meters."""
    carriers: tuple[RegionCarrier, ...]


class SiteUse(Shape):
    """One site in a period so far."""

    electricity_kwh: float | None
    tce_calorific: float | None
    tce_equivalent: float | None
    co2_t: float | None
    cost_cny: float | None
    measured_share: float | None


class RegionRow(Shape):
    """One region: its sites that the visitor may see."""

    region: str
    name_zh: str
    name_en: str
    sites: int
    power_kw: float | None
    """Of the sites all of whose electricity meters have a value."""
    sites_with_power: int
    edges_online: int
    edges_total: int
    outbox_depth_readings: int
    today: Use
    month: Use


class SiteRow(Shape):
    """One site."""

    region: str
    site: str
    name_zh: str
    name_en: str
    power_kw: float | None
    edges_online: int
    edges_total: int
    today: SiteUse
    month: SiteUse


class RegionsAnswer(Shape):
    """Regions, and sites by the energy of the month, the largest first."""

    time_ms: int
    factor_set: str
    regions: tuple[RegionRow, ...]
    sites: tuple[SiteRow, ...]
    next_offset: int | None
    """Ask with this `offset` for more; null: that was all."""


class RegionsQuery(Shape):
    """Parameters of /regions."""

    limit: int = Field(100, ge=0, le=MOST_SITES, strict=False)
    """Sites at once; in CSV all of them come."""
    offset: int = Field(0, ge=0, le=2**31, strict=False)
    format: Format = "json"


@dataclass
class _Period:
    """A day or month so far: fields of node figures by carrier and unit, of each site."""

    length_ms: int
    passed_ms: int
    rows: dict[Place, dict[tuple[str, str], Mapping[str, Any]]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def due_ms(self, row: Mapping[str, Any]) -> int:
        """Return what should have been measured: of an open period, up to now."""
        whole = row["measured_ms"] + row["estimated_ms"] + row["missing_ms"]
        return int(whole * self.passed_ms // self.length_ms)


def routes(reader: LedgerReader) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["live"])

    @router.get("/regions", response_model=RegionsAnswer, response_model_exclude_unset=True)
    def regions(query: Annotated[RegionsQuery, Query()]) -> RegionsAnswer | Response:
        """Return each region now, today and this month, and its largest sites."""
        now_ms = reader.now_ms()
        today = _period(reader, Level.DAY, day_start(now_ms), DAY_MS, now_ms)
        month_ms = month_start(now_ms)
        month = _period(reader, Level.MONTH, month_ms, next_month(month_ms) - month_ms, now_ms)
        states = states_by_site(reader.live)
        rows = {
            (site.region, site.id): _site(reader, site, states, today, month, now_ms)
            for site in reader.register.sites.values()
        }
        ranked = sorted(rows.values(), key=_rank)
        if query.format == "csv":
            return csv_response(SiteRow, ranked)
        end = query.offset + query.limit
        found: dict[str, list[SiteRow]] = defaultdict(list)
        for row in rows.values():
            found[row.region].append(row)
        return RegionsAnswer(
            time_ms=now_ms,
            factor_set=reader.factor_set.name,
            regions=tuple(
                _region(reader, region, sites, states, today, month)
                for region, sites in sorted(found.items())
            ),
            sites=tuple(ranked[query.offset : end]),
            next_offset=end if end < len(ranked) else None,
        )

    return router


def _rank(row: SiteRow) -> tuple[float, str]:
    return -(row.month.tce_calorific or -math.inf), row.site


def _period(
    reader: LedgerReader, level: Level, start_ms: int, length_ms: int, now_ms: int
) -> _Period:
    found = _Period(length_ms, min(length_ms, max(0, now_ms - start_ms)))
    for (region, site, _, carrier, unit), _, row in reader.totals(level, start_ms).rows():
        found.rows[region, site][carrier, unit] = row
    return found


def _site(
    reader: LedgerReader,
    site: Site,
    states: Mapping[Place, Mapping[str, EdgeState]],
    today: _Period,
    month: _Period,
    now_ms: int,
) -> SiteRow:
    own = states.get((site.region, site.id), {})
    return SiteRow(
        region=site.region,
        site=site.id,
        name_zh=site.name_zh,
        name_en=site.name_en,
        power_kw=power_of(reader, site, now_ms)[0],
        edges_online=sum(state.online for state in own.values()),
        edges_total=len(edges_of(reader.register, site.id, now_ms) | set(own)),
        today=_site_use(today, (site.region, site.id)),
        month=_site_use(month, (site.region, site.id)),
    )


def _site_use(period: _Period, place: Place) -> SiteUse:
    rows = period.rows.get(place, {})
    energy = rows.get((ENERGY, "kgce"), {})
    electricity = rows.get(("electricity", "kWh"))
    due_ms = period.due_ms(energy) if energy else 0
    return SiteUse(
        electricity_kwh=None if electricity is None else electricity["amount"] / 1e6,
        tce_calorific=_tonnes(energy.get("kgce_calorific")),
        tce_equivalent=_tonnes(energy.get("kgce_equivalent")),
        co2_t=_tonnes(energy.get("co2_kg")),
        cost_cny=energy.get("cost_cny"),
        measured_share=_share(energy["measured_ms"], due_ms) if due_ms else None,
    )


def _region(
    reader: LedgerReader,
    region: str,
    sites: Sequence[SiteRow],
    states: Mapping[Place, Mapping[str, EdgeState]],
    today: _Period,
    month: _Period,
) -> RegionRow:
    known = reader.register.regions.get(region)
    powers = [row.power_kw for row in sites if row.power_kw is not None]
    places = [(region, row.site) for row in sites]
    outboxes = [state.outbox for place in places for state in states.get(place, {}).values()]
    return RegionRow(
        region=region,
        name_zh=known.name_zh if known else region,
        name_en=known.name_en if known else region,
        sites=len(sites),
        power_kw=math.fsum(powers) if powers else None,
        sites_with_power=len(powers),
        edges_online=sum(row.edges_online for row in sites),
        edges_total=sum(row.edges_total for row in sites),
        outbox_depth_readings=sum(outbox.depth_readings for outbox in outboxes),
        today=_use(reader, today, places),
        month=_use(reader, month, places),
    )


def _use(reader: LedgerReader, period: _Period, places: Iterable[Place]) -> Use:
    found = [period.rows[place] for place in places if place in period.rows]
    energy = [rows[ENERGY, "kgce"] for rows in found if (ENERGY, "kgce") in rows]
    measured_ms = sum(row["measured_ms"] for row in energy)
    due_ms = sum(period.due_ms(row) for row in energy)
    return Use(
        sites=len(found),
        sites_known=sum(row["kgce_calorific"] is not None for row in energy),
        tce_calorific=_tonnes(_sum(energy, "kgce_calorific")),
        tce_equivalent=_tonnes(_sum(energy, "kgce_equivalent")),
        co2_t=_tonnes(_sum(energy, "co2_kg")),
        cost_cny=_sum(energy, "cost_cny"),
        measured_ms=measured_ms,
        due_ms=due_ms,
        measured_share=_share(measured_ms, due_ms) if due_ms else None,
        carriers=tuple(_carriers(reader, found)),
    )


def _carriers(
    reader: LedgerReader, sites: Sequence[Mapping[tuple[str, str], Mapping[str, Any]]]
) -> Iterator[RegionCarrier]:
    by_carrier: dict[str, list[list[tuple[str, Mapping[str, Any]]]]] = defaultdict(list)
    for rows in sites:
        own: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
        for (carrier, unit), row in rows.items():
            own[carrier].append((unit, row))
        for carrier, some in own.items():
            by_carrier[carrier].append(some)
    for carrier, per_site in sorted(by_carrier.items()):
        if carrier == ENERGY:
            continue
        amounts: dict[str, int] = defaultdict(int)
        known = []
        for some in per_site:
            for unit, row in some:
                amounts[unit] += row["amount"]
            coal = [row["kgce_calorific"] for _, row in some]
            known += [] if None in coal else [math.fsum(coal)]
        yield RegionCarrier(
            carrier=carrier,
            carrier_zh=carriers()[carrier].name_zh,
            counted=reader.factor_set.counts(carrier),
            consumption=Amounts.of(amounts),
            tce_calorific=_tonnes(math.fsum(known)) if known else None,
            sites=len(per_site),
            sites_known=len(known),
        )


def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [row[name] for row in rows if row[name] is not None]
    return math.fsum(known) if known else None


def _share(measured_ms: int, due_ms: int) -> float:
    return min(1.0, measured_ms / due_ms)


def _tonnes(kg: float | None) -> float | None:
    return None if kg is None else kg / 1000
