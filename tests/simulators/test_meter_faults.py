"""Defects of a meter: the display lies as told, the truth stays."""

import itertools
import math

import pytest

from simulators.meter_faults import REVERSED_A, ROLL_OVER_AFTER_MS, SWAPPED_B_C
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
    began = counter(meter, 1.9)
    meter.defects.roll_over(ORIGIN_MS + 2 * HOUR_MS)
    assert counter(meter, 1.9) == began
    wraps = 2 + ROLL_OVER_AFTER_MS / HOUR_MS
    short = true_micro(meter, wraps) - true_micro(meter, 2)
    assert abs(counter(meter, 2) - (10**12 - short)) <= 10_000  # at 1 000 000 kWh it is 0 again
    assert counter(meter, wraps) == 0
    gained = true_micro(meter, 3) - true_micro(meter, wraps)
    assert abs(counter(meter, 3) - gained) <= 10_000
    last = meter._counters["energy_import"].last
    assert last is not None
    assert last.wraps == 1


POWERS = ("power", "power_a", "power_b", "power_c", "power_factor")


def test_a_reversed_transformer_takes_its_phase_off_the_sum():
    meter = simulated(MODEL)
    plain = {name: value(meter, name) for name in POWERS}
    before = counter(meter, 0)
    meter.defects.rewire(ORIGIN_MS, phase_powers=REVERSED_A)
    assert value(meter, "power_a") == -plain["power_a"] != 0
    assert value(meter, "power_b") == plain["power_b"]
    assert value(meter, "power") == pytest.approx(plain["power"] / 3, abs=1e-3)
    assert value(meter, "power_factor") == pytest.approx(0.95 / 3, abs=1e-3)
    assert abs(counter(meter, 6) - before - true_micro(meter, 6) // 3) <= 20_000


def test_swapped_currents_make_phases_that_cancel_out():
    meter = simulated(MODEL)
    before = counter(meter, 0)
    kva = value(meter, "power_a") / 0.95
    meter.defects.rewire(ORIGIN_MS, phase_powers=SWAPPED_B_C)
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
    meter.defects.rewire(ORIGIN_MS, ratio_ppm=100_000)
    assert value(meter, "power") == pytest.approx(right["power"] / 10, abs=1e-4)
    assert value(meter, "voltage_a") == right["voltage_a"]
    assert value(meter, "power_factor") == right["power_factor"]
    assert abs(counter(meter, 6) - before - true_micro(meter, 6) // 10) <= 20_000


def test_wrong_from_ten_to_noon_bends_the_count_and_never_makes_it_jump():
    """A transformer ten times too large, from eleven on phase A reversed as well."""
    meter = simulated(MODEL)
    begun = counter(meter, 0)
    right = value(meter, "power", 13)
    at_ms = [ORIGIN_MS + hour * HOUR_MS for hour in (10, 11, 12)]
    meter.defects.rewire(at_ms[0], ratio_ppm=100_000)
    meter.defects.rewire(at_ms[1], phase_powers=REVERSED_A)
    meter.defects.heal(at_ms[2])
    true = [true_micro(meter, hour) for hour in (0, 10, 11, 12, 20)]
    per_part = [later - earlier for earlier, later in itertools.pairwise(true)]
    gained = 0
    hours = zip((10, 11, 12, 20), per_part, (1, 10, 30, 1), strict=True)
    for hour, part, divided_by in hours:
        gained += part / divided_by
        assert abs(counter(meter, hour) - begun - gained) <= 10_000  # one digit of the display
        second_before = counter(meter, hour - 1 / 3600)
        assert 0 <= counter(meter, hour) - second_before <= 10_000  # 16 kW: 0.0044 kWh
    assert value(meter, "power", 9) > 9
    assert value(meter, "power", 11) == pytest.approx(
        meter._flows.forward.per_hour(at_ms[1]) / 30, abs=1e-4
    )
    assert value(meter, "power", 13) == right


def test_a_reset_while_the_ratio_is_wrong_counts_what_the_wrong_ratio_makes():
    meter = simulated(MODEL)
    meter.defects.rewire(ORIGIN_MS + 2 * HOUR_MS, ratio_ppm=100_000)
    meter.defects.reset(ORIGIN_MS + 5 * HOUR_MS)
    assert counter(meter, 5) == 0
    gained = (true_micro(meter, 9) - true_micro(meter, 5)) / 10
    assert abs(counter(meter, 9) - gained) <= 10_000
