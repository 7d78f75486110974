"""InfluxDB: the suite over both dialects against Debian's real server, and what only servers do."""

import contextlib
import uuid

import httpx
import numpy as np
import pytest

from aggregator.batch import ColumnError
from aggregator.directory import Source
from aggregator.store.base import DirtyDay, StoreError, StoreRefused, StoreRetriable
from aggregator.store.influx import InfluxQuery, InfluxStore
from aggregator.store.influx1 import Influx1Store
from aggregator.store.influx2 import Influx2Store
from contract.stored import Level
from tests.influx import influx2_shim, influx_server, own_influx_server
from tests.suites.store_suite import (
    GRID_MS,
    MINUTE,
    SITE,
    T0,
    R,
    StoreKit,
    StoreSuite,
    commit_of,
    figures,
    read,
    series_of,
)

pytestmark = pytest.mark.influxdb
__all__ = ["influx_server", "own_influx_server"]


@pytest.fixture
def database():
    return f"test_{uuid.uuid4().hex}"


class TestInflux1Store(StoreSuite):
    @pytest.fixture
    def kit(self, influx_server, database):
        kit = StoreKit(lambda grid_ms: Influx1Store(influx_server.url, database, grid_ms))
        yield kit
        kit.close()


@pytest.fixture(scope="module")
def shim(influx_server):
    with influx2_shim(influx_server) as url:
        yield url


class TestInflux2Store(StoreSuite):
    @pytest.fixture
    def kit(self, influx_server, shim, database):
        influx_server.query("", f'CREATE DATABASE "{database}"')
        kit = StoreKit(lambda grid_ms: Influx2Store(shim, database, grid_ms, org="city", token="t"))
        yield kit
        kit.close()


@pytest.fixture(params=["influx1", "influx2"])
def store(request, influx_server, shim, database):
    influx_server.query("", f'CREATE DATABASE "{database}"')
    store: InfluxStore
    if request.param == "influx1":
        store = Influx1Store(influx_server.url, database, GRID_MS)
    else:
        store = Influx2Store(shim, database, GRID_MS, org="city", token="t")
    store.open()
    yield store
    store.close()


def test_lines_are_wide_and_typed_by_the_catalogue(store, influx_server, database):
    store.commit(
        commit_of(
            store,
            [R(0, 5), R(0, 6, channel="volume", quality=2)],
            [R(0, 1, channel="power")],
            figures(store, [0]),
        )
    )
    (found,) = influx_server.query(database, "SELECT * FROM reading")
    assert found["columns"] == [
        "time", "edge", "energy_import", "meter", "outbox", "power", "region", "seq", "site",
        "volume", "volume_q",
    ]  # fmt: skip
    assert len(found["values"]) == 1
    (types,) = influx_server.query(database, "SHOW FIELD KEYS FROM reading")
    assert dict(types["values"]) == {
        "energy_import": "integer", "power": "float", "seq": "integer", "volume": "integer",
        "volume_q": "integer",
    }  # fmt: skip
    (types,) = influx_server.query(database, "SHOW FIELD KEYS FROM interval")
    assert dict(types["values"])["amount"] == "integer"
    assert dict(types["values"])["co2_kg"] == "float"


def test_a_reading_in_order_keeps_its_own_millisecond(store, influx_server, database):
    for seq in (1, 2):
        store.commit(commit_of(store, [R(seq * MINUTE, seq, seq=seq)]))
        store.commit(commit_of(store, [R(seq * MINUTE, seq, seq=seq)]))  # again
        store.commit(commit_of(store, [R(seq * MINUTE, seq, seq=seq)]))
    (found,) = influx_server.query(database, "SELECT energy_import FROM reading")
    past_ms = [time_ns - T0 * 1_000_000 for time_ns, _ in found["values"]]
    assert past_ms == [60_000_000_000, 60_000_000_002, 120_000_000_000, 120_000_000_003]


def test_a_point_half_written_is_not_there_yet(store, influx_server, database):
    store.commit(commit_of(store, [R(0, 5)], intervals=figures(store, [0, GRID_MS])))
    tags = ",region=370114,site=foundry,meter=m1,channel=energy_import"
    later = T0 + 2 * GRID_MS
    influx_server.write(database, f"{Level.INTERVAL}{tags} amount=1i {later}")
    tags = ",region=370114,site=foundry,meter=m1,edge=gw1,outbox=00000000000000aa"
    influx_server.write(database, f"reading{tags} energy_import=1i {later}")
    assert read(store, store) == [(0, 5)]
    found = store.intervals(Level.INTERVAL, series_of(store), T0, later + 1)
    assert found.start_ms.tolist() == [T0, T0 + GRID_MS]


def test_refused_lines_are_named_and_the_rest_is_stored(store, influx_server, database):
    # somebody else has put floats where the ledger keeps integers
    influx_server.write(database, f"reading,site=x volume=1.5 {T0}")
    influx_server.write(database, f"interval,site=x amount=1.5 {T0 + 10 * 86_400_000}")
    rows = [R(i * MINUTE, i) for i in range(40)]
    bad = [
        R(7 * MINUTE, 1, channel="volume", meter="m7"),
        R(9 * MINUTE, 1, channel="volume", meter="m8"),
    ]
    source = Source(*SITE, "gw1", "00000000000000aa")
    result = store.commit(
        commit_of(store, rows + bad, intervals=figures(store, [0]), receipts={source: ((1, 1),)})
    )
    assert sorted(line.line.split(",")[2] for line in result.refused) == ["meter=m7", "meter=m8"]
    assert all("conflict" in line.reason for line in result.refused)
    assert len(read(store, store)) == 40
    assert store.receipts() == {source: ((1, 1),)}
    late = store.commit(commit_of(store, intervals=figures(store, [0, 10 * 86_400_000])))
    assert len(late.refused) == 1
    assert late.refused[0].line.startswith("interval,channel=energy_import,meter=m1")


def test_a_channel_of_the_other_kind_never_reaches_the_server(store):
    with pytest.raises(ColumnError, match="other kind"):
        store.commit(commit_of(store, [R(0, 1, channel="power")]))
    with pytest.raises(ColumnError, match="other kind"):
        store.commit(commit_of(store, [], [R(0, 1.0, channel="volume")]))


def test_ids_that_would_need_escaping_are_refused(store):
    for bad in ("a b", "a,b", "a=b", "a'b", "", "a\n"):
        with pytest.raises(ColumnError, match="not an id"):
            store.__class__.commit(store, commit_of(store, [R(0, 1, meter=bad)]))


@pytest.mark.parametrize("dialect", ["influx1", "influx2"])
def test_a_killed_server_is_retriable_and_nothing_acknowledged_is_lost(
    own_influx_server,
    database,
    dialect,
):
    server = own_influx_server
    server.query("", f'CREATE DATABASE "{database}"')
    with influx2_shim(server) as shim_url:
        store: InfluxStore
        if dialect == "influx1":
            store = Influx1Store(server.url, database, GRID_MS)
        else:
            store = Influx2Store(shim_url, database, GRID_MS, org="city", token="t")
        store.open()
        source = Source(*SITE, "gw1", "00000000000000aa")
        day = DirtyDay(*SITE, T0)
        for seq in range(1, 4):
            commit = commit_of(
                store,
                [R(seq * MINUTE, seq, seq=seq), R(-seq * MINUTE, seq, seq=seq)],
                intervals=figures(store, [seq * GRID_MS], amount=seq),
                receipts={source: ((1, seq),)},
                dirty=frozenset({day}),
            )
            store.commit(commit)
            server.kill()
            assert not store.health().ok
            for _ in range(2):
                with pytest.raises(StoreRetriable):
                    store.commit(commit)
            with pytest.raises(StoreRetriable):
                store.readings(series_of(store), T0, T0)
            server.start()
            store.commit(commit)
            store.commit(commit)
            assert store.health().ok
        expected = sorted((sign * seq * MINUTE, seq) for seq in (1, 2, 3) for sign in (1, -1))
        assert read(store, store, low=-10 * MINUTE) == expected
        found = store.intervals(Level.INTERVAL, series_of(store), T0, T0 + 9 * GRID_MS)
        assert found.amount.tolist() == [1, 2, 3]
        assert store.receipts() == {source: ((1, 3),)}
        assert store.dirty_days() == {day}
        store.close()


def test_more_meters_than_are_named_in_a_query(store):
    rows = [R(0, i, meter=f"m{i}") for i in range(120)]
    store.commit(commit_of(store, rows))
    wanted = np.arange(60, dtype=np.int32)
    assert store.readings(wanted, T0, T0).value.tolist() == list(range(60))
    assert (store.last_times(wanted) == T0).all()


class _CutBeforeIntervals(Influx1Store):
    """The connection breaks after the first request of a commit."""

    def _write(self, body, precision):
        if body.startswith(b"interval"):
            raise StoreRetriable("cut")
        super()._write(body, precision)


def test_a_cut_inside_a_commit_never_leaves_stale_roll_ups(influx_server, database):
    day = DirtyDay(*SITE, T0)
    source = Source(*SITE, "gw1", "00000000000000aa")

    def commit(store):
        return commit_of(
            store,
            [R(0, 1)],
            intervals=figures(store, [0]),
            receipts={source: ((1, 1),)},
            dirty=frozenset({day}),
        )

    store = _CutBeforeIntervals(influx_server.url, database, GRID_MS)
    store.open()
    with pytest.raises(StoreRetriable):
        store.commit(commit(store))
    store.close()
    again = Influx1Store(influx_server.url, database, GRID_MS)
    again.open()
    # the mark stands before the figures it is for; nothing is acknowledged without figures
    assert again.dirty_days() == {day}
    assert again.receipts() == {}
    again.commit(commit(again))
    assert read(again, again) == [(0, 1)]
    assert again.receipts() == {source: ((1, 1),)}
    again.close()


def test_a_user_who_may_not_create_a_database_uses_one_that_is_there(
    own_influx_server, monkeypatch, database
):
    server = own_influx_server
    server.query("", f'CREATE DATABASE "{database}"')
    server.query("", "CREATE USER admin WITH PASSWORD 'a' WITH ALL PRIVILEGES")
    server.query("", "CREATE USER ledger WITH PASSWORD 'l'")
    server.query("", f'GRANT ALL ON "{database}" TO ledger')
    server.kill()
    monkeypatch.setenv("INFLUXDB_HTTP_AUTH_ENABLED", "true")
    server.start()

    def store_of(name: str, password: str) -> Influx1Store:
        return Influx1Store(server.url, name, GRID_MS, user="ledger", password=password)

    store = store_of(database, "l")
    store.open()
    store.commit(commit_of(store, [R(0, 5)]))
    assert read(store, store) == [(0, 5)]
    store.close()
    for name, password in (("another", "l"), (database, "wrong")):
        store = store_of(name, password)
        with pytest.raises(StoreError, match="auth"):
            store.open()
        store.close()


def test_a_query_that_a_limit_of_the_server_stops_may_be_repeated(
    own_influx_server, monkeypatch, database
):
    server = own_influx_server
    with contextlib.closing(Influx1Store(server.url, database, GRID_MS)) as store:
        store.open()
        store.commit(commit_of(store, [R(0, 5), R(0, 6, meter="m2")]))
        asked = np.arange(2, dtype=np.int32)
        server.kill()
        with monkeypatch.context() as patch:
            patch.setenv("INFLUXDB_COORDINATOR_MAX_SELECT_SERIES", "1")
            server.start()
            with (
                contextlib.closing(store.reader()) as reader,
                pytest.raises(StoreRetriable, match="limit exceeded"),
            ):
                reader.readings(asked, T0, T0)
        server.kill()
        server.start()
        with contextlib.closing(store.reader()) as reader:
            assert reader.readings(asked, T0, T0).value.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("query-timeout limit exceeded", StoreRetriable),
        ("max-concurrent-queries limit exceeded(5, 5)", StoreRetriable),
        ("shard is disabled", StoreRetriable),
        ("engine is closed", StoreRetriable),
        ("database not found: x", StoreRetriable),
        ("error parsing query: found FORM, expected FROM at line 1, char 8", StoreRefused),
        ("unsupported mean iterator type: *query.stringInterruptIterator", StoreRefused),
        ("incompatible operand types", StoreRefused),
    ],
)
def test_an_answer_says_whether_asking_again_may_help(reason, kind):
    query = InfluxQuery("http://influx", "x", {})
    query.client = httpx.Client(
        base_url="http://influx",
        transport=httpx.MockTransport(
            lambda _request: httpx.Response(200, json={"results": [{"error": reason}]})
        ),
    )
    with pytest.raises(kind) as raised:
        list(query.rows(["SELECT 1"], "ms"))
    assert reason in str(raised.value)
    query.close()
