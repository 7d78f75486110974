"""Verdicts: any order of readings and facts ends in the oracle's, and in a replay's."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aggregator.batch import ReadingColumns
from aggregator.ledger.meter_events import EventKind
from contract.interval import GRID_MS, MINUTE_MS
from contract.meta import Meta, MetaChannel, MetaMeter
from contract.reading import Quality
from contract.units import MICRO as KWH
from tests.aggregator.test_book import ADDRESS, T0, register_walks
from tests.aggregator.test_book_events import CHANNEL, Told, event
from tests.oracle.lives import Declared
from tests.oracle.verdicts import Came, verdicts

BEYOND = 2**60


def took(district, came):
    """Readings of one batch, of whatever quality."""
    parts = [district.columns([("em-1", r.time, r.value)], r.seq, r.quality, r.edge) for r in came]
    district.take_raw(ReadingColumns.concatenate(parts))


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_order_of_readings_and_facts_ends_in_the_oracles_verdicts(data):
    walk = data.draw(register_walks())
    assume(walk)
    times = [time for time, _ in walk]
    exact = st.sampled_from(times)
    commissioned = data.draw(st.sampled_from([0, 0]) | exact)
    offset = data.draw(st.sampled_from([0, -60 * MINUTE_MS - 1]))
    start = data.draw(exact)
    clock = (start, start + 90 * MINUTE_MS, offset) if offset else (0, 0, 0)
    rejected = data.draw(st.frozensets(exact, max_size=2))
    declared = Declared({commissioned: 40}, rejected=rejected, wrong_clock=clock)
    qualities = st.sampled_from([Quality.GOOD] * 6 + [Quality.CLOCK, Quality.RANGE])
    came = [
        Came(time, data.draw(st.sampled_from([value] * 9 + [BEYOND])), data.draw(qualities), seq)
        for seq, (time, value) in enumerate(walk, 1)
    ]
    for one in data.draw(st.lists(st.sampled_from(came), max_size=4)):  # another value, or not
        more = data.draw(st.sampled_from([0, 1_000]))
        came.append(Came(one.time, (one.value + more) % BEYOND, one.quality, len(came) + 1))
    facts = [event(EventKind.REJECT, at) for at in rejected]
    if offset:
        facts.append(
            event(EventKind.CLOCK, clock[0], edge="gw-1", until_ms=clock[1], offset_ms=offset)
        )
    district = Told({commissioned: 40})
    deeds = data.draw(st.permutations([*facts, *([None] * len(came))]))
    order = data.draw(st.permutations(came)) if data.draw(st.booleans()) else list(came)
    for deed in deeds:
        if deed is not None:
            district.say(deed)
        elif order:
            size = data.draw(st.integers(1, len(order)))
            took(district, order[:size])
            order = order[size:]
        if data.draw(st.sampled_from([False] * 9 + [True])):
            district.restart()
    stand = district.verdicts("em-1")
    assert stand == verdicts(CHANNEL, declared, came, commissioned)

    day = 86_400_000
    district.restart()
    district.book.remade(np.array([district.series], np.int32), T0 - T0 % day - day, T0 + 90 * day)
    assert not district.book.verdicts(ReadingColumns.empty(cumulative=True))


BORDER = T0 // GRID_MS * GRID_MS + GRID_MS


def said(district, *came):
    took(district, [Came(at, round(value * KWH), seq=i) for i, (at, value) in enumerate(came, 1)])
    return {key: outcome for key, (_, outcome) in district.verdicts("em-1").items()}


def test_a_late_reading_that_clears_a_verdict_takes_it_away():
    """Without a rating, half of the modulus at once is held; in two steps it is plausible."""
    district = Told({0: 1})
    told = MetaChannel("energy_import", "kWh", 1_000.0, None, 0.01)
    district.parameters.tell(ADDRESS, Meta((MetaMeter("em-1", "s", "m", (told,)),)))
    at = BORDER + 600_000
    held = said(district, (BORDER, 0), (at, 600), (at + 60_000, 601), (at + 120_000, 602))
    assert held == {(at, "step-above-half-modulus"): "held"}
    assert said(district, (BORDER + 300_000, 300)) == {}


def test_a_verdict_about_a_reading_on_the_border_of_an_interval():
    """The step to it lies in the interval before, the reading in the one after."""
    district = Told()
    assert said(district, (BORDER - 300_000, 100), (BORDER, 400)) == {
        (BORDER, "step-above-rating"): "held"
    }


def test_readings_that_a_clock_event_moves_before_the_commissioning():
    """They were taken at a time that no verdict is about."""
    district = Told({T0: 1})
    hour = 3_600_000
    fact = event(EventKind.CLOCK, T0, edge="gw-1", until_ms=T0 + 2 * hour, offset_ms=-hour)
    district.say(fact)
    assert said(district, (T0, 0), (T0 + 30_000, 0)) == {
        (T0 - hour, "before-commissioning"): "left_out",
        (T0 - hour + 30_000, "before-commissioning"): "left_out",
    }


def test_where_nothing_is_odd_the_store_is_not_asked(monkeypatch):
    district = Told()
    assert said(district, *((BORDER + i * 60_000, 100 + i / 10) for i in range(30))) == {}

    def asked(*_args, **_more):
        raise AssertionError("the store was asked")

    more = [Came(BORDER + i * 60_000, 100 * KWH + i * KWH // 10) for i in range(30, 90)]
    with monkeypatch.context() as patched:
        for name in ("readings", "versions", "verdicts"):
            patched.setattr(district.store, name, asked)
        took(district, more)
    assert district.verdicts("em-1") == {}
