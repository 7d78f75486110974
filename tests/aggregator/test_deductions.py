"""Deductions: by an oracle over random rows, and through /consumption."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.api.deductions import COAL, deductions_of, net_of
from aggregator.api.main import build_app
from aggregator.events import Events
from aggregator.ledger.factors import Measure
from aggregator.periods import period_span
from aggregator.register.model import Deduction, DeductionKind, Register
from aggregator.rollups import Rollups
from aggregator.store.base import DirtyDay
from contract.interval import next_month
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    QUARTER_MS,
    REGION,
    ApiClient,
    Ledger,
    build,
)
from tests.oracle import accounts as oracle

YEAR_MS, NEXT_YEAR_MS = period_span("2026")


@dataclass
class Carrier:
    consumption: dict[str, int] = field(default_factory=dict)
    kg: dict[Measure, float] = field(default_factory=dict)


def monthly(coal_t: list[int], kg_per_t: list[float]) -> dict[int, Carrier]:
    """Coal of each month of 2026, by the month's start."""
    found, start_ms = {}, YEAR_MS
    for tonnes, factor in zip(coal_t, kg_per_t, strict=True):
        kg = dict.fromkeys(COAL, tonnes * factor)
        found[start_ms] = Carrier({"t": tonnes * 1_000_000}, kg)
        start_ms = next_month(start_ms)
    return found


def summed(months: dict[int, Carrier], from_ms: int, to_ms: int) -> dict[str, Carrier]:
    inside = [one for start_ms, one in months.items() if from_ms <= start_ms < to_ms]
    amount = sum(one.consumption["t"] for one in inside)
    kg = {measure: sum(one.kg[measure] for one in inside) for measure in COAL}
    return {"raw_coal": Carrier({"t": amount}, kg)} if inside else {}


PERIODS = st.sampled_from(["2025", "2026", "2026-01", "2026-05", "2026-12", "2027-01"])


@given(
    coal=st.lists(st.integers(0, 50), min_size=12, max_size=12),
    factors=st.lists(st.floats(500, 900), min_size=12, max_size=12),
    rows=st.lists(st.tuples(PERIODS, st.integers(0, 120)), max_size=6),
    asked=st.sampled_from(["2026", "2026-05"]),
)
def test_net_is_gross_less_each_row_at_its_periods_mean_factor(coal, factors, rows, asked):
    months = monthly(coal, factors)
    from_ms, to_ms = period_span(asked)
    deductions = [
        Deduction("works", "raw_coal", DeductionKind.FEEDSTOCK, period, amount, f"doc {i}", "")
        for i, (period, amount) in enumerate(rows)
    ]
    whole = summed(months, from_ms, to_ms)
    found = deductions_of(deductions, from_ms, to_ms, lambda low, high: summed(months, low, high))
    gross = whole["raw_coal"].kg
    net = net_of(gross, found, DeductionKind.FEEDSTOCK)
    kept, expected = oracle.deducted(coal, factors, rows, asked)
    assert [one.reason == "" for one in found] == kept
    for measure in COAL:
        assert net[measure] == pytest.approx(expected, abs=1e-6)
        assert net[measure] >= -1e-6
    assert net_of(gross, found, DeductionKind.RENEWABLE_CERTIFICATE) == gross


@given(
    coal=st.lists(st.integers(0, 50), min_size=12, max_size=12),
    rows=st.lists(
        st.tuples(st.sampled_from(["2026", "2026-01", "2026-05"]), st.integers(0, 120)), max_size=6
    ),
)
def test_the_years_net_is_the_sum_of_the_months_less_the_rows_of_the_year(coal, rows):
    months = monthly(coal, [700.0] * 12)
    deductions = [
        Deduction("works", "raw_coal", DeductionKind.FEEDSTOCK, period, amount, f"doc {i}", "")
        for i, (period, amount) in enumerate(rows)
    ]

    def asked(from_ms: int, to_ms: int):
        return deductions_of(
            deductions, from_ms, to_ms, lambda low, high: summed(months, low, high)
        )

    def net(found, from_ms: int, to_ms: int) -> float:
        gross = summed(months, from_ms, to_ms)["raw_coal"].kg
        return net_of(gross, found, DeductionKind.FEEDSTOCK)[Measure.KGCE_CALORIFIC]

    year = asked(YEAR_MS, NEXT_YEAR_MS)
    of_year = [one for one in year if one.row.period == "2026" and not one.reason]
    sum_of_months = sum(net(asked(at, next_month(at)), at, next_month(at)) for at in months)
    taken = sum(one.kgce[Measure.KGCE_CALORIFIC] for one in of_year)
    assert net(year, YEAR_MS, NEXT_YEAR_MS) == pytest.approx(sum_of_months - taken, abs=1e-6)
    for month in (1, 5):
        own = [one.row for one in year if not one.reason and one.row.period == f"2026-{month:02}"]
        assert sum(row.amount for row in own) <= coal[month - 1]


def test_two_certificates_of_one_month_take_no_more_than_it_used():
    """January used 100 of the year's 600: of two of 80 the second is refused, in either view."""
    months = monthly([100, *[50] * 10, 0], [1.0] * 12)
    rows = [
        Deduction("works", "raw_coal", DeductionKind.FEEDSTOCK, "2026-01", 80, f"doc {i}", "")
        for i in range(2)
    ]
    for span in (period_span("2026-01"), period_span("2026")):
        found = deductions_of(rows, *span, lambda low, high: summed(months, low, high))
        assert [one.reason for one in found] == [
            "", "more than is left of the raw_coal consumed in 2026-01: 20 t"
        ]  # fmt: skip


def test_what_cannot_be_converted_leaves_the_net_unknown_rather_than_gross():
    carrier = Carrier({"t": 10_000_000}, dict.fromkeys(COAL, math.nan))
    row = Deduction("works", "raw_coal", DeductionKind.FEEDSTOCK, "2026", 1, "doc", "")
    found = deductions_of([row], YEAR_MS, NEXT_YEAR_MS, lambda *_: {"raw_coal": carrier})
    net = net_of(dict.fromkeys(COAL, 100.0), found, DeductionKind.FEEDSTOCK)
    assert all(math.isnan(value) for value in net.values())


# Through the API


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    rollups = Rollups(built.store, Events(lambda: 0))
    rollups.mark([DirtyDay(REGION, "foundry", MIDNIGHT_MS)], MIDNIGHT_MS, NOON_MS - QUARTER_MS)
    rollups.flush()
    yield built
    built.store.close()


def march(ledger: Ledger, *rows: tuple[str, DeductionKind, str, float]) -> dict[str, Any]:
    old = ledger.reader.register
    ledger.reader.register = Register.of(
        old.sites.values(),
        [row for rows in old.rows.values() for row in rows],
        deductions=[
            Deduction("foundry", carrier, kind, period, amount, f"document {i}", "")
            for i, (carrier, kind, period, amount) in enumerate(rows)
        ],
    )
    with ApiClient(build_app(ledger.reader)) as client:
        answer = client.get(
            "/api/v1/consumption",
            {"site": "foundry", "level": "month", "from": "2026-03-01", "to": "2026-04-01"},
        )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["sites"][0]
    return found


def test_gross_each_deduction_and_both_nets_are_shown(ledger: Ledger):
    site = march(
        ledger,
        ("raw_coal", DeductionKind.FEEDSTOCK, "2026-03", 4),
        ("electricity", DeductionKind.RENEWABLE_CERTIFICATE, "2026-03", 1_000),
    )
    gross = site["total"]["kgce_calorific"]
    coal, green = site["deductions"]
    assert coal == {
        "carrier": "raw_coal",
        "kind": "feedstock",
        "kind_zh": "原料用能",
        "period": "2026-03",
        "amount": {"mass_t": 4.0},
        "document": "document 0",
        "kgce_calorific": pytest.approx(4 * 714.3),
        "kgce_equivalent": pytest.approx(4 * 714.3),
        "deducted": True,
        "reason": None,
    }
    assert green["kgce_calorific"] == pytest.approx(122.9)
    assert green["kgce_equivalent"] == pytest.approx(310)
    assert site["net"]["kgce_calorific"] == pytest.approx(gross - 4 * 714.3 - 122.9)
    assert site["net_for_intensity"]["kgce_calorific"] == pytest.approx(gross - 4 * 714.3)
    assert site["net"]["tce_calorific"] == pytest.approx(site["net"]["kgce_calorific"] / 1_000)
    plain = march(ledger)
    assert plain["total"] == site["total"]  # the gross, and CO2, never move
    assert plain["net"]["kgce_calorific"] == plain["total"]["kgce_calorific"]


def test_what_is_not_deducted_is_shown_with_its_reason(ledger: Ledger):
    site = march(
        ledger,
        ("raw_coal", DeductionKind.FEEDSTOCK, "2026", 4),
        ("raw_coal", DeductionKind.FEEDSTOCK, "2026-03", 20),
        ("raw_coal", DeductionKind.FEEDSTOCK, "2026-03", 5),
        ("raw_coal", DeductionKind.FEEDSTOCK, "2026-02", 5),
        ("coke", DeductionKind.FEEDSTOCK, "2026-03", 5),
    )
    assert [(row["deducted"], row["reason"]) for row in site["deductions"]] == [
        (False, "2026 reaches beyond the period asked for"),
        (True, None),
        (False, "more than is left of the raw_coal consumed in 2026-03: 4 t"),
        (False, "more than is left of the coke consumed in 2026-03: 0 t"),
    ]
    assert site["net"]["kgce_calorific"] == pytest.approx(
        site["total"]["kgce_calorific"] - 20 * 714.3
    )
