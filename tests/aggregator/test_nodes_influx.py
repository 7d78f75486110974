"""Node figures in a real InfluxDB: the same as in the embedded store; a year's chart reads days."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.points import Points
from aggregator.store.base import Commit, DirtyDay, Store
from aggregator.store.influx1 import Influx1Store
from aggregator.store.influx2 import Influx2Store
from contract.interval import DAY_MS, month_start
from contract.stored import (
    DETERMINED,
    MEASUREMENTS,
    NODE_FIGURES,
    THE_REGION,
    TOTAL,
    Level,
)
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, QUARTER_MS, REGION
from tests.aggregator.api_ledger import build as build_ledger
from tests.aggregator.test_api_balance import register as balance_register
from tests.aggregator.test_nodes import changed, everything, rollups_of
from tests.influx import influx2_shim, influx_server
from tests.suites.store_suite import point

pytestmark = pytest.mark.influxdb
__all__ = ["influx_server"]
NOW_MS = MIDNIGHT_MS + 2 * DAY_MS


@pytest.fixture
def database() -> str:
    return f"test_{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def shim(influx_server: Any) -> Iterator[str]:
    with influx2_shim(influx_server) as url:
        yield url


@pytest.fixture(params=["influx1", "influx2"])
def store(request: Any, influx_server: Any, shim: str, database: str) -> Iterator[Store]:
    influx_server.query("", f'CREATE DATABASE "{database}"')
    made: Store = (
        Influx1Store(influx_server.url, database, QUARTER_MS)
        if request.param == "influx1"
        else Influx2Store(shim, database, QUARTER_MS, org="city", token="t")
    )
    made.open()
    yield made
    made.close()


def copied(source: Store, target: Store) -> None:
    """Commit the base intervals of one store to another; both then roll up by themselves."""
    for key in source.directory.series.keys(0):
        target.directory.series.add(key)
    series = np.arange(len(source.directory.series), dtype=np.int32)
    rows = source.intervals(Level.INTERVAL, series, 0, NOW_MS)
    nothing, none = (ReadingColumns.empty(cumulative=c) for c in (True, False))
    target.commit(Commit(nothing, none, rows, {}, frozenset()))


def test_both_stores_say_the_same_also_after_a_change_of_the_tree(store: Store, tmp_path: Path):
    ledger = build_ledger(tmp_path)
    copied(ledger.store, store)
    try:
        for register in (balance_register(), changed(balance_register())):
            for one in (ledger.store, store):
                rollups = rollups_of(one, register, NOW_MS)
                days = [DirtyDay(REGION, site, MIDNIGHT_MS) for site in ("foundry", "office")]
                if register.nodes and not one.points(NODE_FIGURES[Level.DAY], 0, NOW_MS).keys:
                    rollups.mark(days, MIDNIGHT_MS, NOON_MS - QUARTER_MS)
                rollups.flush()
                while rollups.catch_up():
                    pass
            assert everything(store) == everything(ledger.store)
            assert everything(store)["balance_month"]
    finally:
        ledger.store.close()


def test_types_of_fields_are_those_of_the_contract(store: Store, influx_server: Any, database: str):
    for of in MEASUREMENTS.values():
        store.write_points(Points.of_rows(of, [point(of, 0)]))
    for of in MEASUREMENTS.values():
        (types,) = influx_server.query(database, f'SHOW FIELD KEYS FROM "{of.name}"')
        wanted = dict.fromkeys(of.integers, "integer") | dict.fromkeys(of.floats, "float")
        wanted |= dict.fromkeys(of.texts, "string")
        wanted |= {DETERMINED: "integer"} if of.optional else {}
        assert dict(types["values"]) == wanted
        (tags,) = influx_server.query(database, f'SHOW TAG KEYS FROM "{of.name}"')
        assert {row[0] for row in tags["values"]} == set(of.tags)


def test_a_years_chart_of_many_meters_reads_days_or_months_of_one_series(
    store: Store, influx_server: Any, database: str
):
    january_ms = month_start(MIDNIGHT_MS - 40 * DAY_MS)
    days = np.arange(365) * DAY_MS + january_ms
    meters = 300
    n = meters * len(days)
    zero, kg = np.zeros(n, np.int64), np.ones(n)
    from aggregator.directory import SeriesKey

    for i in range(meters):
        store.directory.series.add(SeriesKey(REGION, f"s{i % 10}", f"m{i}", "energy_import"))
    rows = IntervalColumns(
        np.repeat(np.arange(meters, dtype=np.int32), len(days)), np.tile(days, meters),
        np.ones(n, np.int64), zero, zero.copy(), zero + DAY_MS, zero.copy(), zero.copy(),
        zero + 96, zero + 96, zero.copy(), kg, kg.copy(), kg.copy(), kg.copy(),
    )  # fmt: skip
    store.write_intervals(Level.DAY, rows)
    of = NODE_FIGURES[Level.DAY]
    fields = dict.fromkeys(of.integers, 1) | dict.fromkeys(of.floats, 1.0)
    sites = [f"s{i}" for i in range(10)]
    store.write_points(
        Points.of_rows(
            of,
            [
                ((REGION, site, TOTAL, "electricity", "kWh"), int(day), fields)
                for site in (*sites, THE_REGION)
                for day in days
            ],
        )
    )
    end_ms = january_ms + 365 * DAY_MS

    def plan(of_name: str, condition: str) -> dict[str, int]:
        (answer,) = influx_server.query(
            database,
            f'EXPLAIN SELECT sum("amount") FROM "{of_name}" WHERE {condition} AND '
            f"time >= {january_ms}ms AND time < {end_ms}ms GROUP BY time(1d, -8h)",
        )
        told = [row[0].strip().partition(": ") for row in answer["values"] if ": " in row[0]]
        found: dict[str, int] = {}
        for name, _, value in told:
            if value.isdigit():
                found[name] = found.get(name, 0) + int(value)
        return found

    region = plan("node_day", "\"site\" = '_region' AND \"node\" = '_total'")
    shards = region["NUMBER OF SHARDS"]
    assert region["NUMBER OF SERIES"] <= shards  # one series, whatever the number of meters
    meter = plan("day", "\"meter\" = 'm7'")
    assert meter["NUMBER OF SERIES"] <= shards
    found = store.points(of, january_ms, end_ms, {"site": [THE_REGION], "node": [TOTAL]})
    assert len(found) == 365
