"""The proof of settled days in the store: by the code of `prove`, caught up and redone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.completeness import Channel, completeness
from aggregator.daily_proof import DailyProof
from aggregator.points import Points
from aggregator.restatements import Restatement, Restatements
from aggregator.store.base import Commit, DirtyDay, StoreRetriable
from contract.interval import DAY_MS, HOUR_MS
from contract.stored import (
    COMPLETENESS_DAY,
    EDGE_HISTORY,
    PROOF,
    PROOF_DAY,
    RESTATEMENT,
    Level,
    Measurement,
)
from tests.aggregator.api_ledger import MIDNIGHT_MS, QUARTER_MS, QUARTERS, REGION, Ledger
from tests.aggregator.api_ledger import build as build_ledger
from tests.aggregator.test_nodes import rollups_of

SETTLED_MS = MIDNIGHT_MS + DAY_MS + 6 * HOUR_MS
FOUNDRY = (REGION, "foundry", MIDNIGHT_MS)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build_ledger(tmp_path)
    roll_up(built, MIDNIGHT_MS + HOUR_MS)
    yield built
    built.store.close()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Restatements]:
    """What changed, in a database beside the ledger."""
    restatements = Restatements(f"sqlite:///{tmp_path / 'records.sqlite'}")
    restatements.open()
    yield restatements
    restatements.close()


def roll_up(ledger: Ledger, now_ms: int) -> None:
    rollups = rollups_of(ledger.store, ledger.reader.register, now_ms)
    days = [DirtyDay(REGION, one, MIDNIGHT_MS) for one in ("foundry", "office")]
    rollups.mark(days, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - QUARTER_MS)
    rollups.flush()


def proof_of(ledger: Ledger, records: Restatements) -> DailyProof:
    def put(make: Callable[[], Points]) -> Future[int]:
        done: Future[int] = Future()
        done.set_result(ledger.store.write_points(make()).intervals)
        return done

    return DailyProof(ledger.reader, ledger.store, records, put)


def proved(ledger: Ledger) -> dict[tuple[str, ...], dict[str, int]]:
    points = ledger.store.points(PROOF, MIDNIGHT_MS, MIDNIGHT_MS + 1)
    return {tags[1:]: row for tags, _, row in points.rows()}


def summaries(ledger: Ledger) -> dict[str, tuple[int, int, int]]:
    points = ledger.store.points(PROOF_DAY, 0, 2**60)
    return {
        tags[1]: (row["due"], row["channels"], row["not_closing"])
        for tags, at, row in points.rows()
        if at == MIDNIGHT_MS
    }


def shift(ledger: Ledger, by_micro: int) -> None:
    """Let the ledger have booked more of one interval than the register says."""
    index = ledger.series("foundry", "line", "energy_import")
    chosen = np.array([index], np.int32)
    rows = ledger.store.intervals(Level.INTERVAL, chosen, MIDNIGHT_MS, MIDNIGHT_MS + QUARTER_MS)
    wrong = replace(rows, amount=rows.amount + by_micro)
    nothing, none = (ReadingColumns.empty(cumulative=c) for c in (True, False))
    day = DirtyDay(*FOUNDRY)
    ledger.store.commit(Commit(nothing, none, wrong, {}, frozenset({day})))
    assert isinstance(wrong, IntervalColumns)


def test_a_day_is_due_once_it_is_settled_even_after_downtime(ledger: Ledger, records: Restatements):
    proof = proof_of(ledger, records)
    ledger.clock[0] = SETTLED_MS - 1
    assert proof.due() == []
    ledger.clock[0] = SETTLED_MS
    assert proof.due() == [FOUNDRY, (REGION, "office", MIDNIGHT_MS)]
    ledger.clock[0] = SETTLED_MS + 20 * DAY_MS
    again = proof_of(ledger, records)
    assert FOUNDRY in again.due()
    again.prove(*FOUNDRY)
    assert again.due() == []  # the other was looked for already, by this process
    assert proof_of(ledger, records).due() == [(REGION, "office", MIDNIGHT_MS)]


def test_a_look_reads_only_what_is_due_but_once_a_day_the_last_weeks(
    ledger: Ledger, records: Restatements, monkeypatch: pytest.MonkeyPatch
):
    """The proofs of years are in the store: a look each minute must not read them."""
    row = {"due": 0, "channels": 1, "not_closing": 0}
    years = [((REGION, "foundry"), MIDNIGHT_MS - n * DAY_MS, row) for n in range(1, 800)]
    late = ((REGION, "foundry"), MIDNIGHT_MS - 500 * DAY_MS, row | {"due": 1})
    ledger.store.write_points(Points.of_rows(PROOF_DAY, [*years, late]))
    ledger.clock[0] = SETTLED_MS
    read: list[int] = []
    of_rows = Points.rows

    def counted(points: Points) -> Iterator[Any]:
        read.append(len(points))
        return of_rows(points)

    monkeypatch.setattr(Points, "rows", counted)
    proof = proof_of(ledger, records)
    assert proof.due()[0] == (REGION, "foundry", MIDNIGHT_MS - 500 * DAY_MS)
    assert sum(read) < 2 * 35
    read.clear()
    assert len(proof.due()) == 1
    assert sum(read) == 1


def test_what_is_stored_is_what_prove_finds(ledger: Ledger, records: Restatements):
    ledger.clock[0] = SETTLED_MS
    proof_of(ledger, records).prove(*FOUNDRY)
    rows = proved(ledger)
    grid = rows["foundry", "grid", "energy_import"]
    assert (grid["start"], grid["end"]) == (5_000_000_000, 5_000_000_000 + QUARTERS * 2_500_000)
    assert grid["level_end"] - grid["level_start"] == grid["booked"] == QUARTERS * 250_000_000
    assert (grid["closes"], grid["difference"], grid["held"]) == (1, 0, 0)
    assert (grid["received"], grid["expected"], grid["readings"]) == (QUARTERS, 96, QUARTERS + 1)
    assert (grid["measured_ms"], grid["missing_ms"]) == (DAY_MS // 2, DAY_MS // 2)
    assert all(row["closes"] for row in rows.values())
    assert summaries(ledger) == {"foundry": (0, 8, 0)}


def test_a_day_that_does_not_close_says_so_and_a_restated_one_is_proved_again(
    ledger: Ledger, records: Restatements
):
    ledger.clock[0] = SETTLED_MS
    proof = proof_of(ledger, records)
    proof.prove(*FOUNDRY)
    assert FOUNDRY not in proof.due()
    shift(ledger, 7)
    roll_up(ledger, SETTLED_MS)
    assert FOUNDRY in proof.due()
    proof.prove(*FOUNDRY)
    row = proved(ledger)["foundry", "line", "energy_import"]
    assert (row["closes"], row["difference"]) == (0, -7)
    assert summaries(ledger)["foundry"] == (0, 8, 1)


def test_figures_that_change_while_a_day_is_proved_make_it_due_again(
    ledger: Ledger, records: Restatements
):
    ledger.clock[0] = SETTLED_MS
    history = ledger.reader.history

    def changing(
        series: int, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[ReadingColumns, IntervalColumns]:
        found = history(series, from_ms, to_ms)
        ledger.reader.history = history  # type: ignore[method-assign]
        shift(ledger, 1)
        roll_up(ledger, SETTLED_MS)
        return found

    ledger.reader.history = changing  # type: ignore[method-assign]
    proof = proof_of(ledger, records)
    proof.prove(*FOUNDRY)
    assert summaries(ledger)["foundry"][0] == 1
    assert FOUNDRY in proof.due()


def test_a_process_killed_while_it_proves_leaves_the_day_due(ledger: Ledger, records: Restatements):
    ledger.clock[0] = SETTLED_MS
    history = ledger.reader.history

    def killed(
        series: int, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[ReadingColumns, IntervalColumns]:
        raise KeyboardInterrupt

    ledger.reader.history = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        proof_of(ledger, records).prove(*FOUNDRY)
    ledger.reader.history = history  # type: ignore[method-assign]
    assert FOUNDRY in proof_of(ledger, records).due()


def test_the_thread_goes_on_after_the_store_was_away_and_ends_when_told(
    ledger: Ledger, records: Restatements
):
    ledger.clock[0] = SETTLED_MS
    proof = proof_of(ledger, records)
    stopping = threading.Event()
    due, asked = proof.due, list[None]()

    def away_first() -> Sequence[tuple[str, str, int]]:
        asked.append(None)
        if len(asked) == 1:
            raise StoreRetriable("away")
        if len(asked) == 3:
            stopping.set()
        return due()

    proof.due = away_first  # type: ignore[method-assign]
    stopping.wait = lambda _=None: stopping.is_set()  # type: ignore[assignment, method-assign]
    proof.run(stopping)
    assert summaries(ledger) == {"foundry": (0, 8, 0), "office": (0, 1, 0)}


def day_of(ledger: Ledger, of: Measurement) -> list[tuple[tuple[str, ...], int, dict[str, Any]]]:
    return list(ledger.store.points(of, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS).rows())


def test_records_of_what_changed_come_with_the_day(ledger: Ledger, records: Restatements):
    ledger.clock[0] = SETTLED_MS
    proof = proof_of(ledger, records)
    change = Restatement(
        REGION, "foundry", "grid", "energy_import", MIDNIGHT_MS, "co2_kg", None, 5.5,
        "factors 2026", "new year", SETTLED_MS, "row-7",
    )  # fmt: skip
    other = replace(change, measure="amount", from_value=1.0, to_value=2.0)
    records.add([change, other, replace(change, day_ms=MIDNIGHT_MS - DAY_MS)])
    proof.prove(*FOUNDRY)
    records.add([replace(change, from_value=5.5, to_value=6.0, cause="factors 2027")])
    proof.prove(*FOUNDRY)
    found = {at - MIDNIGHT_MS: (tags, row) for tags, at, row in day_of(ledger, RESTATEMENT)}
    tags, row = found[1]
    assert tags == (REGION, "foundry", "grid", "energy_import", "co2_kg")
    assert row == {
        "day_ms": MIDNIGHT_MS, "found_ms": SETTLED_MS, "from_value": None, "to_value": 5.5,
        "cause": "factors 2026", "why": "new year", "details": "row-7",
    }  # fmt: skip
    assert found[2][0][-1] == "amount"
    assert (found[4][0], found[4][1]["from_value"]) == (tags, 5.5)  # beside the first
    assert len(found) == 3


def test_what_is_missing_is_put_down_to_a_cause(ledger: Ledger, records: Restatements):
    """Each channel was read until noon; its gateway went away at 18 o'clock."""
    ledger.clock[0] = SETTLED_MS
    proof = proof_of(ledger, records)

    def told(hour: int, *, online: int, failures: int) -> None:
        fields = dict.fromkeys(EDGE_HISTORY.integers, 0)
        fields |= {"online": online, "failures": failures}
        at = MIDNIGHT_MS + hour * HOUR_MS
        point = ((REGION, "foundry", "gw1"), at, fields)
        ledger.store.write_points(Points.of_rows(EDGE_HISTORY, [point]))

    def found() -> dict[str, Any]:
        proof.prove(*FOUNDRY)
        return {tags[1]: row for tags, _, row in day_of(ledger, COMPLETENESS_DAY)}["foundry"]

    # grid out and back, roof, line, belt, boiler, water; not gas at line conditions
    channels, half = 7, QUARTERS
    whole = {"received": channels * half, "expected": channels * 96}
    missing = channels * half
    nothing = {"offline": 0, "unpolled": 0, "unread": missing, "cause": "unread"}
    assert found() == whole | nothing
    told(-1, online=1, failures=7)
    told(1, online=1, failures=7)
    told(18, online=0, failures=7)
    away = {"offline": channels * 24, "unread": missing - channels * 24}
    assert found() == whole | nothing | away | {"cause": "offline"}
    told(13, online=1, failures=9)
    polls = {"unpolled": away["unread"], "unread": 0}
    assert found() == whole | away | polls | {"cause": "offline"}
    told(19, online=1, failures=9)
    ended = {"offline": channels * 4, "unpolled": missing - channels * 4, "unread": 0}
    assert found() == whole | ended | {"cause": "unpolled"}


def test_a_day_that_lacks_next_to_nothing_has_no_cause():
    """Of 1000 slots 970 are enough."""
    nothing = Points.empty(EDGE_HISTORY)
    for received, cause in ((970, "complete"), (969, "unread")):
        told = completeness([Channel("gw1", received, 1000)], nothing, MIDNIGHT_MS, QUARTER_MS)
        assert (told["cause"], told["unread"]) == (cause, 1000 - received)
