"""Sites and meters: what the register says, and which channels have data."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from aggregator.api.reader import LedgerReader, Series
from aggregator.api.shapes import Format, Id, Shape, TimeMs, csv_response, find_sites
from aggregator.register.carriers import carriers
from aggregator.register.model import Site
from aggregator.store.base import NO_TIME
from contract.channels import catalogue


class SiteRow(Shape):
    """One site."""

    site: str
    region: str
    name_zh: str
    name_en: str
    sector: str
    floor_area_m2: float | None
    headcount: int | None
    latitude: float | None
    longitude: float | None


class SitesQuery(Shape):
    """Parameters of /sites."""

    format: Format = "json"


class MeterRow(Shape):
    """One meter, as its register row in force says, and its channels that have data."""

    site: str
    meter: str
    carrier: str
    carrier_zh: str
    role: str
    parent: str
    multiplier: int
    edge: str
    valid_from_ms: int
    note: str
    channels: tuple[str, ...]
    last_reading_ms: int | None
    """Newest reading of a cumulative channel; null when none came."""


class UnregisteredRow(Shape):
    """A channel with data that the register does not know: kept raw, in no total."""

    region: str
    site: str
    meter: str
    channel: str


class MetersAnswer(Shape):
    """Meters by site and id."""

    meters: tuple[MeterRow, ...]
    unregistered: tuple[UnregisteredRow, ...]


class MetersQuery(Shape):
    """Parameters of /meters."""

    site: Id | None = None
    at: TimeMs | None = None
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["register"])

    @router.get("/sites", response_model=list[SiteRow])
    def sites(query: Annotated[SitesQuery, Query()]) -> list[SiteRow] | Response:
        """List all sites."""
        rows = [_site_row(site) for site in reader.register.sites.values()]
        return csv_response(SiteRow, rows) if query.format == "csv" else rows

    @router.get("/meters", response_model=MetersAnswer)
    def meters(query: Annotated[MetersQuery, Query()]) -> MetersAnswer | Response:
        """List meters as they are registered at a time (default: now)."""
        at_ms = reader.now_ms() if query.at is None else query.at
        chosen = find_sites(reader, query.site)
        rows = [row for site in chosen for row in _meter_rows(reader, site, at_ms)]
        if query.format == "csv":
            return csv_response(MeterRow, rows)
        unknown = tuple(
            UnregisteredRow.model_validate(key._asdict())
            for key in reader.unregistered()
            if query.site in (None, key.site)
        )
        return MetersAnswer(meters=tuple(rows), unregistered=unknown)

    return router


def _site_row(site: Site) -> SiteRow:
    return SiteRow(
        site=site.id,
        region=site.region,
        name_zh=site.name_zh,
        name_en=site.name_en,
        sector=site.sector,
        floor_area_m2=site.floor_area_m2,
        headcount=site.headcount,
        latitude=site.latitude,
        longitude=site.longitude,
    )


def _meter_rows(reader: LedgerReader, site: Site, at_ms: int) -> list[MeterRow]:
    by_meter: dict[str, list[Series]] = {}
    counting = []
    for found in reader.series(site.id):
        if found.key.region == site.region:
            by_meter.setdefault(found.key.meter, []).append(found)
            if catalogue()[found.key.channel].cumulative:
                counting.append(found)
    last: dict[str, int] = {}
    times = reader.last_times([found.index for found in counting])
    for found, time_ms in zip(counting, times.tolist(), strict=True):
        if time_ms != NO_TIME:
            last[found.key.meter] = max(time_ms, last.get(found.key.meter, time_ms))
    return [
        MeterRow(
            site=site.id,
            meter=meter.id,
            carrier=meter.carrier,
            carrier_zh=carriers()[meter.carrier].name_zh,
            role=str(meter.role),
            parent=meter.parent,
            multiplier=meter.multiplier,
            edge=meter.edge,
            valid_from_ms=meter.valid_from_ms,
            note=meter.note,
            channels=tuple(found.key.channel for found in by_meter.get(meter.id, ())),
            last_reading_ms=last.get(meter.id),
        )
        for meter in reader.register.meters(site.id, at_ms)
    ]
