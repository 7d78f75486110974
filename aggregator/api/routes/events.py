"""What people say of meters, what it changed, and what the aggregator proposes they say."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field, StringConstraints

from aggregator.api.errors import ApiError
from aggregator.api.event_shapes import EventFields, EventRow
from aggregator.api.reader import LedgerReader, cumulative, states_by_site
from aggregator.api.shapes import (
    Format,
    Id,
    Period,
    Shape,
    csv_response,
    find_meter,
    find_site,
    find_sites,
)
from aggregator.api.writer import LedgerWriter, Said
from aggregator.ledger.meter_events import MeterEvent, check_words
from aggregator.register.model import Site
from contract.interval import DAY_MS, day_start

MAX_RECORDS = 10_000
"""Most restatements one request is given."""
LOOK_BACK_MS = 31 * DAY_MS
"""Length of the period when `from` is left out."""

Words = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(check_words),
]


class EventsAnswer(Shape):
    """Events, the oldest word first, undone ones too."""

    events: tuple[EventRow, ...]


class EventsQuery(Shape):
    """Parameters of /events."""

    site: Id | None = None
    format: Format = "json"


class SaidAnswer(Shape):
    """A word that is kept, and what the figures have made of it."""

    event: EventRow
    figures: Literal["follow", "under_way"]
    """under_way (status 202): they will follow, after a restart too."""
    intervals_changed: int | None
    """How many got other figures; null while that is under way."""


class UndoBody(Shape):
    """Who undoes an event, and why."""

    author: Words
    reason: Words


class RestatementRow(Shape):
    """A settled day's figure of one channel that changed."""

    id: int
    region: str
    site: str
    meter: str
    channel: str
    day_ms: int
    """Start of the Beijing day."""
    measure: str
    """amount, amount_estimated, amount_held [unit of the channel], measured_ms, kgce_*, co2_kg or
    cost_cny."""
    from_value: float | None
    """Null: was not determined."""
    to_value: float | None
    cause: str
    why: str
    details: str
    """Batches (edge/outbox:seq), or rows of factors and prices, that the cause consists of."""
    found_ms: int


class RestatementsAnswer(Shape):
    """Records of days that start in the period, oldest record first."""

    from_ms: int
    to_ms: int
    restatements: tuple[RestatementRow, ...]
    next: int | None
    """`after` of the next request; null: these are all."""


class RestatementsQuery(Period):
    """Parameters of /restatements."""

    site: Id | None = None
    after: Annotated[int, Field(strict=False, ge=0, lt=1 << 31)] = 0
    """Only records with a larger id."""
    limit: Annotated[int, Field(strict=False, ge=1, le=MAX_RECORDS)] = MAX_RECORDS
    format: Format = "json"


def routes(reader: LedgerReader, writer: LedgerWriter) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["events"])

    @router.get("/events", response_model=EventsAnswer, response_model_exclude_unset=True)
    def events(query: Annotated[EventsQuery, Query()]) -> EventsAnswer | Response:
        """Return the events of one site, or of each."""
        if query.site is not None:
            site = find_site(reader, query.site)
            found = writer.events(site.region, site.id)
        else:
            places = [(site.region, site.id) for site in find_sites(reader, None)]
            order = {place: i for i, place in enumerate(places)}
            told = writer.events_of({region for region, _ in places})
            known = [one for one in told if (one.event.region, one.event.site) in order]
            found = sorted(known, key=lambda one: order[one.event.region, one.event.site])
        rows = [EventRow.told(one) for one in found]
        return (
            csv_response(EventRow, rows)
            if query.format == "csv"
            else EventsAnswer(events=tuple(rows))
        )

    @router.post("/events", status_code=201, response_model_exclude_unset=True)
    def tell(body: EventFields, response: Response) -> SaidAnswer:
        """Keep an event and let the figures follow it; the same again changes nothing."""
        site = find_site(reader, body.site)
        if body.meter is not None:
            find_meter(reader, body.site, body.meter)
        event = body.event(site.region, reader.now_ms())
        _check_spoken(reader, site, event)
        return _answer(writer.tell(event), response)

    @router.post("/events/{id}/undo", response_model_exclude_unset=True)
    def undo(
        id_: Annotated[int, Path(alias="id", ge=1, lt=1 << 31)], body: UndoBody, response: Response
    ) -> SaidAnswer:
        """Let an event stand no longer; it stays readable. The first one to undo it is kept."""
        said = writer.undo(id_, body.author, body.reason)
        if said is None:
            raise ApiError(404, "id", f"no event {id_}")
        return _answer(said, response)

    @router.get("/restatements", response_model=RestatementsAnswer)
    def restatements(
        query: Annotated[RestatementsQuery, Query()],
    ) -> RestatementsAnswer | Response:
        """Return what changed in settled figures: by default of the last 31 days."""
        from_ms, to_ms = look_back(query, reader.now_ms())
        places = [(site.region, site.id) for site in find_sites(reader, query.site)]
        found = writer.restatements(places, from_ms, to_ms, query.after, query.limit + 1)
        ids = sorted(found)[: query.limit]
        more = len(found) > query.limit
        names = [name for name in RestatementRow.model_fields if name != "id"]
        rows = [
            RestatementRow(id=id_, **{name: getattr(found[id_], name) for name in names})
            for id_ in ids
        ]
        if query.format == "csv" and more:
            raise ApiError(
                422, "to", f"more than {query.limit} records: shorten the period or name one site"
            )
        if query.format == "csv":
            return csv_response(RestatementRow, rows)
        return RestatementsAnswer(
            from_ms=from_ms,
            to_ms=to_ms,
            restatements=tuple(rows),
            next=ids[-1] if more else None,
        )

    return router


def look_back(period: Period, now_ms: int) -> tuple[int, int]:
    """Return (from_ms, to_ms); without `from` 31 days, from a Beijing midnight on."""
    if period.from_ms is not None:
        return period.resolve(now_ms)
    to_ms = now_ms if period.to_ms is None else period.to_ms
    return day_start(to_ms - LOOK_BACK_MS), to_ms


def _check_spoken(reader: LedgerReader, site: Site, event: MeterEvent) -> None:
    """Refuse what no figure could follow, with ApiError 422.

    An edge that nobody names and that sent nothing; a channel that a meter with readings has not.
    Before the first reading of a meter any channel may be told of.
    """
    if event.edge:
        register = reader.register
        known = {
            row.edge
            for id_ in register.meters_by_site.get(site.id, ())
            for row in register.rows[site.id, id_]
            if row.edge
        }
        known |= states_by_site(reader.live).get((site.region, site.id), {}).keys()
        known |= set(reader.senders(site.region, site.id))
        if event.edge not in known:
            told = f"there are: {', '.join(sorted(known))}" if known else "nor any other"
            reason = f"{event.edge} is no edge of {site.id} that sent anything; {told}"
            raise ApiError(422, "edge", reason)
    if event.channel:
        read = {
            found.key.channel
            for found in cumulative(reader.series(site.id), site.region)
            if found.key.meter == event.meter
        }
        integrated = reader.register.integrated.get((site.id, event.meter), ())
        read |= {row.channel for row in integrated} if read else set()
        if read and event.channel not in read:
            reason = f"{event.meter} has sent no {event.channel}; it has: {', '.join(sorted(read))}"
            raise ApiError(422, "channel", reason)


def _answer(said: Said, response: Response) -> SaidAnswer:
    if said.changed is None:
        response.status_code = 202
    return SaidAnswer(
        event=EventRow.told(said.event),
        figures="under_way" if said.changed is None else "follow",
        intervals_changed=said.changed,
    )
