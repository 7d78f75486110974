"""What is odd in the figures, why, and what a person might say of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query

from aggregator.api.accounts import of_series
from aggregator.api.errors import ApiError
from aggregator.api.event_shapes import EventFields
from aggregator.api.reader import LedgerReader, Series, cumulative
from aggregator.api.routes.events import look_back
from aggregator.api.shapes import Amounts, Id, Period, Shape, find_sites
from aggregator.batch import Int64
from aggregator.clock_proposals import clock_findings
from aggregator.kernels.register import HELD, SUSPECT
from aggregator.proposals import Finding, Seen, findings
from aggregator.verdict import RuleId
from contract.channels import catalogue
from contract.interval import DAY_MS, SECOND_MS, day_start
from contract.reading import Quality
from contract.stored import Level
from contract.units import MICRO

MAX_FINDINGS = 200
"""Most findings one answer holds."""
MAX_BATCHES = 24
"""Most batches that are shown of one clock."""
MAX_PERIOD_MS = 400 * DAY_MS
_AT_ONCE = 200_000
"""Figures that are read at once."""


class EvidenceRow(Shape):
    """A reading, or a register that an event declares, and how it was judged."""

    time_ms: int
    display: float
    """As shown, before CT x VT [unit of the channel]."""
    declared: bool
    """Not read: an event says so."""
    quality: str | None
    edge: str | None
    counts: bool
    rule: str | None
    """The rule that left it out, or that says something of the step to it."""


class FindingRow(Shape):
    """Something odd, with the events that would clear it, the likeliest first."""

    site: str
    meter: str
    channel: str
    unit: str
    found: str
    """fall, rise, or left_out: a reading that does not count, shown only."""
    rule: str
    from_ms: int
    """Time of the reading before."""
    at_ms: int
    held: Amounts
    """Signed, behind the multiplier."""
    waits_for: int
    """Readings that must still confirm a fall before anything is proposed."""
    proposals: tuple[EventFields, ...]
    """Any one of them clears it, sent to POST /events as it is; put your own name as author."""
    evidence: tuple[EvidenceRow, ...]


class ClockEvidence(Shape):
    """A batch of which the door refused readings."""

    arrived_ms: int
    """By the aggregator's clock."""
    last_ms: int
    """Its last reading, by the gateway's clock."""
    ahead_s: float
    readings: int
    """Refused ones."""


class ClockRow(Shape):
    """A gateway whose clock seems to be wrong: its readings wait in quarantine."""

    site: str
    edge: str
    rule: str
    from_ms: int
    """First refused reading, by the gateway's clock."""
    to_ms: int
    """Last one."""
    ahead_s: float
    """At least; negative: behind."""
    batches: int
    readings: int
    waits_for: int
    """Batches that must still confirm it before anything is proposed."""
    proposals: tuple[EventFields, ...]
    """Lets the readings in, sent to POST /events as it is; put your own name as author. None where
    the clock is further off than a clock event may say."""
    evidence: tuple[ClockEvidence, ...]
    """The newest batches."""


class ProposalsAnswer(Shape):
    """What is odd in the period; computed now, never stored."""

    from_ms: int
    to_ms: int
    complete: bool
    """False: there is more; decide, and ask again."""
    findings: tuple[FindingRow, ...]
    clocks: tuple[ClockRow, ...]


class ProposalsQuery(Period):
    """Parameters of /proposals."""

    site: Id | None = None
    meter: Id | None = None


def routes(reader: LedgerReader) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["events"])

    @router.get("/proposals", response_model_exclude_unset=True)
    def proposals(query: Annotated[ProposalsQuery, Query()]) -> ProposalsAnswer:
        """Return held energy with evidence and proposals: by default of the last 31 days."""
        from_ms, to_ms = look_back(query, reader.now_ms())
        if to_ms - from_ms > MAX_PERIOD_MS:
            raise ApiError(422, "to", "at most 400 days are looked through at once")
        clocks = tuple(_clocks(reader, query, from_ms, to_ms))
        rows: list[FindingRow] = []
        for found, starts in _odd_channels(reader, query, from_ms, to_ms):
            for row in _rows(reader, found, starts):
                if len(rows) == MAX_FINDINGS:
                    return _answer(from_ms, to_ms, rows, clocks, complete=False)
                rows.append(row)
        return _answer(from_ms, to_ms, rows, clocks, complete=True)

    return router


def _answer(
    from_ms: int,
    to_ms: int,
    rows: Sequence[FindingRow],
    clocks: Sequence[ClockRow],
    *,
    complete: bool,
) -> ProposalsAnswer:
    return ProposalsAnswer(
        from_ms=from_ms, to_ms=to_ms, complete=complete, findings=tuple(rows), clocks=tuple(clocks)
    )


def _clocks(
    reader: LedgerReader, query: ProposalsQuery, from_ms: int, to_ms: int
) -> Iterator[ClockRow]:
    """Yield clocks that seem to be wrong, of batches that came in the period."""
    if query.meter is not None:
        return  # a clock is a gateway's
    kept = reader.misdated_sites()
    for site in find_sites(reader, query.site):
        if (site.region, site.id) not in kept:
            continue
        batches = [
            batch
            for batch in reader.misdated(site.region, site.id)
            if from_ms <= batch.arrived_ms <= to_ms
        ]
        for found in clock_findings(batches):
            yield ClockRow(
                site=site.id,
                edge=found.address.edge,
                rule=str(RuleId.IMPOSSIBLE_TIME),
                from_ms=found.from_ms,
                to_ms=found.to_ms,
                ahead_s=found.ahead_ms / SECOND_MS,
                batches=len(found.evidence),
                readings=sum(batch.readings for batch in found.evidence),
                waits_for=found.waits_for,
                proposals=tuple(EventFields.of(event) for event in found.proposals),
                evidence=tuple(
                    ClockEvidence(
                        arrived_ms=batch.arrived_ms,
                        last_ms=batch.last_ms,
                        ahead_s=batch.ahead_ms / SECOND_MS,
                        readings=batch.readings,
                    )
                    for batch in found.evidence[-MAX_BATCHES:]
                ),
            )


def _odd_channels(
    reader: LedgerReader, query: ProposalsQuery, from_ms: int, to_ms: int
) -> Iterator[tuple[Series, Int64]]:
    """Yield the channels with anything odd, and the starts of the odd intervals.

    Of a city the days' figures tell where to look: they are summed up within a minute.
    """
    series = [
        found
        for site in find_sites(reader, query.site)
        for found in cumulative(reader.series(site.id), site.region)
        if (site.id, found.key.meter) in reader.register.rows
        and query.meter in (None, found.key.meter)
    ]
    if query.site is not None:
        yield from _odd(reader, series, Level.INTERVAL, from_ms, to_ms)
        return
    for found, days in _odd(reader, series, Level.DAY, day_start(from_ms), to_ms):
        low_ms, high_ms = max(from_ms, int(days[0])), min(to_ms, int(days[-1]) + DAY_MS)
        yield from _odd(reader, [found], Level.INTERVAL, low_ms, high_ms)


def _odd(
    reader: LedgerReader, series: Sequence[Series], level: Level, from_ms: int, to_ms: int
) -> Iterator[tuple[Series, Int64]]:
    """Yield channels with held energy, or with readings left out, and the figures' starts."""
    length_ms = DAY_MS if level is Level.DAY else reader.grid_ms
    together = max(1, _AT_ONCE * length_ms // (to_ms - from_ms))
    for first in range(0, len(series), together):
        some = {found.index: found for found in series[first : first + together]}
        figures = reader.figures(level, list(some), from_ms, to_ms)
        odd = figures.take((figures.flags & (HELD | SUSPECT)) != 0)
        for index in np.unique(odd.series).tolist():
            yield some[index], of_series(odd, index).start_ms


def _rows(reader: LedgerReader, series: Series, starts: Int64) -> Iterator[FindingRow]:
    said: set[int] = set()
    for start_ms, end_ms in _spans(starts, reader.grid_ms):
        readings, edges = reader.near(series.index, start_ms, end_ms)
        time_ms, value = readings.time_ms, readings.value.astype(np.int64)
        who = {
            time: (Quality(quality).name.lower(), edge)
            for time, quality, edge in zip(
                time_ms.tolist(), readings.quality.tolist(), edges, strict=True
            )
        }
        for one in findings(series.key, reader.facts(series.index), time_ms, value):
            if one.from_ms < end_ms and one.at_ms >= start_ms and one.at_ms not in said:
                said.add(one.at_ms)
                yield _row(series, one, who)


def _spans(starts: Int64, grid_ms: int) -> Iterator[tuple[int, int]]:
    """Yield spans of intervals that follow each other."""
    for span in np.split(starts, np.flatnonzero(np.diff(starts) > grid_ms) + 1):
        yield int(span[0]), int(span[-1]) + grid_ms


def _row(series: Series, one: Finding, who: Mapping[int, tuple[str, str]]) -> FindingRow:
    unit = str(catalogue()[series.key.channel].unit)
    return FindingRow(
        site=series.key.site,
        meter=series.key.meter,
        channel=series.key.channel,
        unit=unit,
        found=str(one.what),
        rule=str(one.rule),
        from_ms=one.from_ms,
        at_ms=one.at_ms,
        held=Amounts.of({unit: one.held_micro}),
        waits_for=one.waits_for,
        proposals=tuple(EventFields.of(event) for event in one.proposals),
        evidence=tuple(_evidence(one.evidence, who)),
    )


def _evidence(seen: Sequence[Seen], who: Mapping[int, tuple[str, str]]) -> Iterator[EvidenceRow]:
    for one in seen:
        quality, edge = (None, None) if one.declared else who[one.time_ms]
        yield EvidenceRow(
            time_ms=one.time_ms,
            display=one.shown_micro / MICRO,
            declared=one.declared,
            quality=quality,
            edge=edge,
            counts=one.counts,
            rule=None if one.rule is None else str(one.rule),
        )
