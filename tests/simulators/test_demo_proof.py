"""The demo's judge: one micro-unit is enough to fail, in either direction."""

from dataclasses import replace

import pytest

from simulators.demo.proof import (
    Booked,
    Served,
    compare,
    parse_booked,
    parse_served,
    summarise,
)

SERVED = Served(
    site="s",
    meter="m",
    channel="energy_import",
    carrier="electricity",
    first_micro=1_000_000,
    last_micro=3_500_000,
    gained_micro=100_000_000,  # 2.5 x 40
    true_micro=100_300_000,
    step_micro=400_000,
)
BOOKED = Booked(
    site="s",
    meter="m",
    channel="energy_import",
    first_micro=1_000_000,
    last_micro=3_500_000,
    booked_micro=100_000_000,
    held_micro=0,
    closes=True,
)


def problems(served: Served = SERVED, booked: Booked = BOOKED) -> str:
    (verdict,) = compare([served], [booked])
    return "; ".join(verdict.problems)


def test_agreement() -> None:
    assert problems() == ""


@pytest.mark.parametrize(
    ("booked", "reason"),
    [
        (replace(BOOKED, booked_micro=100_000_001), "ledger - served = 1 micro"),
        (replace(BOOKED, booked_micro=99_999_999), "ledger - served = -1 micro"),
        (replace(BOOKED, held_micro=1), "held"),
        (replace(BOOKED, booked_micro=99_999_999, held_micro=1), "ledger - served"),
        (replace(BOOKED, first_micro=1_000_001), "first register"),
        (replace(BOOKED, last_micro=3_499_999), "last register"),
        (replace(BOOKED, last_micro=None), "last register"),
        (replace(BOOKED, closes=False), "does not close"),
    ],
)
def test_one_micro_unit_fails(booked: Booked, reason: str) -> None:
    assert reason in problems(booked=booked)


def test_truth_may_be_two_steps_away_and_no_more() -> None:
    assert problems(replace(SERVED, true_micro=100_000_000 + 2 * 400_000)) == ""
    assert problems(replace(SERVED, true_micro=100_000_000 - 2 * 400_000)) == ""
    assert "steps" in problems(replace(SERVED, true_micro=100_000_000 + 2 * 400_000 + 1))
    assert "steps" in problems(replace(SERVED, true_micro=100_000_000 - 2 * 400_000 - 1))


def test_a_channel_on_one_side_only_fails() -> None:
    (lost,) = compare([SERVED], [])
    assert lost.problems == ("served, but not in the ledger",)
    (invented,) = compare([], [BOOKED])
    assert "no meter served" in invented.problems[0]
    other_site = replace(BOOKED, site="t")
    assert all(verdict.problems for verdict in compare([SERVED], [other_site]))


def test_wraps_and_multiplier_are_counted() -> None:
    served = parse_served(
        {
            "site": "s",
            "meter": "m",
            "channel": "energy_import",
            "carrier": "electricity",
            "role": "sub",
            "multiplier": 40,
            "step_micro": 10_000,
            "modulus_micro": 1_000_000,
            "first": {"time_ms": 1, "served_micro": 990_000, "true_micro": 0, "wraps": 3},
            "last": {"time_ms": 2, "served_micro": 20_000, "true_micro": 1_200_000, "wraps": 4},
        }
    )
    assert (served.gained_micro, served.true_micro, served.step_micro) == (
        30_000 * 40,
        1_200_000,
        400_000,
    )


def test_the_apis_row() -> None:
    row = {
        "site": "s",
        "meter": "m",
        "channel": "energy_import",
        "register_start_micro": 1_000_000,
        "register_end_micro": 3_500_000,
        "booked_micro": 100_000_000,
        "held_micro": 0,
        "closes": True,
        "carrier": "electricity",
        "events_micro": 0,
    }
    assert parse_booked(row) == BOOKED


def test_differences_do_not_cancel_in_a_summary() -> None:
    pairs = [("m1", 1), ("m2", -1)]
    verdicts = compare(
        [replace(SERVED, meter=meter) for meter, _ in pairs],
        [replace(BOOKED, meter=meter, booked_micro=100_000_000 + off) for meter, off in pairs],
    )
    (line,) = summarise(verdicts, {"energy_import": "kWh"})
    assert (line.ledger_micro, line.served_micro) == (200_000_000, 200_000_000)
    assert (line.ledger_off_micro, line.good, line.channels) == (2, 0, 2)
    assert line.worst_steps == 0.75
