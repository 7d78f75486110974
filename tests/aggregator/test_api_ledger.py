"""The API over a real embedded store with a known ledger (api_ledger.py)."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aggregator.api.main import build_app
from aggregator.batch import IntervalColumns
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.register.model import CalorificValue, Register, Role
from aggregator.rollups import Rollups
from aggregator.store.base import DirtyDay, StoreRetriable
from contract.stored import Level
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    MODULUS_MICRO,
    NOON_MS,
    QUARTER_MS,
    QUARTERS,
    REGION,
    ApiClient,
    Last,
    Ledger,
    build,
)

DAY = {"from": "2026-03-02", "to": "2026-03-03"}


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


def test_health_names_the_factor_set(client: ApiClient):
    answer = get(client, "health")
    assert answer["ok"] is True
    assert "演示" in answer["factor_set_title"]
    assert answer["time_ms"] == NOON_MS


def test_a_store_that_is_gone_is_unhealthy_not_broken(
    client: ApiClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    def away() -> None:
        raise StoreRetriable("connection refused")

    monkeypatch.setattr(ledger.store, "reader", away)
    refused = client.get("/api/v1/proof")
    assert refused.status_code == 503
    assert "connection refused" in refused.json()["error"]["reason"]
    ledger.store.close()
    unwell = client.get("/api/v1/health")
    assert unwell.status_code == 503
    assert unwell.json()["ok"] is False


def test_sites(client: ApiClient):
    sites = get(client, "sites")
    assert [site["site"] for site in sites] == ["foundry", "office", "empty"]
    assert sites[0]["name_zh"] == "foundry 厂"
    assert sites[0]["latitude"] is None


def test_meters_say_role_multiplier_channels_and_who_is_unregistered(client: ApiClient):
    answer = get(client, "meters")
    grid = next(row for row in answer["meters"] if row["meter"] == "grid")
    assert (grid["role"], grid["multiplier"], grid["carrier_zh"]) == ("boundary_in", 100, "电力")
    assert grid["channels"] == ["energy_import", "energy_export", "power"]
    assert grid["last_reading_ms"] == NOON_MS
    assert answer["unregistered"] == [
        {"region": REGION, "site": "office", "meter": "em-99", "channel": "energy_import"}
    ]
    assert get(client, "meters", site="empty") == {"meters": [], "unregistered": []}


def test_a_site_of_that_name_in_another_region_is_another_site(client: ApiClient, ledger: Ledger):
    ledger.store.directory.series.add(SeriesKey("110000", "office", "em-01", "energy_import"))
    strangers = get(client, "meters", site="office")["unregistered"]
    assert {(row["region"], row["meter"]) for row in strangers} == {
        (REGION, "em-99"),
        ("110000", "em-01"),
    }
    rows = get(client, "intervals", level="interval", site="office", **DAY)["intervals"]
    assert len(rows) == QUARTERS


def test_intervals_carry_units_coverage_and_measures(client: ApiClient):
    answer = get(
        client,
        "intervals",
        level="interval",
        site="foundry",
        meter="grid",
        channel="energy_import",
        **DAY,
    )
    assert len(answer["intervals"]) == QUARTERS
    first = answer["intervals"][0]
    assert first["start"] == "2026-03-01T16:00:00Z"
    assert first["amount"] == {"energy_kwh": 250.0}
    assert first["amount_held"] == {"energy_kwh": 0.0}
    assert first["kgce_calorific"] == pytest.approx(250 * 0.1229)
    assert first["co2_kg"] == pytest.approx(250 * 0.6191)
    assert (first["measured_s"], first["estimated_s"], first["missing_s"]) == (900.0, 0.0, 0.0)


def test_intervals_name_their_factors_with_source_and_provisional_mark(client: ApiClient):
    answer = get(client, "intervals", level="interval", carrier="electricity", **DAY)
    uses = {use["measure"]: use for use in answer["factors"]}
    assert uses["co2_kg"]["id"] == "grid-37-2023"
    assert uses["co2_kg"]["provisional"] is True
    assert uses["co2_kg"]["verified"] is False
    assert uses["kgce_calorific"]["id"] == "gb2589-2020-electricity"
    assert uses["kgce_calorific"]["provisional"] is False
    assert uses["kgce_calorific"]["kg_per_unit"] == 0.1229
    assert answer["factor_set"] == "demo"


def test_sites_whose_measures_wait_for_factors_apply_are_named(client: ApiClient, ledger: Ledger):
    def named(path: str, **parameters: str) -> Any:
        return get(client, path, **DAY, **parameters)["not_applied"]

    assert (named("intervals"), named("consumption")) == ([], [])
    ledger.reader.not_applied = {"foundry", "elsewhere"}
    assert (named("intervals"), named("consumption")) == (["foundry"], ["foundry"])
    assert (named("intervals", site="office"), named("consumption", site="office")) == ([], [])
    assert get(client, "health")["sites_not_applied"] == 1


def test_a_measured_calorific_value_is_named_with_its_report(client: ApiClient, ledger: Ledger):
    old = ledger.reader.register
    analysis = CalorificValue("foundry", "raw_coal", "", MIDNIGHT_MS, None, 21.4, "report 12")
    rows = [row for rows in old.rows.values() for row in rows]
    ledger.reader.register = Register.of(old.sites.values(), rows, calorific=[analysis])
    answer = get(client, "intervals", site="foundry", meter="belt", **DAY)
    coal, _, co2 = answer["factors"]
    assert (coal["id"], coal["reason"], coal["ncv_gj"]) == (None, None, 21.4)
    assert coal["kg_per_unit"] == pytest.approx(21.4e6 / 29307)
    assert (co2["id"], co2["ncv_source"]) == ("fuels-a-raw-coal", "report 12")
    assert co2["meters"] == ["foundry/belt"]


def test_rows_that_the_set_does_not_use_are_there_with_the_reason(tmp_path: Path):
    built = build(tmp_path, "national")
    with ApiClient(build_app(built.reader)) as client:
        answer = get(client, "factors", carrier="electricity")
        every = get(client, "factors")["factors"]
        table = client.get("/api/v1/factors", {"format": "csv"}).text
    built.store.close()
    assert (answer["factor_set"], answer["title_zh"]) == ("national", "全国平均")
    rows = {row["id"]: row for row in answer["factors"]}
    assert rows["grid-national-2021"]["used"] is True
    assert rows["grid-national-2021"]["reason"] is None
    newest = rows["grid-national-2023"]
    assert (newest["used"], newest["verified"], newest["value"]) == (False, False, "0.5306")
    assert newest["reason"] == (
        "row grid-national-2023 is not verified and set national takes verified rows only"
    )
    assert (newest["valid_from"], newest["valid_to"]) == ("2023-01-01", None)
    assert newest["provisional_from"] == "2024-01-01"
    assert "GHGTOOL" in newest["source"]
    assert len(every) == len(table.splitlines()) - 1 > len(rows)


def test_a_period_over_two_data_years_names_both_factors(client: ApiClient):
    answer = get(
        client,
        "intervals",
        level="month",
        carrier="electricity",
        **{"from": "2021-11-01", "to": "2022-03-01"},
    )
    uses = [use for use in answer["factors"] if use["measure"] == "co2_kg"]
    assert [use["id"] for use in uses] == ["grid-37-2021", "grid-37-2022"]
    assert uses[0]["to_ms"] == uses[1]["from_ms"] == 1_640_966_400_000
    assert [use["provisional"] for use in uses] == [False, False]


def test_water_has_no_standard_coal_and_the_reason_is_given(client: ApiClient):
    answer = get(client, "intervals", level="interval", carrier="water", **DAY)
    assert answer["intervals"][0]["amount"] == {"volume_m3": 1.000001}
    assert answer["intervals"][0]["kgce_calorific"] is None
    assert {use["id"] for use in answer["factors"]} == {None}
    assert all("耗能工质" in use["reason"] for use in answer["factors"])


def test_unregistered_meters_are_in_no_figures(client: ApiClient):
    rows = get(client, "intervals", level="interval", site="office", **DAY)["intervals"]
    assert {row["meter"] for row in rows} == {"em-01"}


def test_from_is_included_and_to_is_not(client: ApiClient):
    def starts(from_ms: int, to_ms: int) -> list[int]:
        answer = get(
            client,
            "intervals",
            level="interval",
            site="office",
            **{"from": from_ms, "to": to_ms},
        )
        return [row["start_ms"] for row in answer["intervals"]]

    third = MIDNIGHT_MS + 2 * QUARTER_MS
    assert starts(third, third + 1) == [third]
    assert starts(third + 1, third + QUARTER_MS) == []


def test_consumption_of_the_foundry(client: ApiClient):
    (site,) = get(client, "consumption", site="foundry", **DAY)["sites"]
    rows = {row["carrier"]: row for row in site["carriers"]}
    bought, sold, own, coal_t = 12_000.0, 480.0, 1440.0, 24.0

    electricity = rows["electricity"]
    assert electricity["consumption"] == {"energy_kwh": bought - sold + own}
    assert electricity["boundary_in"] == {"energy_kwh": bought - sold}
    assert electricity["own_generation"] == {"energy_kwh": own}
    assert electricity["co2_kg"] == pytest.approx((bought - sold) * 0.6191)

    assert rows["raw_coal"]["consumption"] == {"mass_t": coal_t}
    # made on site from coal already counted: shown, and in no total
    assert rows["steam"]["conversion_out"] == {"heat_gj": 384.0}
    assert rows["steam"]["consumption"] == {}
    assert rows["water"]["consumption"] == {"volume_m3": 48.000048}
    assert rows["water"]["counted"] is False
    assert rows["water"]["kgce_calorific"] is None

    kgce = (bought - sold + own) * 0.1229 + coal_t * 714.3
    assert site["total"]["kgce_calorific"] == pytest.approx(kgce)
    assert site["total"]["tce_calorific"] == pytest.approx(kgce / 1000)
    assert site["total"]["co2_kg"] == pytest.approx((bought - sold) * 0.6191 + coal_t * 1900.3)
    assert site["undetermined"] == []


@pytest.mark.parametrize("level", ["month", "day", "hour", "interval"])
def test_a_role_that_begins_inside_a_figure_counts_from_its_date_at_every_level(
    client: ApiClient, ledger: Ledger, level: str
):
    rollups = Rollups(ledger.store, Events(lambda: 0, io.StringIO()))
    rollups.mark([DirtyDay(REGION, "foundry", MIDNIGHT_MS)], MIDNIGHT_MS, NOON_MS - QUARTER_MS)
    rollups.flush()
    old = ledger.reader.register
    rows = [row for rows in old.rows.values() for row in rows if row.id not in ("grid", "belt")]
    grid, belt = (old.rows["foundry", id_][0] for id_ in ("grid", "belt"))
    rows += [
        replace(belt, valid_from_ms=MIDNIGHT_MS + 8 * QUARTER_MS),  # registered two hours late
        replace(grid, role=Role.CHECK),
        replace(grid, valid_from_ms=MIDNIGHT_MS + 12 * QUARTER_MS + 1),  # inside an interval
    ]
    ledger.reader.register = Register.of(old.sites.values(), rows)
    month = {"from": "2026-03-01", "to": "2026-04-01"}
    (site,) = get(client, "consumption", site="foundry", level=level, **month)["sites"]
    amounts = {row["carrier"]: row["consumption"] for row in site["carriers"]}
    assert amounts["raw_coal"] == {"mass_t": (QUARTERS - 8) * 0.5}
    assert amounts["electricity"] == {"energy_kwh": (QUARTERS - 13) * (250 - 10) + QUARTERS * 30}


def test_gas_as_metered_is_no_standard_volume_and_its_meter_is_named(client: ApiClient):
    (site,) = get(client, "consumption", site="foundry", **DAY)["sites"]
    assert "natural_gas" not in {row["carrier"] for row in site["carriers"]}
    assert site["meters_without_data"] == ["gas"]


def test_measured_share_counts_silent_meters_and_only_time_gone_by(
    client: ApiClient, ledger: Ledger
):
    def share(site: str) -> float:
        return float(get(client, "consumption", site=site, **DAY)["sites"][0]["measured_share"])

    assert share("office") == 1.0
    assert share("foundry") == pytest.approx(4 / 5)  # grid, pv, belt, water; not gas
    ledger.clock[0] = NOON_MS + 12 * 3_600_000
    assert share("office") == 0.5


def test_without_a_period_consumption_is_todays(client: ApiClient):
    answer = get(client, "consumption", site="office")
    assert (answer["from_ms"], answer["to_ms"]) == (MIDNIGHT_MS, NOON_MS)
    assert answer["sites"][0]["carriers"][0]["consumption"] == {"energy_kwh": 192.0}


def test_a_site_without_meters_has_no_total_rather_than_zero(client: ApiClient):
    (site,) = get(client, "consumption", site="empty", **DAY)["sites"]
    assert site["carriers"] == []
    assert set(site["total"].values()) == {None}
    assert site["measured_share"] is None


def test_without_verified_rows_totals_are_null_and_say_why(tmp_path: Path):
    ledger = build(tmp_path, "shandong")
    with ApiClient(build_app(ledger.reader)) as client:
        (site,) = get(client, "consumption", site="foundry", **DAY)["sites"]
    ledger.store.close()
    assert site["total"]["kgce_calorific"] is not None
    assert site["total"]["co2_kg"] is None
    assert site["total"]["co2_t"] is None
    reasons = {(u["carrier"], u["measure"]): u["reason"] for u in site["undetermined"]}
    assert "grid-37-2023 is not verified" in reasons["electricity", "co2_kg"]


def test_live_shows_power_today_and_edges(client: ApiClient):
    answer = get(client, "live")
    sites = {site["site"]: site for site in answer["sites"]}
    assert answer["readings_per_s"] == 12.5
    assert (answer["edges_online"], answer["edges_total"]) == (1, 2)
    assert answer["outbox_depth_readings"] == 210
    # 11 kW before CT x VT = 100, and the roof
    assert sites["foundry"]["power_kw"] == 11 * 100 + 120
    assert sites["foundry"]["power_time_ms"] == NOON_MS - 5_000
    assert sites["office"]["today"]["carriers"][0]["consumption"] == {"energy_kwh": 192.0}
    assert sites["empty"]["power_kw"] is None


def test_power_is_null_while_a_meter_of_the_total_is_silent(client: ApiClient, ledger: Ledger):
    index = ledger.store.directory.series.find(SeriesKey(REGION, "foundry", "pv", "power"))
    ledger.live.values[index] = Last(120.0, NOON_MS - 2 * 3_600_000)
    (site,) = get(client, "live", site="foundry")["sites"]
    assert site["power_kw"] is None
    assert site["power_missing"] == ["pv"]


def test_proof_closes_over_multiplier_and_rollover(client: ApiClient):
    answer = get(client, "proof")
    rows = {(row["meter"], row["channel"]): row for row in answer["channels"]}
    assert answer["closes"] is True
    assert len(rows) == 9
    grid = rows["grid", "energy_import"]
    assert grid["register_end_micro"] - grid["register_start_micro"] == 120_000_000
    assert grid["booked_micro"] == 12_000_000_000
    wrapped = rows["em-01", "energy_import"]
    assert wrapped["register_end_micro"] < wrapped["register_start_micro"]
    assert wrapped["events_micro"] == MODULUS_MICRO
    assert (wrapped["received"], wrapped["first_ms"], wrapped["last_ms"]) == (
        QUARTERS + 1,
        MIDNIGHT_MS,
        NOON_MS,
    )


def test_proof_of_a_period_stands_at_its_borders(client: ApiClient):
    hour = {"from": MIDNIGHT_MS + 6 * QUARTER_MS, "to": MIDNIGHT_MS + 10 * QUARTER_MS}
    (row,) = get(client, "proof", site="office", **hour)["channels"]
    assert (row["first_ms"], row["last_ms"]) == (hour["from"], hour["to"])
    assert (row["register_start_micro"], row["register_end_micro"]) == (4_000_000, 20_000_000)
    assert (row["booked_micro"], row["events_micro"], row["rollovers"]) == (16_000_000, 0, 0)
    assert (row["received"], row["slots_received"], row["slots_expected"]) == (4, 4, 4)
    assert (row["measured_ms"], row["estimated_ms"]) == (4 * QUARTER_MS, 0)
    assert (row["held_ms"], row["missing_ms"], row["closes"]) == (0, 0, True)


def test_proof_by_day_has_a_row_per_beijing_day_and_what_has_not_begun_is_not_missing(
    client: ApiClient,
):
    span = {"from": "2026-03-01", "to": "2026-03-04", "by": "day"}
    rows = get(client, "proof", site="foundry", meter="belt", **span)["channels"]
    assert [row["booked_micro"] for row in rows] == [0, 24_000_000, 0]
    assert [row["slots_expected"] for row in rows] == [96, 49, 0]
    assert [row["missing_ms"] for row in rows] == [96 * QUARTER_MS, QUARTER_MS, 0]
    assert all(row["closes"] for row in rows)
    assert len(table(client, "proof", site="foundry", meter="belt", **span)) == 3


@pytest.mark.parametrize(
    ("span", "parameter"),
    [
        ({"from": MIDNIGHT_MS + 1}, "from"),
        ({"to": MIDNIGHT_MS - 1}, "to"),
        ({"from": MIDNIGHT_MS, "to": MIDNIGHT_MS}, "from"),
        ({"from": MIDNIGHT_MS, "by": "day"}, "by"),
        ({"from": "2020-01-01", "to": "2040-01-01", "by": "day", "site": "foundry"}, "to"),
    ],
)
def test_proof_of_a_period_that_cannot_be_meant(
    client: ApiClient, span: dict[str, Any], parameter: str
):
    answer = client.get("/api/v1/proof", params=span)
    assert (answer.status_code, answer.json()["error"]["parameter"]) == (422, parameter)


def test_where_nothing_was_read_there_is_nothing_to_prove(client: ApiClient):
    span = {"from": "2020-01-01", "to": "2020-01-02", "site": "foundry"}
    assert client.get("/api/v1/proof", params=span).json()["closes"] is None
    assert client.get("/api/v1/proof", params={"site": "foundry"}).json()["closes"] is True


def test_proof_sees_one_micro_unit_missing_from_the_stored_intervals(
    client: ApiClient, ledger: Ledger
):
    index = ledger.series("foundry", "belt", "mass")
    found = ledger.reader.figures(Level.INTERVAL, [index], MIDNIGHT_MS, MIDNIGHT_MS + 1)
    columns = list(found.columns())
    columns[2] = columns[2] - 1
    ledger.store.write_intervals(Level.INTERVAL, IntervalColumns(*columns))
    answer = get(client, "proof", site="foundry", meter="belt")
    assert answer["closes"] is False
    (row,) = answer["channels"]
    assert (row["difference_micro"], row["closes"]) == (1, False)


def table(client: ApiClient, path: str, **parameters: Any) -> list[dict[str, str]]:
    answer = client.get(f"/api/v1/{path}", params={**parameters, "format": "csv"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def header(client: ApiClient, path: str, **parameters: Any) -> list[str]:
    """Of a table, without its byte order mark; it has one."""
    content = client.get(f"/api/v1/{path}", params={**parameters, "format": "csv"}).content
    assert content.startswith(b"\xef\xbb\xbf")
    return content.decode("utf-8-sig").splitlines()[0].split(",")


def test_a_tables_header_is_the_same_whatever_it_holds(client: ApiClient):
    for path, found, none in (
        ("intervals", {"site": "foundry", "level": "interval", **DAY}, {"site": "empty"}),
        ("consumption", {"site": "foundry", **DAY}, {"site": "empty"}),
        ("meters", {"site": "foundry"}, {"site": "empty"}),
    ):
        first = header(client, path, **found)
        assert table(client, path, **found)
        assert not table(client, path, **none)
        assert first == header(client, path, **none)
    assert "amount_heat_gj" in header(client, "intervals", site="office", **DAY)


def test_no_text_of_a_table_is_a_formula_to_a_spreadsheet(client: ApiClient, ledger: Ledger):
    sites = dict(ledger.reader.register.sites)
    sites["office"] = replace(sites["office"], name_zh="=1+1", name_en="@SUM(A1)", latitude=-36.5)
    ledger.reader.register = replace(ledger.reader.register, sites=sites)
    (row,) = [row for row in table(client, "sites") if row["site"] == "office"]
    assert (row["name_zh"], row["name_en"]) == ("'=1+1", "'@SUM(A1)")
    assert row["latitude"] == "-36.5"


def test_csv_has_the_same_figures(client: ApiClient):
    intervals = table(client, "intervals", level="interval", site="foundry", **DAY)
    belt = [row for row in intervals if row["meter"] == "belt"]
    assert {row["amount_mass_t"] for row in belt} == {"0.5"}
    assert {row["amount_energy_kwh"] for row in belt} == {""}
    consumption = table(client, "consumption", site="foundry", **DAY)
    coal = next(row for row in consumption if row["carrier"] == "raw_coal")
    assert (coal["site"], coal["consumption_mass_t"]) == ("foundry", "24.0")
    assert len(table(client, "proof")) == 9
    assert len(table(client, "sites")) == 3
    assert {row["channels"] for row in table(client, "meters", site="office")} == {
        "energy_import power"
    }


def test_metrics_are_prometheus_text(client: ApiClient):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert "nenghao_aggregator_committed_readings_total 490" in lines
    assert "# TYPE nenghao_aggregator_committed_readings_total counter" in lines
    assert "nenghao_aggregator_edges_online 1" in lines
    assert "nenghao_aggregator_outbox_readings 210" in lines
    assert "nenghao_aggregator_unregistered_channels 1" in lines
    assert "nenghao_aggregator_rollup_age_seconds 45" in lines
    names = [line.split()[0] for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names))
    assert all("{" not in name for name in names)


def test_the_page_and_its_description_need_no_internet(client: ApiClient):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("<!doctype", "")
    assert "/api/v1/intervals" in client.get("/openapi.json").json()["paths"]


def test_a_figure_has_the_role_that_held_when_it_began(client: ApiClient, ledger: Ledger):
    meters = [row for rows in ledger.reader.register.rows.values() for row in rows]
    grid = next(row for row in meters if row.id == "grid")
    for changed_ms, roles in (
        (MIDNIGHT_MS + QUARTERS * QUARTER_MS, ["boundary_in"] * 48),
        (MIDNIGHT_MS + 40 * QUARTER_MS, ["boundary_in"] * 40 + ["check"] * 8),
    ):
        later = replace(grid, role=Role.CHECK, valid_from_ms=changed_ms)
        ledger.reader.register = Register.of(
            ledger.reader.register.sites.values(), [*meters, later]
        )
        span = {"from": MIDNIGHT_MS, "to": NOON_MS, "level": "interval"}
        asked = {"site": "foundry", "meter": "grid", "channel": "energy_import"}
        rows = get(client, "intervals", **span, **asked)["intervals"]
        assert [row["role"] for row in rows] == roles


@pytest.mark.parametrize("path", ["live", "consumption", "proposals", "edges"])
def test_all_sites_cost_as_many_questions_to_the_store_as_one(
    path: str, ledger: Ledger, client: ApiClient, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def counted(name: str, real: Callable[..., Any], *parameters: Any) -> Any:
        asked.append(name)
        return real(*parameters)

    for name in ("figures", "last_times"):
        monkeypatch.setattr(
            ledger.reader, name, partial(counted, name, getattr(ledger.reader, name))
        )
    assert len(ledger.reader.register.sites) > 2
    get(client, path)
    assert len(asked) == 1
