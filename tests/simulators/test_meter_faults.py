"""Defects of a meter: the display lies as told, the truth stays."""

import math

import pytest

from simulators.meter_faults import REVERSED_A, SWAPPED_B_C
from tests.edge_agent.field import ORIGIN_MS, simulated

HOUR_MS = 3_600_000
MODEL = "dlt645-2007-three-phase"


def counter(meter, hour):
    register = next(r for r in meter.device.registers if r.channel == "energy_import")
    return meter.number(register, ORIGIN_MS + round(hour * HOUR_MS)) * 10_000


def value(meter, channel, hour=1):
    register = next(r for r in meter.device.registers if r.channel == channel)
    return meter.number(register, ORIGIN_MS + hour * HOUR_MS) * register.scale


def true_micro(meter, hour):
    return meter._flows.forward.amount_micro(ORIGIN_MS + round(hour * HOUR_MS))


def test_stuck_display():
    meter = simulated(MODEL)
    meter.defects.stuck_from_ms = ORIGIN_MS + 2 * HOUR_MS
    assert counter(meter, 1) < counter(meter, 2) == counter(meter, 3) == counter(meter, 50)
    assert value(meter, "power", 2) == value(meter, "power", 9)


def test_reset_counts_from_nothing():
    meter = simulated(MODEL)
    meter.defects.reset(ORIGIN_MS + 5 * HOUR_MS)
    assert counter(meter, 4) > 1_000_000
    assert counter(meter, 5) == 0
    assert abs(counter(meter, 7) - (true_micro(meter, 7) - true_micro(meter, 5))) <= 10_000


def test_exchange_counts_from_what_the_new_meter_shows_and_the_first_reset_is_past():
    meter = simulated(MODEL)
    meter.defects.reset(ORIGIN_MS + 5 * HOUR_MS)
    meter.defects.exchange(ORIGIN_MS + 8 * HOUR_MS, 77_000_000)
    assert counter(meter, 8) == 77_000_000
    gained = true_micro(meter, 9) - true_micro(meter, 8)
    assert abs(counter(meter, 9) - 77_000_000 - gained) <= 10_000


def test_rollover_near_the_modulus():
    meter = simulated(MODEL)
    shown = counter(meter, 0)
    meter.defects.ahead_micro = 10**12 - 5_000_000 - shown  # five kWh below 1 000 000
    assert counter(meter, 0) == 999_995_000_000
    assert counter(meter, 1) < 20_000_000  # some ten kWh on: it wrapped
    last = meter._counters["energy_import"].last
    assert last is not None
    assert last.wraps == 1


POWERS = ("power", "power_a", "power_b", "power_c", "power_factor")


def test_a_reversed_transformer_takes_its_phase_off_the_sum():
    meter = simulated(MODEL)
    plain = {name: value(meter, name) for name in POWERS}
    before = counter(meter, 0)
    meter.defects.phase_powers = REVERSED_A
    assert value(meter, "power_a") == -plain["power_a"] != 0
    assert value(meter, "power_b") == plain["power_b"]
    assert value(meter, "power") == pytest.approx(plain["power"] / 3, abs=1e-3)
    assert value(meter, "power_factor") == pytest.approx(0.95 / 3, abs=1e-3)
    assert abs(counter(meter, 6) - before - true_micro(meter, 6) // 3) <= 20_000


def test_swapped_currents_make_phases_that_cancel_out():
    meter = simulated(MODEL)
    before = counter(meter, 0)
    kva = value(meter, "power_a") / 0.95
    meter.defects.phase_powers = SWAPPED_B_C
    angle = math.acos(0.95)
    third = 2 * math.pi / 3
    assert value(meter, "power_b") == pytest.approx(kva * math.cos(angle + third), abs=1e-3)
    assert value(meter, "power_c") == pytest.approx(kva * math.cos(angle - third), abs=1e-3)
    assert value(meter, "power") == pytest.approx(0, abs=1e-3)
    assert counter(meter, 6) == before


def test_wrong_transformer_ratio_counts_a_tenth():
    meter = simulated(MODEL)
    right = {name: value(meter, name) for name in ("power", "voltage_a", "power_factor")}
    before = counter(meter, 0)
    meter.defects.ratio_ppm = 100_000
    assert value(meter, "power") == pytest.approx(right["power"] / 10, abs=1e-4)
    assert value(meter, "voltage_a") == right["voltage_a"]
    assert value(meter, "power_factor") == right["power_factor"]
    assert abs(counter(meter, 6) - before - true_micro(meter, 6) // 10) <= 20_000
