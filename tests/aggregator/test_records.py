"""Metas, quarantine and edge states survive a restart and stay within their caps."""

import contextlib
import hashlib
import sqlite3
import threading

import pytest
from sqlalchemy import event

from aggregator.records import Records, StoredState
from contract.topics import Address


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'records.sqlite'}"


@pytest.fixture
def records(url):
    records = Records(url, max_quarantined=3, max_quarantine_bytes=100)
    records.open()
    yield records
    records.close()


GW1 = Address("370114", "foundry", "gw1")
GW2 = Address("370114", "foundry", "gw2")


def test_metas_are_kept_by_hash_and_edge_and_survive_in_the_order_of_use(records, url):
    assert records.keep_metas({(GW2, "b" * 64): b'{"v":1}'}, {})
    assert not records.keep_metas({(GW2, "b" * 64): b"other"}, {})
    assert records.keep_metas({(GW1, "a" * 64): b"2"}, {})
    assert records.keep_metas({(GW1, "b" * 64): b'{"v":1}'}, {})
    for name, used_ms in (("a", 5), ("b", 6), ("a", 7)):
        assert records.keep_metas({}, {GW1: (used_ms, name * 64)})
    assert not records.keep_metas({}, {GW1: (8, "c" * 64)})
    again = Records(url)
    again.open()
    found = [(meta.hash[0], meta.address.edge, meta.used_ms) for meta in again.metas()]
    assert found == [("b", "gw2", 0), ("b", "gw1", 6), ("a", "gw1", 7)]
    assert again.metas()[0].payload == b'{"v":1}'
    again.close()


def test_the_same_payload_is_kept_once_and_counted(records):
    for now_ms in (10, 20, 30):
        assert records.quarantine(b"\xff{", "nenghao/1/x", f"not UTF-8 ({now_ms})", now_ms) == 0
    (kept,) = records.quarantined()
    assert kept.hash == hashlib.sha256(b"\xff{").hexdigest()
    assert (kept.seen, kept.first_seen_ms, kept.last_seen_ms) == (3, 10, 30)
    assert (kept.payload, kept.reason) == (b"\xff{", "not UTF-8 (30)")
    assert records.quarantine_size() == (1, 2)


def test_quarantine_is_capped_by_count(records):
    evicted = [records.quarantine(bytes([i]), "t", "r", i) for i in range(6)]
    assert evicted == [0, 0, 0, 1, 1, 1]
    assert [kept.payload for kept in records.quarantined()] == [b"\x05", b"\x04", b"\x03"]
    assert len(records.quarantined(limit=1)) == 1


def test_quarantine_is_capped_by_bytes(records):
    records.quarantine(b"a" * 60, "t", "r", 1)
    records.quarantine(b"b" * 40, "t", "r", 2)
    assert records.quarantine_size() == (2, 100)
    assert records.quarantine(b"c" * 41, "t", "r", 3) == 1
    assert records.quarantine_size() == (2, 81)
    assert records.quarantine(b"d" * 999, "t", "r", 4) == 2
    assert records.quarantine_size() == (1, 100)


def test_few_payloads_cost_a_look_through_the_quarantine(url):
    """A gigabyte of batches with impossible times may be among them."""
    records = Records(url, max_quarantined=100, max_quarantine_bytes=10_000)
    records.open()
    asked = []
    listen = event.listens_for(records._engine, "before_cursor_execute")
    listen(lambda _db, _cursor, statement, values, *_: asked.append((statement, values)))
    evicted = [records.quarantine(bytes([i]), "t", "r", i) for i in range(200)]
    assert sum(evicted) == 200 - records.quarantine_size()[0]
    reading = [(text, values) for text, values in asked if text.startswith("SELECT")]
    assert 1 < len(reading) <= 2 + 100 // 5
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        for text, values in reading:
            if "ORDER BY" in text:
                (plan,) = db.execute(f"EXPLAIN QUERY PLAN {text}", values)  # and no sorting
                assert "USING INDEX quarantine_age" in plan[3], text
    records.close()


def test_the_last_state_of_each_edge_counts(records):
    records.put_states([StoredState(GW2, b"1", 1)])
    records.put_states([StoredState(GW1, b"2", 2)])
    records.put_states([StoredState(GW2, b"3", 3)])
    found = [(state.address.edge, state.payload, state.received_ms) for state in records.states()]
    assert found == [("gw1", b"2", 2), ("gw2", b"3", 3)]


def test_threads_may_share_the_records(records):
    trouble = []

    def work(edge: str) -> None:
        try:
            for i in range(30):
                records.put_states([StoredState(Address("370114", "s", edge), b"%d" % i, i)])
                records.states()
        except Exception as error:  # noqa: BLE001 - handed to the test's thread
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(f"gw{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert trouble == []
    assert [state.payload for state in records.states()] == [b"29"] * 3
