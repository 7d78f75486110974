"""A region as a whole: what its sites' accounts add up to, weighed by what was to be measured."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.api.main import build_app
from contract.interval import DAY_MS
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    QUARTER_MS,
    REGION,
    ApiClient,
    Ledger,
    build,
)
from tests.aggregator.test_api_cost import change
from tests.aggregator.test_tariff_days import rolled_up


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    rolled_up(built)
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


def test_a_region_is_the_sum_of_its_sites_accounts(client: ApiClient) -> None:
    answer = get(client, "regions")
    (region,) = answer["regions"]
    accounts = {row["site"]: row for row in get(client, "consumption")["sites"]}
    live = {row["site"]: row for row in get(client, "live")["sites"]}
    assert (region["region"], region["sites"]) == (REGION, 3)
    assert [row["site"] for row in answer["sites"]] == ["foundry", "office", "empty"]
    for period in ("today", "month"):  # the month began this midnight for this ledger
        use = region[period]
        assert (use["sites"], use["sites_known"]) == (2, 2)
        for name in ("tce_calorific", "tce_equivalent", "co2_t"):
            known = [accounts[site]["total"][name] for site in ("foundry", "office")]
            assert use[name] == pytest.approx(sum(known), rel=1e-12), name
        coal = {row["carrier"]: row for row in use["carriers"]}
        assert set(coal) == {"electricity", "raw_coal", "water"}
        assert (coal["water"]["counted"], coal["water"]["tce_calorific"]) == (False, None)
        kwh = [
            row["consumption"]["energy_kwh"]
            for account in accounts.values()
            for row in account["carriers"]
            if row["carrier"] == "electricity"
        ]
        assert coal["electricity"]["consumption"]["energy_kwh"] == pytest.approx(sum(kwh))
    for row in answer["sites"]:
        assert row["power_kw"] == live[row["site"]]["power_kw"]
        assert row["edges_total"] == live[row["site"]]["edges_total"]
        assert row["today"]["tce_calorific"] == accounts[row["site"]]["total"]["tce_calorific"]
    assert answer["sites"][2]["today"]["measured_share"] is None
    assert region["power_kw"] == sum(row["power_kw"] or 0 for row in live.values())
    assert region["sites_with_power"] == 2


def test_a_site_weighs_as_much_as_it_has_meters_and_the_future_is_not_missing(
    client: ApiClient, ledger: Ledger
) -> None:
    """Three meters of the foundry and one of the office, which was read half of the time."""
    for row in range(24):
        change(ledger, "office", "em-01", row, measured_ms=0, estimated_ms=QUARTER_MS)
    rolled_up(ledger)
    use = get(client, "regions")["regions"][0]["today"]
    half = NOON_MS - MIDNIGHT_MS
    assert (use["measured_ms"], use["due_ms"]) == (3 * half + half // 2, 4 * half)
    assert use["measured_share"] == pytest.approx(7 / 8)  # the mean of both would be 3/4
    sites = {row["site"]: row["today"]["measured_share"] for row in get(client, "regions")["sites"]}
    assert sites == {"foundry": 1.0, "office": 0.5, "empty": None}
    ledger.clock[0] = NOON_MS + 12 * QUARTER_MS  # nothing has come for three hours
    later = get(client, "regions")["regions"][0]["today"]
    assert later["measured_share"] == pytest.approx(7 / 8 * 12 / 15)
    ledger.clock[0] = MIDNIGHT_MS + DAY_MS
    assert get(client, "regions")["regions"][0]["today"]["sites"] == 0


def test_sites_come_a_page_at_a_time_and_all_of_them_as_a_table(client: ApiClient) -> None:
    first = get(client, "regions", limit=2)
    assert ([row["site"] for row in first["sites"]], first["next_offset"]) == (
        ["foundry", "office"], 2,
    )  # fmt: skip
    rest = get(client, "regions", limit=2, offset=2)
    assert ([row["site"] for row in rest["sites"]], rest["next_offset"]) == (["empty"], None)
    assert rest["regions"] == first["regions"]
    table = client.get("/api/v1/regions", params={"format": "csv", "limit": 1}).text.splitlines()
    assert len(table) == 4
    assert "today_tce_calorific" in table[0]
