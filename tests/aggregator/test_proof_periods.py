"""The proof closes between any two borders of intervals, and a micro-unit too much is seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.directory import SeriesKey
from aggregator.ledger.meter_events import EventKind, MeterEvent, registers_of
from aggregator.proof import ChannelFacts, prove_walk
from aggregator.walk import walk
from contract.interval import GRID_MS, MINUTE_MS
from tests.aggregator.test_book import T0, register_walks
from tests.oracle import lives
from tests.oracle import register as oracle

KEY = SeriesKey("370114", "works", "em-1", "energy_import")
MODULUS, LIMIT, SLACK = 1_000_000_000, 60_000_000, 10_000
DAY = 86_400_000
PLAIN = ChannelFacts()


def walked(readings, facts=PLAIN):
    times = np.array([time for time, _ in readings], np.int64)
    return walk(times, np.array([value for _, value in readings], np.int64), facts)


def line_of(readings, facts, rows, start, end):
    inside = [row for at, row in rows.items() if start <= at < end]
    booked, held = sum(row.amount for row in inside), sum(row.amount_held for row in inside)
    received = sum(start <= time < end for time, _ in readings)
    found = walked(readings, facts)
    return prove_walk(found, facts, start, end, received, booked, held), inside


@st.composite
def spans(draw):
    """Two borders of intervals, around and beyond what `register_walks` reads."""
    first = T0 // GRID_MS * GRID_MS + GRID_MS * draw(st.integers(-3, 300))
    return first, first + GRID_MS * draw(st.integers(1, 300))


@settings(max_examples=400, deadline=None)
@given(
    register_walks(), spans(), st.sampled_from([0, LIMIT]), st.sampled_from([0, MODULUS]),
    st.sampled_from([1, 40]),
)  # fmt: skip
def test_any_two_borders_close_and_stand_where_the_oracle_says(
    readings, span, limit, modulus, ratio
):
    channel = oracle.Channel(modulus * ratio, limit * ratio, SLACK * ratio)
    scaled = [(time, value * ratio) for time, value in readings]
    ledger = oracle.ledger(channel, scaled, GRID_MS)
    facts = ChannelFacts(ratio, modulus * ratio, limit * ratio, SLACK * ratio)
    line, inside = line_of(readings, facts, ledger.rows, *span)
    assert line.difference_micro == 0, line
    assert line.held_ms == sum(row.held_ms for row in inside)
    at_start, at_end = (oracle.border_register(ledger, scaled, border) for border in span)
    if at_start is not None:
        assert (line.first_ms, line.level_start_micro) == (span[0], at_start[0])
    if at_end is not None:
        assert (line.last_ms, line.level_end_micro) == (span[1], at_end[0])
    if at_start is not None and at_end is not None:
        assert line.events_micro == at_end[1] - at_start[1]


@settings(max_examples=200, deadline=None)
@given(register_walks(), spans())
def test_a_period_needs_24_readings_on_either_side_and_no_more(readings, span):
    """What the API reads of a long series proves as much as all of it."""
    facts = ChannelFacts(1, MODULUS, LIMIT, SLACK)
    whole, _ = line_of(readings, facts, {}, *span)
    before = [reading for reading in readings if reading[0] < span[0]][-24:]
    after = [reading for reading in readings if reading[0] > span[1]][:24]
    near = [reading for reading in readings if span[0] <= reading[0] <= span[1]]
    part, _ = line_of([*before, *near, *after], facts, {}, *span)
    assert part == whole


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_it_closes_over_exchanges_new_ratios_and_decisions(data):
    readings, (start, end) = data.draw(register_walks()), data.draw(spans())
    times = [time for time, _ in readings] or [T0]
    moments = st.sampled_from(times).flatmap(
        lambda t: st.integers(-40, 40).map(lambda s: t + s * 1_000)
    ) | st.just(start) | st.just(end)  # fmt: skip
    shown = st.none() | st.integers(0, 999_000_000)
    ratios = {0: 40} | data.draw(st.dictionaries(moments, st.sampled_from([1, 80]), max_size=2))
    changes = data.draw(st.dictionaries(moments, st.tuples(shown, shown), max_size=2))
    accepted = data.draw(st.frozensets(st.sampled_from(times), max_size=2))
    declared = lives.Declared(ratios, changes, accepted)
    events = [
        MeterEvent(
            EventKind.EXCHANGE, *KEY[:2], at, author="t", reason="t", meter=KEY.meter,
            channel=KEY.channel, final_micro=final, start_micro=first,
        )
        for at, (final, first) in changes.items()
    ]  # fmt: skip
    events += [
        MeterEvent(
            EventKind.ACCEPT, *KEY[:2], at, author="t", reason="t", meter=KEY.meter,
            channel=KEY.channel,
        )
        for at in accepted
    ]  # fmt: skip
    registers = registers_of(KEY, sorted(ratios.items()), events)
    rows = lives.figures(oracle.Channel(MODULUS, LIMIT, SLACK), declared, readings, GRID_MS)
    facts = ChannelFacts(1, MODULUS, LIMIT, SLACK, registers)
    line, inside = line_of(readings, facts, rows, start, end)
    assert line.difference_micro == 0, line
    assert line.held_ms == sum(row.held_ms for row in inside)


def test_a_border_inside_a_rollover_stands_on_the_way_to_it():
    start = T0 // GRID_MS * GRID_MS
    readings = [(start - 10 * MINUTE_MS, MODULUS - 900_000), (start + 20 * MINUTE_MS, 600_000)]
    facts = ChannelFacts(40, 40 * MODULUS, 40 * LIMIT, 40 * SLACK)
    found = walked(readings, facts)
    first = prove_walk(found, facts, None, start, 1, 20_000_000, 0)
    then = prove_walk(found, facts, start, None, 1, 40_000_000, 0)
    assert first.closes
    assert (first.register_end_micro, first.rollovers) == (MODULUS - 400_000, 0)
    assert then.closes
    assert (then.register_start_micro, then.rollovers) == (MODULUS - 400_000, 1)
    assert then.events_micro == 40 * MODULUS
    beyond = prove_walk(found, facts, start, start + GRID_MS, 0, 30_000_000, 0)
    assert beyond.closes
    assert beyond.register_end_micro == 350_000


@pytest.mark.parametrize("error", [-1, 1])
def test_a_micro_unit_too_much_in_the_period_is_seen(error):
    start = T0 // GRID_MS * GRID_MS
    readings = [(start - 1_000, 5), (start + GRID_MS + 1_000, 5 + 902_000)]
    found = walked(readings)
    assert prove_walk(found, ChannelFacts(), start, start + GRID_MS, 0, 900_000, 0).closes
    line = prove_walk(found, ChannelFacts(), start, start + GRID_MS, 0, 900_000 + error, 0)
    assert (line.closes, line.difference_micro) == (False, -error)


def test_before_the_first_and_after_the_last_reading_nothing_is_expected_of_the_ledger():
    found = walked([(T0, 7), (T0 + 60_000, 9)])
    early = prove_walk(found, ChannelFacts(), T0 - 2 * DAY, T0 - DAY, 0, 0, 0)
    assert (early.closes, early.first_ms, early.register_end_micro) == (True, None, None)
    assert not prove_walk(found, ChannelFacts(), T0 - 2 * DAY, T0 - DAY, 0, 1, 0).closes
    late = prove_walk(found, ChannelFacts(), T0 + DAY, T0 + 2 * DAY, 0, 0, 0)
    assert (late.closes, late.last_ms, late.register_end_micro) == (True, T0 + 60_000, 9)
