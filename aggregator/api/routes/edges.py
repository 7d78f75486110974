"""The fleet: how each edge is, by its own word, and how fresh its meters' readings are."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from aggregator.api.accounts import edges_of
from aggregator.api.reader import LedgerReader, cumulative, states_by_site
from aggregator.api.shapes import Format, Id, Shape, csv_response, find_sites
from aggregator.register.model import Site
from aggregator.store.base import NO_TIME
from contract.state import EdgeState


class EdgeRow(Shape):
    """One edge. All that it says itself is null until its first state has come."""

    region: str
    site: str
    edge: str
    online: bool | None
    state_ms: int | None
    """When it spoke, by its clock; of an edge gone offline, when its last connection began."""
    last_reading_ms: int | None
    """Newest register reading of its meters; null when none came."""
    started_ms: int | None = None
    version: str | None = None
    clock_source: str | None = None
    clock_synchronised: bool | None = None
    clock_offset_ms: int | None = None
    """The aggregator's clock minus the edge's."""
    outbox_depth_batches: int | None = None
    outbox_depth_readings: int | None = None
    oldest_age_s: int | None = None
    """Age of the oldest reading it holds unacknowledged; null when it holds none."""
    horizon_s: int | None = None
    """How long the free room lasts without a network."""
    dropped_readings: int | None = None
    durable: bool | None = None
    """False: its disk cannot be written."""
    meters_answering: int | None = None
    meters_polled: int | None = None


class EdgesAnswer(Shape):
    """By site and edge: edges of the register, and others that speak for a site in scope."""

    time_ms: int
    edges: tuple[EdgeRow, ...]


class EdgesQuery(Shape):
    """Parameters of /edges."""

    site: Id | None = None
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["live"])

    @router.get("/edges", response_model=EdgesAnswer)
    def edges(query: Annotated[EdgesQuery, Query()]) -> EdgesAnswer | Response:
        """Return the state of each edge of one site, or of all."""
        now_ms = reader.now_ms()
        sites = find_sites(reader, query.site)
        rows = list(_rows(reader, sites, now_ms))
        if query.format == "csv":
            return csv_response(EdgeRow, rows)
        return EdgesAnswer(time_ms=now_ms, edges=tuple(rows))

    return router


def _rows(reader: LedgerReader, sites: Sequence[Site], now_ms: int) -> Iterator[EdgeRow]:
    states = states_by_site(reader.live)
    last = _last_readings(reader, sites, now_ms)
    for site in sites:
        own = states.get((site.region, site.id), {})
        for edge in sorted(edges_of(reader.register, site.id, now_ms) | set(own)):
            yield _row(site, edge, own.get(edge), last.get((site.id, edge)))


def _last_readings(
    reader: LedgerReader, sites: Sequence[Site], now_ms: int
) -> Mapping[tuple[str, str], int]:
    """Return by (site, edge) the time of its meters' newest register reading."""
    edge_of = {
        (site.id, meter.id): meter.edge
        for site in sites
        for meter in reader.register.meters(site.id, now_ms)
    }
    counting = [
        found for site in sites for found in cumulative(reader.series(site.id), site.region)
    ]
    times = reader.last_times([found.index for found in counting]).tolist()
    last: dict[tuple[str, str], int] = defaultdict(lambda: NO_TIME)
    for found, time_ms in zip(counting, times, strict=True):
        site, edge = found.key.site, edge_of.get((found.key.site, found.key.meter))
        if edge and time_ms != NO_TIME:
            last[site, edge] = max(last[site, edge], time_ms)
    return last


def _row(site: Site, edge: str, state: EdgeState | None, last_ms: int | None) -> EdgeRow:
    row = EdgeRow(
        region=site.region,
        site=site.id,
        edge=edge,
        online=None if state is None else state.online,
        state_ms=None if state is None else state.time_ms,
        last_reading_ms=last_ms,
    )
    if state is None or not state.boot:  # a will alone says no more than: offline
        return row
    said = {
        "started_ms": state.started_ms,
        "version": state.versions.get("agent"),
        "clock_source": state.clock.source,
        "clock_synchronised": state.clock.synchronised,
        "clock_offset_ms": state.clock.offset_ms,
        "outbox_depth_batches": state.outbox.depth_batches,
        "outbox_depth_readings": state.outbox.depth_readings,
        "oldest_age_s": state.outbox.oldest_age_s,
        "horizon_s": state.outbox.horizon_s,
        "dropped_readings": state.outbox.dropped_readings,
        "durable": state.outbox.durable,
        "meters_answering": sum(meter.ok for meter in state.meters),
        "meters_polled": len(state.meters),
    }
    return row.model_copy(update=said)
