"""The proof of settled days in the store: by the code of `prove`, caught up and redone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.daily_proof import DailyProof
from aggregator.points import Points
from aggregator.store.base import Commit, DirtyDay, StoreRetriable
from contract.interval import DAY_MS, HOUR_MS
from contract.stored import PROOF, PROOF_DAY, Level
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


def roll_up(ledger: Ledger, now_ms: int) -> None:
    rollups = rollups_of(ledger.store, ledger.reader.register, now_ms)
    days = [DirtyDay(REGION, one, MIDNIGHT_MS) for one in ("foundry", "office")]
    rollups.mark(days, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - QUARTER_MS)
    rollups.flush()


def proof_of(ledger: Ledger) -> DailyProof:
    def put(make: Callable[[], Points]) -> Future[int]:
        done: Future[int] = Future()
        done.set_result(ledger.store.write_points(make()).intervals)
        return done

    return DailyProof(ledger.reader, ledger.store, put)


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


def test_a_day_is_due_once_it_is_settled_even_after_downtime(ledger: Ledger):
    proof = proof_of(ledger)
    ledger.clock[0] = SETTLED_MS - 1
    assert proof.due() == []
    ledger.clock[0] = SETTLED_MS
    assert proof.due() == [FOUNDRY, (REGION, "office", MIDNIGHT_MS)]
    ledger.clock[0] = SETTLED_MS + 20 * DAY_MS
    again = proof_of(ledger)
    assert FOUNDRY in again.due()
    again.prove(*FOUNDRY)
    assert again.due() == []  # the other was looked for already, by this process
    assert proof_of(ledger).due() == [(REGION, "office", MIDNIGHT_MS)]


def test_what_is_stored_is_what_prove_finds(ledger: Ledger):
    ledger.clock[0] = SETTLED_MS
    proof_of(ledger).prove(*FOUNDRY)
    rows = proved(ledger)
    grid = rows["foundry", "grid", "energy_import"]
    assert (grid["start"], grid["end"]) == (5_000_000_000, 5_000_000_000 + QUARTERS * 2_500_000)
    assert grid["level_end"] - grid["level_start"] == grid["booked"] == QUARTERS * 250_000_000
    assert (grid["closes"], grid["difference"], grid["held"]) == (1, 0, 0)
    assert (grid["received"], grid["expected"], grid["readings"]) == (QUARTERS, 96, QUARTERS + 1)
    assert (grid["measured_ms"], grid["missing_ms"]) == (DAY_MS // 2, DAY_MS // 2)
    assert all(row["closes"] for row in rows.values())
    assert summaries(ledger) == {"foundry": (0, 8, 0)}


def test_a_day_that_does_not_close_says_so_and_a_restated_one_is_proved_again(ledger: Ledger):
    ledger.clock[0] = SETTLED_MS
    proof = proof_of(ledger)
    proof.prove(*FOUNDRY)
    assert FOUNDRY not in proof.due()
    shift(ledger, 7)
    roll_up(ledger, SETTLED_MS)
    assert FOUNDRY in proof.due()
    proof.prove(*FOUNDRY)
    row = proved(ledger)["foundry", "line", "energy_import"]
    assert (row["closes"], row["difference"]) == (0, -7)
    assert summaries(ledger)["foundry"] == (0, 8, 1)


def test_figures_that_change_while_a_day_is_proved_make_it_due_again(ledger: Ledger):
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
    proof = proof_of(ledger)
    proof.prove(*FOUNDRY)
    assert summaries(ledger)["foundry"][0] == 1
    assert FOUNDRY in proof.due()


def test_a_process_killed_while_it_proves_leaves_the_day_due(ledger: Ledger):
    ledger.clock[0] = SETTLED_MS
    history = ledger.reader.history

    def killed(
        series: int, from_ms: int | None = None, to_ms: int | None = None
    ) -> tuple[ReadingColumns, IntervalColumns]:
        raise KeyboardInterrupt

    ledger.reader.history = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        proof_of(ledger).prove(*FOUNDRY)
    ledger.reader.history = history  # type: ignore[method-assign]
    assert FOUNDRY in proof_of(ledger).due()


def test_the_thread_goes_on_after_the_store_was_away_and_ends_when_told(ledger: Ledger):
    ledger.clock[0] = SETTLED_MS
    proof = proof_of(ledger)
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
