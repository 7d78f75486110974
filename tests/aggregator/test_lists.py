"""What came and is in no total is listed in the store until it is seen to."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from aggregator.facts import Facts
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.lists import Lists
from aggregator.points import Points
from aggregator.records import Records
from aggregator.register.model import Register, Role
from contract.stored import QUARANTINE, TOLD_EVENT, UNREGISTERED, Measurement
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


@pytest.fixture
def facts(tmp_path: Path, records: Records) -> Iterator[Facts]:
    facts = Facts(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield facts
    facts.close()


def kept(ledger: Ledger, records: Records, facts: Facts) -> int:
    """Keep the lists; return how many points that wrote."""
    written = 0

    def put(make: Callable[[], Points]) -> Future[int]:
        nonlocal written
        done: Future[int] = Future()
        done.set_result(ledger.store.write_points(make()).intervals)
        written += done.result()
        return done

    Lists(ledger.reader, ledger.store, records, facts, put).keep()
    return written


def listed(ledger: Ledger, of: Measurement) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tags: row for tags, _, row in ledger.store.points(of, 0, 1).rows()}


def test_a_meter_nobody_registered_is_listed_until_it_is(
    ledger: Ledger, records: Records, facts: Facts
):
    assert kept(ledger, records, facts) == 1
    (item,) = listed(ledger, UNREGISTERED).items()
    assert item == (
        (REGION, "office", "em-99"),
        {"listed": 1, "channels": 1, "first_ms": MIDNIGHT_MS, "last_ms": NOON_MS, "edge": "gw1"},
    )
    assert kept(ledger, records, facts) == 0
    register = ledger.reader.register
    meters = [row for rows in register.rows.values() for row in rows]
    meters.append(meter("office", "em-99", "electricity", Role.SUB))
    ledger.reader.register = Register.of(list(register.sites.values()), meters)
    assert kept(ledger, records, facts) == 1
    (row,) = listed(ledger, UNREGISTERED).values()
    assert (row["listed"], row["last_ms"]) == (0, NOON_MS)
    assert kept(ledger, records, facts) == 0


def test_what_is_in_quarantine_is_counted_by_who_sent_it(
    ledger: Ledger, records: Records, facts: Facts
):
    kept(ledger, records, facts)
    records.quarantine(b"1", DATA, "not JSON", 10)
    records.quarantine(b"2", DATA, "no member v", 30)
    records.quarantine(b"1", DATA, "not JSON", 20)
    records.quarantine(b"x", "refused line", "field type conflict", 5)
    assert kept(ledger, records, facts) == 2
    found = listed(ledger, QUARANTINE)
    assert found[REGION, "office", "gw7"] == {
        "payloads": 2, "seen": 3, "first_ms": 10, "last_ms": 30, "reason": "no member v",
    }  # fmt: skip
    assert found["", "", ""]["reason"] == "field type conflict"
    records.release([one.hash for one in records.quarantined() if one.topic == DATA])
    assert kept(ledger, records, facts) == 1
    assert listed(ledger, QUARANTINE)[REGION, "office", "gw7"]["payloads"] == 0
    assert kept(ledger, records, facts) == 0


def test_events_are_listed_while_they_stand(ledger: Ledger, records: Records, facts: Facts):
    kept(ledger, records, facts)
    exchange = MeterEvent(
        EventKind.EXCHANGE, REGION, "foundry", MIDNIGHT_MS, "Li", "slip 7", "grid", "energy_import"
    )
    clock = MeterEvent(
        EventKind.CLOCK, REGION, "foundry", NOON_MS, "Li", "ran ahead", edge="gw1",
        until_ms=NOON_MS + 1, offset_ms=-5,
    )  # fmt: skip
    told = [facts.tell(event, NOON_MS) for event in (exchange, clock)]
    assert kept(ledger, records, facts) == 2
    points = ledger.store.points(TOLD_EVENT, 0, 2**60)
    assert {(tags[1:], at): tuple(row.values()) for tags, at, row in points.rows()} == {
        (("foundry", "grid", "energy_import", "", "exchange"), MIDNIGHT_MS):
            (1, NOON_MS, "Li", "slip 7"),
        (("foundry", "", "", "gw1", "clock"), NOON_MS): (1, NOON_MS, "Li", "ran ahead"),
    }  # fmt: skip
    facts.undo(told[0].id, "Li", "wrong meter", NOON_MS)
    assert kept(ledger, records, facts) == 1
    rows = ledger.store.points(TOLD_EVENT, 0, 2**60).rows()
    assert {tags[-1]: row["listed"] for tags, _, row in rows} == {"exchange": 0, "clock": 1}
