"""Demand charge and tiered blocks: rows, arithmetic by an oracle, and months of /cost."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.api.main import build_app
from aggregator.api.month_costs import months_within
from aggregator.ledger.charges import Block, Blocks
from aggregator.ledger.tariff_tables import load_tariffs, tariffs_folder
from aggregator.ledger.tariffs import TariffTableError
from aggregator.periods import period_span
from aggregator.register.model import DemandBasis, DemandContract, Register
from aggregator.site_tariffs import SiteTariffs
from contract.stored import Level
from tests.aggregator.api_ledger import MIDNIGHT_MS, QUARTER_MS, ApiClient, Ledger, build
from tests.oracle import tariff as oracle

TARIFF = """\
[tariff]
title = "two-part contract"
title_zh = "两部制合同"
region = "37"
carrier = "electricity"
unit = "CNY/kWh"
user_class = "10 kV"
allow_unverified = false
source = "contract of the works"
[[price]]
id = "price"
valid_from = 2024-01-01
flat = 0.6
verified = true
[[demand]]
id = "demand-1"
valid_from = 2024-01-01
valid_to = 2026-03-01
per_kva = 20
per_kw = 30
verified = true
[[demand]]
id = "demand-2"
valid_from = 2026-03-01
per_kva = 24.5
per_kw = 38.4
verified = true
[[blocks]]
id = "blocks-1"
valid_from = 2024-01-01
per = "year"
block = [{ above = 2520, surcharge = 0.05 }, { above = 4800, surcharge = 0.3 }]
verified = true
"""


def load(folder: Path, text: str = TARIFF) -> Any:
    (folder / "two-part.toml").write_text(text, "utf-8")
    return load_tariffs([folder]).choose("two-part")


# Rows


REFUSED = {
    "gap": ("valid_to = 2026-03-01", "valid_to = 2026-02-01", "valid_from: gap after demand-1"),
    "overlap": ("valid_to = 2026-03-01", "", "valid_from: overlaps demand-1"),
    "inside a month": ("valid_to = 2026-03-01", "valid_to = 2026-03-02",
                       "valid_to: 2026-03-02 is not the first of a month"),
    "neither price": ("per_kva = 20\nper_kw = 30\n", "", "per_kva: missing, and per_kw too"),
    "negative price": ("per_kva = 20", "per_kva = -20", "per_kva: -20 is not a finite price"),
    "infinite price": ("per_kva = 20", "per_kva = inf", "per_kva: Infinity is not a finite price"),
    "no source": ('source = "contract of the works"\n', "", "source: missing"),
    "row of the same name": ('id = "demand-2"', 'id = "price"', "id: duplicate of two-part.toml"),
    "of gas": ('carrier = "electricity"', 'carrier = "natural_gas"', "is for electricity"),
    "blocks inside a year": ('id = "blocks-1"\nvalid_from = 2024-01-01',
                             'id = "blocks-1"\nvalid_from = 2024-02-01',
                             "valid_from: 2024-02-01 is not the first of a year"),
    "blocks of a week": ('per = "year"', 'per = "week"', "per: unknown 'week'"),
    "no block": ("[{ above = 2520, surcharge = 0.05 }, { above = 4800, surcharge = 0.3 }]", "[]",
                 "block: at least one"),
    "block without its price": ("surcharge = 0.05", "price = 0.05", "block: 1: { above"),
    "block below nothing": ("above = 2520", "above = -1", "block: 1: above: -1 is not"),
    "block as text": ("above = 2520", 'above = "2520"', "block: 1: above: '2520' is not"),
    "blocks out of order": ("above = 2520", "above = 4800", "above 4800 is not more than"),
    "unknown key": ("per_kw = 30", "per_kwh = 30", "per_kwh: unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_row_and_key(case: str, tmp_path: Path):
    old, new, told = REFUSED[case]
    assert old in TARIFF
    with pytest.raises(TariffTableError) as refused:
        load(tmp_path, TARIFF.replace(old, new))
    assert any(
        problem.file == "two-part.toml" and told in str(problem)
        for problem in refused.value.problems
    ), str(refused.value)


# Arithmetic


@given(
    above=st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True).map(sorted),
    cents=st.lists(st.integers(0, 200), min_size=4, max_size=4),
    amounts=st.lists(st.integers(0, 40), min_size=1, max_size=12),
)
def test_the_months_of_a_year_make_the_surcharge_of_the_year_unit_by_unit(above, cents, amounts):
    pairs = list(zip(above, cents, strict=False))
    rows = tuple(Block(Decimal(low), Decimal(price) / 100) for low, price in pairs)
    blocks = Blocks("b", "t", 0, None, True, rows, "s", True, "")
    before = 0
    for amount in amounts:
        expected = oracle.surcharge_cents(pairs, before, amount)
        assert blocks.surcharge(Decimal(before), Decimal(amount)) * 100 == expected
        before += amount
    whole = blocks.surcharge(Decimal(0), Decimal(before)) * 100
    assert whole == oracle.surcharge_cents(pairs, 0, before)


def test_months_that_lie_wholly_in_a_period():
    months = [period_span(f"2026-{month:02}") for month in range(1, 13)]
    assert list(months_within(*period_span("2026"))) == [start for start, _ in months]
    (start_ms, end_ms) = months[2]
    assert list(months_within(start_ms, end_ms)) == [start_ms]
    assert list(months_within(start_ms + 1, end_ms)) == []
    assert list(months_within(start_ms, end_ms - 1)) == []
    assert list(months_within(start_ms + 1, months[3][1])) == [months[3][0]]


# Months of /cost


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    yield built
    built.store.close()


def contract(basis: str, kva: float | None = None, month: str = "") -> DemandContract:
    since_ms = period_span(month)[0] if month else 0
    return DemandContract("foundry", "grid", DemandBasis(basis), kva, since_ms, "")


def march(
    ledger: Ledger, folder: Path, *contracts: DemandContract, text: str = TARIFF, **period: str
) -> Any:
    """The foundry's electricity, bought at the tariff of `text`."""
    (folder / "two-part.toml").write_text(text, "utf-8")
    old = ledger.reader.register
    foundry = replace(old.sites["foundry"], tariffs=("two-part",))
    ledger.reader.register = Register.of(
        [foundry], [row for rows in old.rows.values() for row in rows], contracts=contracts
    )
    library = load_tariffs([tariffs_folder(), folder])
    ledger.reader.tariffs = SiteTariffs(ledger.reader.register, library, QUARTER_MS)
    asked = {"site": "foundry", "from": "2026-03-01", "to": "2026-04-01"} | period
    with ApiClient(build_app(ledger.reader)) as client:
        answer = client.get("/api/v1/cost", asked)
    assert answer.status_code == 200, answer.text
    (site,) = answer.json()["sites"]
    return next(row for row in site["carriers"] if row["carrier"] == "electricity")


def set_amount(ledger: Ledger, row: int, kwh: int, measured_ms: int = QUARTER_MS) -> None:
    series = np.array([ledger.series("foundry", "grid", "energy_import")], np.int32)
    rows = ledger.store.intervals(Level.INTERVAL, series, MIDNIGHT_MS, MIDNIGHT_MS + 10**9)
    rows = rows.take(np.array([row]))
    rows = replace(
        rows,
        amount=np.array([kwh * 1_000_000], np.int64),
        measured_ms=np.array([measured_ms], np.int64),
    )
    ledger.store.write_intervals(Level.INTERVAL, rows)


def test_a_month_is_energy_and_demand_and_surcharge(ledger: Ledger, tmp_path: Path):
    set_amount(ledger, 5, 400)
    set_amount(ledger, 9, 900, QUARTER_MS - 1)
    kwh = 46 * 250 + 400 + 900
    ledger.clock[0] = period_span("2026-04")[0]
    row = march(ledger, tmp_path, contract("measured"))
    (month,) = row["months"]
    assert (month["month"], month["complete"]) == ("2026-03", True)
    (demand,) = month["demand"]
    assert demand == {
        "meter": "grid",
        "basis": "measured",
        "contracted_kva": None,
        "max_kw": 1_600.0,
        "measured_intervals": 47,
        "expected_intervals": 31 * 96,
        "row_id": "demand-2",
        "verified": True,
        "cost_cny": 1_600 * 38.4,
        "reason": None,
    }
    assert month["demand_cny"] == 1_600 * 38.4
    block = month["block"]
    assert (block["row_id"], block["per"], block["amount_before"]) == ("blocks-1", "year", 0)
    assert [one["amount"] for one in block["blocks"]] == [4_800 - 2_520, kwh - 4_800]
    assert month["surcharge_cny"] == float(
        Decimal("0.05") * (4_800 - 2_520) + Decimal("0.3") * (kwh - 4_800)
    )
    assert month["energy_cny"] == row["cost_cny"]
    parts = [month[name] for name in ("energy_cny", "demand_cny", "surcharge_cny")]
    assert month["total_cny"] == pytest.approx(sum(parts))


def test_contracted_capacity_costs_its_price_of_the_month_even_of_a_silent_meter(
    ledger: Ledger, tmp_path: Path
):
    rows = (contract("contracted", 630), contract("contracted", 800.5, "2026-03"))
    (month,) = march(ledger, tmp_path, *rows)["months"]
    assert month["demand_cny"] == float(Decimal("800.5") * Decimal("24.5"))
    assert month["complete"] is False  # the clock stands at noon of the second
    february = march(ledger, tmp_path, *rows, **{"from": "2026-02-01", "to": "2026-03-01"})
    assert (february["cost_cny"], february["reason"]) == (None, "nothing was read in the period")
    (month,) = february["months"]
    assert month["demand_cny"] == 630 * 20  # row demand-1
    assert (month["energy_cny"], month["total_cny"]) == (None, None)


def test_blocks_of_the_year_go_on_from_the_months_before(ledger: Ledger, tmp_path: Path):
    series = np.array([ledger.series("foundry", "grid", "energy_import")], np.int32)
    rows = ledger.store.intervals(Level.INTERVAL, series, MIDNIGHT_MS, MIDNIGHT_MS + QUARTER_MS)
    for month, kwh in (("2025-12", 9_999), ("2026-01", 1_000), ("2026-02", 2_000)):
        start_ms = np.array([period_span(month)[0]])
        amount = np.array([kwh * 1_000_000], np.int64)
        made = replace(rows, start_ms=start_ms, amount=amount)
        ledger.store.write_intervals(Level.MONTH, made)
    (month,) = march(ledger, tmp_path, contract("contracted", 1))["months"]
    assert month["block"]["amount_before"] == 3_000
    bought = 48 * 250
    assert [one["amount"] for one in month["block"]["blocks"]] == [1_800, 3_000 + bought - 4_800]
    monthly = TARIFF.replace('per = "year"', 'per = "month"')
    (month,) = march(ledger, tmp_path, contract("contracted", 1), text=monthly)["months"]
    assert month["block"]["amount_before"] == 0


UNKNOWN = {
    "no contract": (TARIFF, (), "no row of demand_contracts.csv holds"),
    "no such price": (TARIFF.replace("per_kw = 38.4", ""), ("measured",),
                      "row demand-2 has no per_kw"),
    "not verified": (TARIFF.replace("per_kw = 38.4\nverified = true",
                                    "per_kw = 38.4\nverified = false"), ("measured",),
                     "row demand-2 is not verified"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_charge_leaves_the_total_unknown_and_says_why(
    case: str, ledger: Ledger, tmp_path: Path
):
    text, bases, told = UNKNOWN[case]
    (month,) = march(ledger, tmp_path, *map(contract, bases), text=text)["months"]
    (demand,) = month["demand"]
    assert told in demand["reason"]
    assert (demand["cost_cny"], month["demand_cny"], month["total_cny"]) == (None, None, None)
    assert month["energy_cny"] is not None


def test_a_part_of_a_month_has_no_charge(ledger: Ledger, tmp_path: Path):
    row = march(ledger, tmp_path, contract("measured"), to="2026-03-31")
    assert row["months"] == []


def test_a_tariff_without_charges_has_months_of_energy_alone(ledger: Ledger, tmp_path: Path):
    text = TARIFF[: TARIFF.index("[[demand]]")]
    (month,) = march(ledger, tmp_path, text=text)["months"]
    assert (month["demand"], month["block"]) == ([], None)
    assert (month["demand_cny"], month["surcharge_cny"]) == (0, 0)
    assert month["total_cny"] == month["energy_cny"] > 0
