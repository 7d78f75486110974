"""Now: power, what today has used so far, and how the edges are."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from aggregator.api.accounts import SiteAccount, edges_of, site_accounts
from aggregator.api.reader import LedgerReader, states_by_site
from aggregator.api.routes.consumption import SiteConsumption, site_consumption
from aggregator.api.shapes import Id, Shape, find_sites
from aggregator.register.model import Site
from aggregator.register.roles import consumption_sign
from contract.channels import catalogue
from contract.interval import day_start
from contract.state import EdgeState
from contract.stored import Level

POWER = "power"


class LiveSite(Shape):
    """One site."""

    site: str
    name_zh: str
    name_en: str
    power_kw: float | None
    """Boundary in - boundary out + own generation; null while one of these meters has no value."""
    power_time_ms: int | None
    """Time of the oldest value in it."""
    power_missing: tuple[str, ...]
    """Electricity meters of the total without a power value young enough to show."""
    today: SiteConsumption
    """Since Beijing midnight."""
    edges_online: int
    edges_total: int
    outbox_depth_batches: int
    outbox_depth_readings: int
    oldest_age_s: int | None
    """Age of the oldest reading that an edge holds unacknowledged."""


class LiveAnswer(Shape):
    """All sites, or one."""

    time_ms: int
    readings_per_s: float | None
    """Committed, over the last seconds, all sites; null to who does not see all."""
    edges_online: int
    edges_total: int
    outbox_depth_batches: int
    outbox_depth_readings: int
    sites: tuple[LiveSite, ...]


class LiveQuery(Shape):
    """Parameters of /live."""

    site: Id | None = None


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["live"])

    @router.get("/live", response_model_exclude_unset=True)
    def live(query: Annotated[LiveQuery, Query()]) -> LiveAnswer:
        """Return the present state of one site, or of each."""
        now_ms = reader.now_ms()
        found = find_sites(reader, query.site)
        accounts = site_accounts(reader, found, Level.INTERVAL, day_start(now_ms), now_ms + 1)
        states = states_by_site(reader.live)
        sites = [
            _site(reader, account, states.get((account.site.region, account.site.id), {}), now_ms)
            for account in accounts
        ]
        return LiveAnswer(
            time_ms=now_ms,
            readings_per_s=reader.live.readings_per_s(now_ms),
            edges_online=sum(site.edges_online for site in sites),
            edges_total=sum(site.edges_total for site in sites),
            outbox_depth_batches=sum(site.outbox_depth_batches for site in sites),
            outbox_depth_readings=sum(site.outbox_depth_readings for site in sites),
            sites=tuple(sites),
        )

    return router


def _site(
    reader: LedgerReader, account: SiteAccount, states: Mapping[str, EdgeState], now_ms: int
) -> LiveSite:
    site = account.site
    power_kw, power_time_ms, missing = power_of(reader, site, now_ms)
    ages = [s.outbox.oldest_age_s for s in states.values() if s.outbox.oldest_age_s is not None]
    return LiveSite(
        site=site.id,
        name_zh=site.name_zh,
        name_en=site.name_en,
        power_kw=power_kw,
        power_time_ms=power_time_ms,
        power_missing=tuple(missing),
        today=site_consumption(account),
        edges_online=sum(state.online for state in states.values()),
        edges_total=len(edges_of(reader.register, site.id, now_ms) | set(states)),
        outbox_depth_batches=sum(state.outbox.depth_batches for state in states.values()),
        outbox_depth_readings=sum(state.outbox.depth_readings for state in states.values()),
        oldest_age_s=max(ages, default=None),
    )


def power_of(
    reader: LedgerReader, site: Site, now_ms: int
) -> tuple[float | None, int | None, Sequence[str]]:
    """Return the site's power [kW], the time of its oldest part, and the meters it lacks."""
    series = {
        found.key.meter: found.index
        for found in reader.series(site.id)
        if found.key.channel == POWER and found.key.region == site.region
    }
    oldest_ms = now_ms - catalogue()[POWER].gap_limit_s * 1000
    total_kw, times, missing = 0.0, [], []
    for meter in reader.register.meters(site.id, now_ms):
        sign = consumption_sign(meter.role) if meter.carrier == "electricity" else 0
        if not sign:
            continue
        last = reader.live.last(series[meter.id]) if meter.id in series else None
        if last is None or last.time_ms < oldest_ms:
            missing.append(meter.id)
        else:
            total_kw += sign * last.value * meter.multiplier
            times.append(last.time_ms)
    if missing or not times:
        return None, None, missing
    return total_kw, min(times), missing
