"""What came and is in no total is listed in the store until it is seen to."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from aggregator.points import Points
from aggregator.records import Records
from aggregator.register.model import Register, Role
from aggregator.strays import Strays
from contract.stored import QUARANTINE, UNREGISTERED, Measurement
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    REGION,
    Ledger,
    build,
    meter,
)

DATA = f"nenghao/1/{REGION}/office/gw7/data"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    yield built
    built.store.close()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    records.open()
    yield records
    records.close()


def kept(ledger: Ledger, records: Records) -> int:
    """Keep the lists; return how many points that wrote."""
    written = 0

    def put(make: Callable[[], Points]) -> Future[int]:
        nonlocal written
        done: Future[int] = Future()
        done.set_result(ledger.store.write_points(make()).intervals)
        written += done.result()
        return done

    Strays(ledger.reader, ledger.store, records, put).keep()
    return written


def listed(ledger: Ledger, of: Measurement) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tags: row for tags, _, row in ledger.store.points(of, 0, 1).rows()}


def test_a_meter_nobody_registered_is_listed_until_it_is(ledger: Ledger, records: Records):
    assert kept(ledger, records) == 1
    (item,) = listed(ledger, UNREGISTERED).items()
    assert item == (
        (REGION, "office", "em-99"),
        {"listed": 1, "channels": 1, "first_ms": MIDNIGHT_MS, "last_ms": NOON_MS, "edge": "gw1"},
    )
    assert kept(ledger, records) == 0
    register = ledger.reader.register
    meters = [row for rows in register.rows.values() for row in rows]
    meters.append(meter("office", "em-99", "electricity", Role.SUB))
    ledger.reader.register = Register.of(list(register.sites.values()), meters)
    assert kept(ledger, records) == 1
    (row,) = listed(ledger, UNREGISTERED).values()
    assert (row["listed"], row["last_ms"]) == (0, NOON_MS)
    assert kept(ledger, records) == 0


def test_what_is_in_quarantine_is_counted_by_who_sent_it(ledger: Ledger, records: Records):
    kept(ledger, records)
    records.quarantine(b"1", DATA, "not JSON", 10)
    records.quarantine(b"2", DATA, "no member v", 30)
    records.quarantine(b"1", DATA, "not JSON", 20)
    records.quarantine(b"x", "refused line", "field type conflict", 5)
    assert kept(ledger, records) == 2
    found = listed(ledger, QUARANTINE)
    assert found[REGION, "office", "gw7"] == {
        "payloads": 2, "seen": 3, "first_ms": 10, "last_ms": 30, "reason": "no member v",
    }  # fmt: skip
    assert found["", "", ""]["reason"] == "field type conflict"
    records.release([one.hash for one in records.quarantined() if one.topic == DATA])
    assert kept(ledger, records) == 1
    assert listed(ledger, QUARANTINE)[REGION, "office", "gw7"]["payloads"] == 0
    assert kept(ledger, records) == 0
