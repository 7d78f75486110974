"""Cost by period of the tariff and monthly demand, over a real embedded store."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.api.main import build_app
from aggregator.directory import SeriesKey
from aggregator.kernels.integral import INTEGRATED
from aggregator.register.model import Register, Role
from contract.stored import Level
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    QUARTER_MS,
    ApiClient,
    Ledger,
    build,
)

DAY = {"from": "2026-03-02", "to": "2026-03-03"}
HOUR_KWH = 4 * 2.5 * 100  # the incomer of the foundry, CT x VT = 100


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    yield built
    built.store.close()


@pytest.fixture
def client(ledger: Ledger) -> Iterator[ApiClient]:
    with ApiClient(build_app(ledger.reader)) as client:
        yield client


def get(client: ApiClient, path: str, **parameters: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def change(ledger: Ledger, site: str, meter: str, row: int, **values: float) -> None:
    """Write one stored figure of a meter's import anew, with other values in some columns."""
    series = np.array([ledger.series(site, meter, "energy_import")], np.int32)
    rows = ledger.store.intervals(Level.INTERVAL, series, MIDNIGHT_MS, NOON_MS).take(
        np.array([row])
    )
    for name, value in values.items():
        column = getattr(rows, name)
        column.flags.writeable = True
        column[0] = value
    ledger.store.write_intervals(Level.INTERVAL, rows)


# March: flat to 10, valley to 11, deep valley to 14, valley to 15, flat to 17, sharp to 20 o'clock


def test_cost_by_period_of_what_was_bought(client: ApiClient):
    (site,) = get(client, "cost", site="foundry", **DAY)["sites"]
    rows = {row["carrier"]: row for row in site["carriers"]}
    electricity = rows["electricity"]
    assert electricity["tariff"] == "demo-electricity"
    assert electricity["verified"] is False
    assert electricity["row_ids"] == ["demo-hours", "demo-electricity-price"]
    assert [
        (row["period"], row["period_zh"], row["amount"], row["cost_cny"])
        for row in electricity["periods"]
    ] == [
        ("flat", "平段", {"energy_kwh": 10 * HOUR_KWH}, pytest.approx(10 * HOUR_KWH * 0.62)),
        ("valley", "低谷", {"energy_kwh": HOUR_KWH}, pytest.approx(HOUR_KWH * 0.28)),
        ("deep_valley", "深谷", {"energy_kwh": HOUR_KWH}, pytest.approx(HOUR_KWH * 0.18)),
    ]
    assert electricity["cost_cny"] == pytest.approx(HOUR_KWH * (10 * 0.62 + 0.28 + 0.18))
    assert rows["raw_coal"]["cost_cny"] == pytest.approx(24 * 800)
    assert rows["water"]["cost_cny"] == pytest.approx(48.000048 * 4.2)
    # what the roof made, the steam made from coal, and parts of the total are not bought
    assert set(rows) == {"electricity", "raw_coal", "water"}


def test_a_period_of_the_answer_is_not_a_period_of_the_tariff(client: ApiClient):
    window = {"from": "2026-03-02T10:30:00+08:00", "to": "2026-03-02T11:15:00+08:00"}
    (site,) = get(client, "cost", site="foundry", **window)["sites"]
    electricity = next(row for row in site["carriers"] if row["carrier"] == "electricity")
    assert [row["amount"]["energy_kwh"] for row in electricity["periods"]] == [500, 250]


def test_without_a_tariff_the_amount_is_there_and_the_cost_says_why_not(client: ApiClient):
    (site,) = get(client, "cost", site="office", **DAY)["sites"]
    (row,) = site["carriers"]
    assert (row["tariff"], row["verified"], row["cost_cny"]) == (None, None, None)
    assert row["reason"] == "site office has no tariff for electricity per kWh"
    assert row["periods"] == [
        {
            "period": None,
            "period_zh": None,
            "amount": {"energy_kwh": 192.0},
            "amount_estimated": {"energy_kwh": 0.0},
            "amount_held": {"energy_kwh": 0.0},
            "cost_cny": None,
        }
    ]


def test_one_interval_without_price_leaves_its_period_and_the_whole_undetermined(
    client: ApiClient, ledger: Ledger
):
    change(ledger, "foundry", "grid", 0, cost_cny=np.nan)
    (site,) = get(client, "cost", site="foundry", **DAY)["sites"]
    electricity = next(row for row in site["carriers"] if row["carrier"] == "electricity")
    flat, valley, _ = electricity["periods"]
    assert (flat["cost_cny"], electricity["cost_cny"]) == (None, None)
    assert valley["cost_cny"] == pytest.approx(HOUR_KWH * 0.28)
    assert electricity["reason"] == "stored without a price; the tariff has one now"


def test_consumption_tells_the_cost_of_all_that_was_bought(client: ApiClient):
    (site,) = get(client, "consumption", site="foundry", **DAY)["sites"]
    rows = {row["carrier"]: row["cost_cny"] for row in site["carriers"]}
    electricity = HOUR_KWH * (10 * 0.62 + 0.28 + 0.18)
    assert rows["electricity"] == pytest.approx(electricity)
    assert rows["steam"] is None  # made on site, not bought
    assert site["total"]["cost_cny"] == pytest.approx(electricity + 24 * 800 + 48.000048 * 4.2)
    (office,) = get(client, "consumption", site="office", **DAY)["sites"]
    assert office["total"]["cost_cny"] is None
    reasons = {(row["carrier"], row["measure"]): row["reason"] for row in office["undetermined"]}
    assert "no tariff for electricity" in reasons["electricity", "cost_cny"]


def test_a_meter_is_paid_for_until_the_interval_in_which_its_role_changes(
    client: ApiClient, ledger: Ledger
):
    meters = [row for rows in ledger.reader.register.rows.values() for row in rows]
    grid = next(row for row in meters if row.id == "grid")
    changed_ms = MIDNIGHT_MS + 3 * QUARTER_MS
    inside = replace(grid, role=Role.SUB, valid_from_ms=changed_ms)
    ledger.reader.register = Register.of(ledger.reader.register.sites.values(), [*meters, inside])
    for path in ("cost", "consumption"):
        (site,) = get(client, path, site="foundry", **DAY)["sites"]
        electricity = next(row for row in site["carriers"] if row["carrier"] == "electricity")
        assert electricity["cost_cny"] == pytest.approx(3 * 250 * 0.62)


def test_intervals_carry_the_cost(client: ApiClient):
    rows = get(client, "intervals", site="foundry", meter="grid", level="interval", **DAY)
    costs = {(row["channel"], row["start_ms"]): row["cost_cny"] for row in rows["intervals"]}
    assert costs["energy_import", MIDNIGHT_MS] == pytest.approx(250 * 0.62)
    assert costs["energy_export", MIDNIGHT_MS] is None


def test_cost_as_a_table(client: ApiClient):
    answer = client.get("/api/v1/cost", params={"site": "foundry", **DAY, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["period"] for row in rows if row["carrier"] == "electricity"] == [
        "flat",
        "valley",
        "deep_valley",
    ]
    assert rows[0]["site"] == "foundry"


def test_cost_refuses_a_year_of_intervals_of_everything(client: ApiClient):
    answer = client.get("/api/v1/cost", params={"from": "2026-01-01", "to": "2027-01-01"})
    assert answer.status_code == 422
    assert client.get("/api/v1/cost", params={"site": "nowhere"}).status_code == 404


# Demand


def test_the_largest_demand_of_the_month(client: ApiClient, ledger: Ledger):
    change(ledger, "foundry", "grid", 5, amount=400_000_000)
    change(ledger, "foundry", "grid", 9, amount=900_000_000, measured_ms=QUARTER_MS - 1)
    rows = get(client, "demand", site="foundry", month="2026-03")["demand"]
    grid = next(row for row in rows if row["channel"] == "energy_import")
    assert grid["meter"] == "grid"
    assert grid["max_kw"] == pytest.approx(1_600)
    assert grid["max_start_ms"] == MIDNIGHT_MS + 5 * QUARTER_MS
    assert grid["max_start"] == "2026-03-01T17:15:00Z"
    assert grid["mean_kw"] == pytest.approx(4 * (46 * 250 + 400) / 47)
    assert grid["load_factor"] == pytest.approx((46 * 250 + 400) / 47 / 400)
    assert grid["measured_intervals"] == 47
    assert grid["expected_intervals"] == 96 + 48  # of the month so far: one day without data
    assert grid["interval_min"] == 15
    # the border alone: no sub-meter, no roof, no coal
    assert {(row["meter"], row["channel"]) for row in rows} == {
        ("grid", "energy_import"),
        ("grid", "energy_export"),
    }


def test_a_sites_demand_is_what_its_meters_took_in_at_once_less_what_they_gave_out(
    client: ApiClient, ledger: Ledger
):
    change(ledger, "foundry", "grid", 5, amount=400_000_000)
    change(ledger, "foundry", "grid", 6, amount=900_000_000)
    export = ledger.series("foundry", "grid", "energy_export")
    rows = ledger.reader.figures(Level.INTERVAL, [export], MIDNIGHT_MS, NOON_MS)
    broken = replace(rows, measured_ms=np.where(np.arange(len(rows)) == 6, 0, rows.measured_ms))
    ledger.store.write_intervals(Level.INTERVAL, broken)
    (site,) = get(client, "demand", site="foundry", month="2026-03")["sites"]
    assert (site["site"], site["meters"]) == ("foundry", ["grid"])
    assert site["max_kw"] == pytest.approx(4 * (400 - 10))
    assert site["max_start_ms"] == MIDNIGHT_MS + 5 * QUARTER_MS
    assert site["measured_intervals"] == 47  # not where the export was not measured
    assert site["power_factor"] is None


def test_demand_of_an_integrated_power_says_so(client: ApiClient, ledger: Ledger):
    def marked() -> tuple[set[str], list[bool]]:
        answer = get(client, "demand", site="foundry", month="2026-03")
        rows = {row["channel"] for row in answer["demand"] if row["integrated"]}
        return rows, [site["integrated"] for site in answer["sites"]]

    assert marked() == (set(), [False])
    change(ledger, "foundry", "grid", 5, flags=INTEGRATED)
    assert marked() == ({"energy_import"}, [True])


def test_a_meter_that_left_the_border_has_its_demand_until_then(client: ApiClient, ledger: Ledger):
    meters = [row for rows in ledger.reader.register.rows.values() for row in rows]
    grid, line = (next(row for row in meters if row.id == id_) for id_ in ("grid", "line"))
    left_ms = MIDNIGHT_MS + 12 * QUARTER_MS
    exchanged = [
        replace(grid, role=Role.CHECK, valid_from_ms=left_ms),
        replace(line, role=Role.BOUNDARY_IN, valid_from_ms=left_ms),
    ]
    ledger.reader.register = Register.of(
        ledger.reader.register.sites.values(), [*meters, *exchanged]
    )
    change(ledger, "foundry", "grid", 5, amount=400_000_000)
    change(ledger, "foundry", "grid", 20, amount=900_000_000)  # counts no more
    answer = get(client, "demand", site="foundry", month="2026-03")
    rows = {(row["meter"], row["channel"]): row for row in answer["demand"]}
    old, new = rows["grid", "energy_import"], rows["line", "energy_import"]
    assert (old["max_kw"], old["measured_intervals"]) == (pytest.approx(1_600), 12)
    assert old["expected_intervals"] == 96 + 12
    assert (new["max_kw"], new["measured_intervals"]) == (pytest.approx(360), 36)
    assert new["expected_intervals"] == 36
    (site,) = answer["sites"]
    assert site["meters"] == ["grid", "line"]
    assert site["max_kw"] == pytest.approx(4 * (400 - 10))
    assert (site["measured_intervals"], site["expected_intervals"]) == (48, 96 + 48)


def test_the_power_factor_is_of_the_registers(client: ApiClient, ledger: Ledger):
    own = ledger.series("foundry", "grid", "energy_import")
    rows = ledger.reader.figures(Level.INTERVAL, [own], MIDNIGHT_MS, NOON_MS)
    for way, kvarh in (("import", 100_000_000), ("export", 50_000_000)):
        key = SeriesKey("370114", "foundry", "grid", f"reactive_energy_{way}")
        index = ledger.store.directory.series.add(key)
        reactive = replace(
            rows,
            series=np.full(len(rows), index, np.int32),
            amount=np.full(len(rows), kvarh),
        )
        ledger.store.write_intervals(Level.INTERVAL, reactive)
    change(ledger, "foundry", "grid", 5, amount=400_000_000)
    answer = get(client, "demand", site="foundry", month="2026-03")
    row = next(row for row in answer["demand"] if row["channel"] == "energy_import")
    kwh, kvarh = 47 * 250 + 400, 48 * 150
    assert row["power_factor"] == pytest.approx(kwh / math.hypot(kwh, kvarh))
    assert row["power_factor_at_max"] == pytest.approx(400 / math.hypot(400, 150))
    assert row["power_factor_intervals"] == 48
    assert answer["sites"][0]["power_factor"] == row["power_factor"]
    out = next(row for row in answer["demand"] if row["channel"] == "energy_export")
    assert out["power_factor"] is None


def test_a_month_without_data_has_no_demand_rather_than_zero(client: ApiClient):
    (row,) = get(client, "demand", site="office", month="2026-02")["demand"]
    assert (row["max_kw"], row["max_start"], row["load_factor"]) == (None, None, None)
    assert (row["measured_intervals"], row["expected_intervals"]) == (0, 28 * 96)


def test_the_present_month_is_the_default(client: ApiClient):
    answer = get(client, "demand", site="office")
    assert answer["month"] == "2026-03"
    (row,) = answer["demand"]
    assert row["max_kw"] == pytest.approx(16)
    assert row["max_start_ms"] == MIDNIGHT_MS  # the first of equals
    assert get(client, "demand", site="empty")["demand"] == []


def test_a_month_that_is_none_is_refused(client: ApiClient):
    for month in ("2026-13", "2026-3", "March"):
        answer = client.get("/api/v1/demand", params={"month": month})
        assert answer.status_code == 422
        assert answer.json()["error"]["parameter"] == "month"
