import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.proof import ChannelFacts, prove
from tests.oracle import register as oracle

MINUTE_MS = 60_000
MODULUS = 1_000_000


def proof_of(readings, facts, booked, held=0):
    times, values = zip(*readings, strict=True)
    return prove(np.array(times), np.array(values, np.int64), facts, booked, held)


def test_closes_when_the_ledger_holds_what_the_register_counted():
    line = proof_of([(0, 100), (60_000, 250)], ChannelFacts(multiplier=40), 6000)
    assert (line.register_start_micro, line.register_end_micro) == (100, 250)
    assert (line.first_ms, line.last_ms, line.received) == (0, 60_000, 2)
    assert line.closes


@pytest.mark.parametrize("error", [-1, 1, -6000])
def test_a_single_micro_unit_too_much_or_too_little_is_seen(error: int):
    line = proof_of([(0, 100), (60_000, 250)], ChannelFacts(multiplier=40), 6000 + error)
    assert not line.closes
    assert line.difference_micro == -error


def test_held_energy_is_part_of_the_account():
    assert proof_of([(0, 100), (60_000, 250)], ChannelFacts(), 100, held=50).closes
    assert proof_of([(0, 100), (60_000, 50)], ChannelFacts(), 0, held=-50).closes


def test_a_rollover_is_a_declared_event_times_the_multiplier():
    facts = ChannelFacts(10, MODULUS * 10, 10 * 60 * 100)
    readings = [(0, MODULUS - 60), (MINUTE_MS, 20), (2 * MINUTE_MS, 90)]
    line = proof_of(readings, facts, 1500)
    assert line.events_micro == MODULUS * 10
    assert line.closes


def test_without_a_modulus_a_fall_is_no_event():
    line = proof_of([(0, MODULUS - 60), (MINUTE_MS, 20)], ChannelFacts(), 0, held=80 - MODULUS)
    assert line.events_micro == 0
    assert line.closes


def test_a_reset_in_the_middle_of_the_range_is_no_rollover():
    facts = ChannelFacts(1, MODULUS, 6000)
    assert proof_of([(0, 700_000), (MINUTE_MS, 5)], facts, 0, held=5 - 700_000).closes


def test_a_glitch_to_zero_that_comes_back_is_no_rollover():
    facts = ChannelFacts(1, MODULUS)
    readings = [(0, MODULUS - 60), (MINUTE_MS, 0), (2 * MINUTE_MS, MODULUS - 40)]
    assert proof_of(readings, facts, 20).closes


def test_a_spike_on_a_register_that_wraps_underneath_it():
    facts = ChannelFacts(1, MODULUS)
    readings = [(0, MODULUS - 60), (MINUTE_MS, 3 * MODULUS), (2 * MINUTE_MS, 5)]
    assert proof_of(readings, facts, 65).events_micro == MODULUS


def test_no_readings_and_no_figures_close_but_figures_without_readings_do_not():
    nothing = np.empty(0, np.int64)
    assert prove(nothing, nothing, ChannelFacts(), 0, 0).closes
    assert not prove(nothing, nothing, ChannelFacts(), 1, 0).closes


@settings(max_examples=300)
@given(
    st.integers(0, 2**32), st.booleans(), st.sampled_from([1, 30, 400]), st.sampled_from([0, 9_000])
)
def test_agrees_with_the_ledgers_rules_on_wrapping_registers_with_glitches(
    seed: int, limited: bool, multiplier: int, slack: int
):
    """Readings rise by at most the limit, wrap now and then; some lone ones are wrong."""
    draw = random.Random(seed)
    limit_per_min = 5_000
    true, readings = draw.randrange(MODULUS), []
    for minute in range(draw.randrange(2, 60)):
        readings.append((minute * MINUTE_MS, true % MODULUS))
        true += draw.randrange(limit_per_min)
    for i in range(2, len(readings) - 3, 6):
        if draw.random() < 0.3:
            wrong = draw.choice([0, draw.randrange(MODULUS), 2 * MODULUS])
            readings[i] = (readings[i][0], wrong)
    limit = limit_per_min * 60 * multiplier if limited else 0
    channel = oracle.Channel(MODULUS * multiplier, limit, slack * multiplier)
    ledger = oracle.ledger(channel, [(t, v * multiplier) for t, v in readings], 15 * MINUTE_MS)
    booked = sum(row.amount for row in ledger.rows.values())
    held = sum(row.amount_held for row in ledger.rows.values())
    facts = ChannelFacts(multiplier, MODULUS * multiplier, limit, slack * multiplier)
    line = proof_of(readings, facts, booked, held)
    assert line.closes, (readings, line)
