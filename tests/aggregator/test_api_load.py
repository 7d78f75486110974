"""The load curve and the fleet: what is missing is null, and a part of a site is not the site."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.api.main import build_app
from contract.state import ClockState, EdgeState, MeterState, OutboxState
from contract.topics import Address
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    QUARTER_MS,
    REGION,
    ApiClient,
    Ledger,
    build,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = build(tmp_path)
    yield ledger
    ledger.store.close()


@pytest.fixture
def client(ledger: Ledger) -> Iterator[ApiClient]:
    with ApiClient(build_app(ledger.reader)) as client:
        yield client


def load(client: ApiClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/load", parameters)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["load"])


def test_the_load_is_the_energy_of_the_boundary_over_its_time(client: ApiClient) -> None:
    rows = load(client, site="foundry", **{"from": MIDNIGHT_MS, "to": NOON_MS})
    assert [row["start_ms"] for row in rows] == list(range(MIDNIGHT_MS, NOON_MS, QUARTER_MS))
    day = client.get("/api/v1/consumption", {"site": "foundry", "from": MIDNIGHT_MS, "to": NOON_MS})
    (electricity,) = [
        row for row in day.json()["sites"][0]["carriers"] if row["carrier"] == "electricity"
    ]
    known = [row for row in rows if row["power_kw"] is not None]
    assert sum(row["power_kw"] for row in known) / 4 == pytest.approx(
        electricity["consumption"]["energy_kwh"]
    )
    assert {row["measured_share"] for row in known} == {1.0}


def test_what_has_not_been_measured_has_no_load(client: ApiClient) -> None:
    before = load(client, site="foundry", **{"from": MIDNIGHT_MS - 2 * QUARTER_MS, "to": NOON_MS})
    assert [(row["power_kw"], row["measured_share"]) for row in before[:2]] == [(None, 0.0)] * 2
    assert before[2]["power_kw"] is not None
    empty = load(client, site="empty")
    assert {(row["power_kw"], row["measured_share"]) for row in empty} == {(None, None)}


def test_a_site_has_no_load_while_one_of_its_meters_has_none(
    client: ApiClient, ledger: Ledger
) -> None:
    pv = ledger.series("foundry", "pv", "energy_import")
    whole = ledger.reader.figures
    read: Any = lambda level, series, a, b: whole(level, [s for s in series if s != pv], a, b)  # noqa: E731
    object.__setattr__(ledger.reader, "figures", read)
    rows = load(client, site="foundry")
    assert {row["power_kw"] for row in rows} == {None}
    assert all(0 < row["measured_share"] < 1 for row in rows)


def test_an_interval_that_is_not_over_is_not_shown(client: ApiClient, ledger: Ledger) -> None:
    ledger.clock[0] = MIDNIGHT_MS + 3 * QUARTER_MS - 1
    assert len(load(client, site="office", **{"from": MIDNIGHT_MS, "to": NOON_MS})) == 2
    assert load(client, site="office", **{"from": NOON_MS, "to": NOON_MS + 1}) == []


def test_load_and_fleet_refuse_and_export(client: ApiClient) -> None:
    assert client.get("/api/v1/load").status_code == 422
    assert client.get("/api/v1/load", {"site": "nowhere"}).status_code == 404
    table = client.get("/api/v1/load", {"site": "office", "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"))))
    assert len(rows) == len(load(client, site="office"))
    assert {float(row["power_kw"]) for row in rows} == {16.0}  # 4 kWh a quarter
    edges = client.get("/api/v1/edges", {"format": "csv"})
    assert edges.headers["content-type"] == "text/csv; charset=utf-8"
    assert {
        row["edge"] for row in csv.DictReader(io.StringIO(edges.content.decode("utf-8-sig")))
    } >= {"gw1"}


def edges(client: ApiClient, site: str) -> dict[str, dict[str, Any]]:
    rows = client.get("/api/v1/edges", {"site": site}).json()["edges"]
    return {row["edge"]: row for row in rows}


def test_an_edge_tells_its_state_and_one_that_never_spoke_tells_nothing(
    client: ApiClient, ledger: Ledger
) -> None:
    ledger.live.edge_states[Address(REGION, "foundry", "gw2")] = EdgeState(
        online=True,
        time_ms=NOON_MS,
        boot="b",
        started_ms=MIDNIGHT_MS,
        versions={"agent": "0.1.0"},
        clock=ClockState("ntp", synchronised=True, offset_ms=-7),
        outbox=OutboxState(depth_batches=2, depth_readings=30, oldest_age_s=60, horizon_s=86_400),
        meters=(MeterState("a", ok=True), MeterState("b", ok=False)),
    )
    row = edges(client, "foundry")["gw2"]
    wanted = {
        "online": True,
        "clock_source": "ntp",
        "clock_synchronised": True,
        "clock_offset_ms": -7,
        "version": "0.1.0",
        "outbox_depth_readings": 30,
        "oldest_age_s": 60,
        "meters_answering": 1,
        "meters_polled": 2,
    }
    assert {name: row[name] for name in wanted} == wanted
    ledger.live.edge_states.clear()
    silent = edges(client, "foundry")
    assert {one["online"] for one in silent.values()} == {None}
    assert {one["outbox_depth_readings"] for one in silent.values()} == {None}
    assert any(one["last_reading_ms"] for one in silent.values())


def test_a_will_alone_says_offline_and_no_more(client: ApiClient, ledger: Ledger) -> None:
    ledger.live.edge_states[Address(REGION, "office", "gw-o")] = EdgeState(
        online=False, time_ms=NOON_MS
    )
    row = edges(client, "office")["gw-o"]
    assert (row["online"], row["outbox_depth_readings"], row["clock_synchronised"]) == (
        False,
        None,
        None,
    )
