import math

import pytest

from edge_agent.doctor import Finding, answers, cycle_budget, histogram, outbox_health
from edge_agent.probe.physics import Gain
from edge_agent.wiring import counting, wiring

GOOD = {
    **{f"voltage_{p}": 230.0 for p in "abc"},
    **{f"current_{p}": 10.0 for p in "abc"},
    **{f"power_{p}": 2.1 for p in "abc"},
    "power": 6.3,
}


def hints(values: dict[str, float]) -> str:
    return " | ".join(finding.hint for finding in wiring("em-01", values))


def test_a_meter_wired_as_it_should_be_gets_no_hint():
    assert hints(GOOD) == ""
    assert hints({"power": 3.0}) == ""
    assert (
        hints({name: -value if name.startswith("power") else value for name, value in GOOD.items()})
        == ""
    ), "all three give: a PV inverter"


def test_a_reversed_current_transformer():
    assert "transformer reversed" in hints(GOOD | {"power_b": -2.1, "power": 2.1})


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("order", ["abc", "bca", "cab", "cba"])
@pytest.mark.parametrize("degrees", [-25, 0, 26])
def test_swapped_phases(degrees, order, sign):
    """Two currents with each other's voltage are a third of a turn off, in opposite directions."""
    angles = (degrees, degrees + 120, degrees - 120)
    powers = [sign * 2.3 * math.cos(math.radians(angle)) for angle in angles]
    values = {f"power_{p}": power for p, power in zip(order, powers, strict=True)}
    found = hints(GOOD | values | {"power": sum(powers)})
    one, other = sorted(order[1:].upper())
    assert found == f"phases swapped: the currents of {one} and {other} with each other's voltage"


def test_a_power_ten_times_what_voltage_and_current_make():
    single = {"voltage": 230.0, "current": 10.0, "power_factor": 0.9, "power": 2.07}
    assert hints(single) == ""
    for factor in (10, 0.1):
        assert "wrong by ten" in hints(single | {"power": 2.07 * factor})


def test_a_power_above_the_rating():
    (found,) = wiring("em-01", {"power": 1200.0}, 150.0)
    assert found.text == "power 1200 kW is above the rating of 150 kW"
    assert "wrong by ten" in found.hint
    assert not list(wiring("em-01", {"power": 120.0}, 150.0))


@pytest.mark.parametrize(
    ("gain", "made", "good", "hint"),
    [
        (0.2, 0.21, True, ""),
        (2.0, 0.2, False, "wrong by ten"),
        (0.02, 0.2, False, "wrong by ten"),
        (0.8, 0.2, False, "side of CT x VT"),
        (-1.0, 0.2, False, "not steady"),
        (0.05, 0.0, False, "side of CT x VT"),
    ],
)
def test_a_count_and_the_power_beside_it(gain, made, good, hint):
    (found,) = counting("em-01", [Gain("energy_import", "power", 60, gain, made, 0.01)])
    assert found.good == good
    assert hint in found.hint
    assert str(found.text).startswith("energy_import")


def test_a_count_too_coarse_or_without_a_rate_says_nothing():
    for gain in (Gain("energy_import", "power", 9, 0.0, 0.02, 0.01),
                 Gain("energy_import", "power", 9, 0.0, 0.2, 0.01),
                 Gain("volume", "flow", 9, 5.0, None, 0.01)):  # fmt: skip
        assert not list(counting("em-01", [gain]))


def test_answers_of_a_meter():
    good = answers("em-01", 3, [12, 15, 40], {}, "")
    assert good == Finding(
        "em-01", good=True, text="3 of 3 polls answered; <= 20 ms: 2, <= 50 ms: 1"
    )
    bad = answers("em-01", 3, [12], {"timeout": 1, "garbled": 1}, "no answer")
    assert bad.text == "1 of 3 polls answered (timeouts 1, CRC errors 1); <= 20 ms: 1"
    used = answers("em-01", 1, [], {"connection": 1}, "p: cannot open: another process uses it")
    assert "another process uses it" in used.text
    assert "systemctl stop nenghao-edge" in used.hint


@pytest.mark.parametrize("factor", [10, 0.1, 1000])
def test_a_ratio_wrong_by_ten(factor):
    assert "wrong by ten" in hints(GOOD | {"power": 6.3 * factor})


def test_a_power_no_current_can_make():
    assert "ratio of current or voltage" in hints(GOOD | {"power_a": 21.0})


def test_the_cycle_budget_says_what_is_needed_and_what_was_asked():
    found = cycle_budget("bus1", 30, 11.4, 10, 9600)
    assert found.text == "30 meters at 9600 baud need 11.4 s, you asked 10 s"
    assert (found.good, found.hint) == (
        False,
        "poll each 15 s, or spread the meters over more wires",
    )
    assert cycle_budget("bus1", 20, 7.6, 10).good


def test_the_histogram_and_the_disk():
    assert histogram([3, 15, 16, 9000]) == "<= 10 ms: 1, <= 20 ms: 2, longer: 1"
    found = list(
        outbox_health(
            free_bytes=10**8,
            used_bytes=0,
            limit_bytes=1 << 30,
            held_readings=0,
            readings_a_day=1e6,
            bytes_a_day=2e7,
            unacked=5,
            lost=1,
        )
    )
    assert [finding.good for finding in found] == [False, True, True, False]
    assert found[0].text == "room for 100 MB of 1074 MB: 5 days of 1000000 readings a day"
    assert Finding("uplink", good=True, text="5 batches not acknowledged yet") in found
