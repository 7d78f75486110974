import pytest

from edge_agent.doctor import Finding, cycle_budget, histogram, outbox_health, wiring

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


def test_swapped_phases():
    # Cos 0.9 on swapped B and C: 0.9, cos(26+120), cos(26-120).
    assert "phases swapped" in hints(
        GOOD | {"power_a": 2.07, "power_b": -1.91, "power_c": 0.16, "power": 0.3}
    )


@pytest.mark.parametrize("factor", [10, 0.1, 1000])
def test_a_ratio_wrong_by_ten(factor):
    assert "wrong by ten" in hints(GOOD | {"power": 6.3 * factor})


def test_a_power_no_current_can_make():
    assert "ratio of current or voltage" in hints(GOOD | {"power_a": 21.0})


def test_the_cycle_budget_says_what_is_needed_and_what_was_asked():
    found = cycle_budget("bus1", [0.38] * 30, 10)
    assert found.text == "30 meters need 11.4 s, you asked 10 s"
    assert (found.good, found.hint) == (
        False,
        "poll each 15 s, or spread the meters over more wires",
    )
    assert cycle_budget("bus1", [0.38] * 20, 10).good


def test_the_histogram_and_the_disk():
    assert histogram([3, 15, 16, 9000]) == "<= 10 ms: 1, <= 20 ms: 2, longer: 1"
    found = list(
        outbox_health(
            free_bytes=10**8,
            used_bytes=0,
            limit_bytes=1 << 30,
            bytes_a_day=2e7,
            unacked=5,
            lost=1,
        )
    )
    assert [finding.good for finding in found] == [False, True, True, False]
    assert "5 days at the present rate" in found[0].text
    assert Finding("uplink", good=True, text="5 batches not acknowledged yet") in found
