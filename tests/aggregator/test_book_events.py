"""Exchanges, resets, new ratios, decisions: any order ends in the oracle's figures."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aggregator.admission import needed
from aggregator.batch import ReadingColumns
from aggregator.directory import SeriesKey
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.ledger.registers import differing
from aggregator.proof import prove
from aggregator.store.base import Commit
from contract.interval import DAY_MS, GRID_MS, MINUTE_MS
from contract.stored import Level
from tests.aggregator.test_book import (
    ADDRESS,
    MODULUS,
    RATING,
    T0,
    District,
    register_walks,
)  # fmt: skip
from tests.oracle import lives as oracle
from tests.oracle.register import Channel
from tests.oracle.verdicts import Came, verdicts

CHANNEL = Channel(
    modulus=int(MODULUS) * 1_000_000,
    limit=int(RATING) * 1_000_000,
    slack=10_000,
    gap_ms=1_800_000,
)


def event(kind: EventKind, at_ms: int, **more) -> MeterEvent:
    given = {"meter": "em-1", "channel": "energy_import"} | more
    return MeterEvent(kind, ADDRESS.region, ADDRESS.site, at_ms, author="t", reason="test", **given)


class Told(District):
    """A district about which people say something, now and then."""

    def __init__(self, ratios=None) -> None:
        self.ratios = ratios or {0: 40}
        self.events: list[MeterEvent] = []
        super().__init__()

    def restart(self, registered=("em-1", "em-2")) -> None:
        super().restart(registered)
        self.parameters.declare(ADDRESS.region, ADDRESS.site, tuple(self.events))

    def rows(self, registered):
        for name in registered:
            for since, ratio in self.ratios.items():
                yield self.meter(name, ratio, since)

    @property
    def series(self) -> int:
        return self.store.directory.series.find(
            SeriesKey(ADDRESS.region, ADDRESS.site, "em-1", "energy_import")
        )

    def say(self, *events: MeterEvent) -> None:
        """What the pipeline does with a fact: declare it and redo what it touches."""
        self.book.load_site(ADDRESS.region, ADDRESS.site)
        self.book.refresh()
        series = self.series
        before = self.parameters.registers(series) if series >= 0 else None
        self.events += events
        self.parameters.declare(ADDRESS.region, ADDRESS.site, tuple(self.events))
        self.book.refresh()
        if before is None:
            return
        span = differing(before, self.parameters.registers(self.series))
        if span is not None:
            self.book.renew([self.series])
            for redone in self.book.redo(self.series, *span):
                if redone is not None:
                    self.store.write_intervals(Level.INTERVAL, redone.changed)
        verdicts = self.book.verdicts(ReadingColumns.empty(cumulative=True))
        self.store.commit(Commit.without_readings(verdicts=verdicts))

    def proves(self) -> bool:
        rows = self.store.intervals(Level.INTERVAL, np.array([self.series], np.int32), 0, 2**60)
        raw = self.store.versions(np.array([self.series], np.int32), 0, 2**60)
        readings = needed(self.book.counted(raw), self.store.directory)
        return prove(
            readings.time_ms, readings.value.astype(np.int64), self.parameters.facts(self.series),
            int(rows.amount.sum()), int(rows.amount_held.sum()),
        ).closes  # fmt: skip

    def known(self) -> dict[int, tuple[int, ...]]:
        """Figures, without intervals of which nothing is known."""
        return {start: row for start, row in self.figures("em-1").items() if any(row)}


def expected(declared: oracle.Declared, readings) -> dict[int, tuple[int, ...]]:
    rows = oracle.figures(CHANNEL, declared, readings, GRID_MS)
    return {
        start: (
            row.amount, row.amount_estimated, row.amount_held, row.measured_ms, row.estimated_ms,
            min(row.received, 1), row.flags,
        )
        for start, row in rows.items()
        if any(row.values())
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_order_of_readings_and_facts_ends_in_the_oracles_figures(data):
    walk = data.draw(register_walks())
    times = [time for time, _ in walk]
    moments = st.sampled_from(times or [T0]).flatmap(
        lambda t: st.integers(-40, 40).map(lambda s: t + s * 1_000)
    )
    shown = st.none() | st.integers(0, 999_000_000)
    exact = st.sampled_from(times or [T0])
    ratios = {0: 40} | data.draw(st.dictionaries(moments, st.sampled_from([1, 80]), max_size=2))
    changes = data.draw(st.dictionaries(moments | exact, st.tuples(shown, shown), max_size=2))
    accepted = data.draw(st.frozensets(exact, max_size=2))
    rejected = data.draw(st.frozensets(exact, max_size=4))
    replaced = data.draw(st.dictionaries(exact, st.integers(0, 999_000_000), max_size=2))
    start, length = data.draw(moments), data.draw(st.sampled_from([1, 200, 9_000]))
    unit = (start, start + length * MINUTE_MS, data.draw(st.sampled_from([1, 1_000])))
    offset = data.draw(st.sampled_from([0, 0, -60 * MINUTE_MS, 7 * MINUTE_MS + 1]))
    clock = (start, start + 90 * MINUTE_MS, offset)
    declared = oracle.Declared(ratios, changes, accepted, rejected, replaced, unit, clock)
    moved = [t + offset if clock[0] <= t < clock[1] else t for t in times]
    assume(len(set(moved)) == len(moved))  # of two at one time the batch decides, not the time
    facts = [
        *(event(EventKind.EXCHANGE, at, final_micro=final, start_micro=first)
          for at, (final, first) in changes.items()),
        *(event(EventKind.ACCEPT, at) for at in accepted),
        *(event(EventKind.REJECT, at) for at in rejected),
        *(event(EventKind.REPLACE, at, value_micro=micro) for at, micro in replaced.items()),
        event(EventKind.CORRECTION, unit[0], until_ms=unit[1], factor=str(unit[2])),
    ]  # fmt: skip
    if offset:
        facts.append(
            event(EventKind.CLOCK, clock[0], edge="gw-1", until_ms=clock[1], offset_ms=offset)
        )
    district = Told(ratios)
    deeds: list[MeterEvent | None] = data.draw(st.permutations([*facts, *([None] * len(walk))]))
    order = data.draw(st.permutations(walk)) if data.draw(st.booleans()) else list(walk)
    seq = 0
    for deed in deeds:
        if deed is not None:
            district.say(deed)
        elif order:
            size = data.draw(st.integers(1, max(1, len(order))))
            seq += 1
            district.take([("em-1", *reading) for reading in order[:size]], seq)
            order = order[size:]
        if data.draw(st.sampled_from([False] * 9 + [True])):
            district.restart()
    known, wanted = district.known(), expected(declared, walk)
    assert {
        k: (known.get(k), wanted.get(k))
        for k in known.keys() | wanted.keys()
        if known.get(k) != wanted.get(k)
    } == {}
    assert district.series < 0 or district.proves()
    came = [Came(time, value) for time, value in walk]
    assert district.verdicts("em-1") == verdicts(CHANNEL, declared, came)


def test_an_exchange_told_before_the_old_meters_last_readings_come():
    """The final is a reading too: it counts although nothing is read after it yet."""
    walk = [(T0 + i * MINUTE_MS, 10_000_000 + 100_000 * i) for i in range(5)]
    at_ms = T0 + 6 * MINUTE_MS
    district = Told()
    district.take([("em-1", *walk[0])], 1)
    district.say(event(EventKind.EXCHANGE, at_ms, final_micro=10_700_000, start_micro=0))
    for seq, reading in enumerate(walk[1:], 2):
        district.take([("em-1", *reading)], seq)
    changes: dict[int, tuple[int | None, int | None]] = {at_ms: (10_700_000, 0)}
    assert district.known() == expected(oracle.Declared({0: 40}, changes), walk)
    assert district.proves()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_registers_of_which_only_declarations_tell_count_beside_the_only_reading(order):
    """Another meter was put in before, and one more after, the only reading; far apart."""
    changes: dict[int, tuple[int | None, int | None]] = {
        T0 - 5 * DAY_MS: (None, 90_000_000),
        T0 + 5 * DAY_MS: (120_000_000, 0),
    }
    reading = (T0, 100_000_000)
    district = Told()
    facts = [event(EventKind.EXCHANGE, at, final_micro=final, start_micro=start)
             for at, (final, start) in changes.items()]  # fmt: skip
    for step in order:
        if step < 2:
            district.say(facts[step])
        else:
            district.take([("em-1", *reading)], 1)
    assert district.known() == expected(oracle.Declared({0: 40}, changes), [reading])
    assert sum(row[0] for row in district.known().values()) == 30 * 40 * 1_000_000
    assert district.proves()
    district.say(event(EventKind.REJECT, T0, until_ms=T0 + 1))
    assert district.known() == {}
    assert district.proves()


@pytest.mark.parametrize("rejected", [False, True])
def test_a_step_that_a_person_accepted_may_end_with_a_declared_register(rejected):
    readings = [(T0, 100_000_000), (T0 + MINUTE_MS, 5_000_000)]
    district = Told()
    district.take([("em-1", *reading) for reading in readings], 1)
    at = T0 + MINUTE_MS
    district.say(event(EventKind.EXCHANGE, at, final_micro=900_000_000, start_micro=0))
    district.say(event(EventKind.ACCEPT, at))
    if rejected:
        district.say(event(EventKind.REJECT, at, until_ms=at + 1))
    declared = oracle.Declared(
        {0: 40}, {at: (900_000_000, 0)}, frozenset([at]), frozenset([at] if rejected else [])
    )
    assert district.known() == expected(declared, readings)
    assert district.proves()
