"""Hour, day and month are the sums of the base intervals, however the writing was split."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.rollups import Rollups
from aggregator.store.base import Commit, DirtyDay
from contract.interval import DAY_MS, GRID_MS, HOUR_MS, day_start, hour_start, month_start
from contract.stored import Level
from tests.suites.memory_store import MemoryDatabase, MemoryStore

FIRST_DAY = day_start(1_761_900_000_000)
"""31 October 2025: the next day is of another month."""
SITES = ("works", "office", "mall")
DAYS = 2


class Ledger:
    """Three sites with one register each, on a store in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore(MemoryDatabase(), GRID_MS)
        self.store.open()
        for site in SITES:
            self.store.directory.series.add(SeriesKey("370114", site, "em-1", "energy_import"))
        self.pieces: Iterator[int] = iter(())
        self.start()

    def start(self) -> None:
        """Begin as after a restart, a site a piece."""
        self.rollups = Rollups(self.store, Events(lambda: 0), together=1)
        self.pieces = iter(())

    def flush(self) -> None:
        """Do a whole round, and not the rest of one that was begun."""
        self.pieces = iter(())
        self.rollups.flush()

    def piece(self) -> None:
        """Do one piece, of a new round if the last one is done."""
        if next(self.pieces, 0) == 0:
            self.pieces = self.rollups.pieces()
            next(self.pieces, 0)

    def write(self, rows: dict[tuple[int, int], int]) -> None:
        """Commit amounts by (series, start), and mark them as the pipeline does."""
        keys = sorted(rows)
        n = len(keys)
        start = np.array([start for _, start in keys], np.int64)
        zero = np.zeros(n, np.int64)
        amount = np.array([rows[key] for key in keys], np.int64)
        kg = amount.astype(np.float64)
        intervals = IntervalColumns(
            np.array([series for series, _ in keys], np.int32), start, amount, zero, zero,
            zero + GRID_MS, zero, zero, zero + 1, zero + 1, zero,
            kg, 2 * kg, 3 * kg, np.full(n, np.nan),
        )  # fmt: skip
        dirty = {DirtyDay("370114", SITES[series], day_start(at)) for series, at in keys}
        cumulative, instantaneous = (ReadingColumns.empty(cumulative=c) for c in (True, False))
        self.store.commit(Commit(cumulative, instantaneous, intervals, {}, dirty))
        self.rollups.mark(dirty, int(start.min()), int(start.max()))

    def level(self, level: Level) -> dict[tuple[int, int], tuple[int, int, int]]:
        rows = self.store.intervals(level, np.arange(3, dtype=np.int32), 0, 2**60)
        return {
            (int(rows.series[i]), int(rows.start_ms[i])): (
                int(rows.amount[i]), int(rows.received[i]), int(rows.missing_ms[i])
            )
            for i in range(len(rows))
        }  # fmt: skip


THEN = ("flush", "piece", "wait", "restart")
writes = st.dictionaries(
    st.tuples(
        st.integers(0, len(SITES) - 1),
        st.integers(0, DAYS * 96 - 1).map(lambda slot: FIRST_DAY + slot * GRID_MS),
    ),
    st.integers(-(10**9), 10**9),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(writes, st.sampled_from(THEN)), max_size=9))
def test_every_level_is_the_sum_of_the_base(steps):
    ledger = Ledger()
    base: dict[tuple[int, int], int] = {}
    for rows, then in steps:
        ledger.write(rows)
        base |= rows
        if then == "flush":
            ledger.flush()
        elif then == "piece":
            ledger.piece()
        elif then == "restart":
            ledger.start()
    ledger.flush()
    for level, start_of, length_ms in (
        (Level.HOUR, hour_start, lambda _: HOUR_MS),
        (Level.DAY, day_start, lambda _: DAY_MS),
        (Level.MONTH, month_start, lambda start: (31 if start <= FIRST_DAY else 30) * DAY_MS),
    ):
        expected: dict[tuple[int, int], tuple[int, int]] = {}
        for (series, at), amount in base.items():
            total, count = expected.get((series, start_of(at)), (0, 0))
            expected[series, start_of(at)] = total + amount, count + 1
        assert ledger.level(level) == {
            key: (amount, count, length_ms(key[1]) - count * GRID_MS)
            for key, (amount, count) in expected.items()
        }
    assert ledger.store.dirty_days() == frozenset()


def test_marks_of_a_crash_stand_until_the_sites_intervals_are_made_again(monkeypatch):
    """Without them nobody would look for what a commit that is not atomic left out."""
    monkeypatch.setattr(MemoryStore, "atomic", False)
    ledger = Ledger()
    ledger.write({(0, FIRST_DAY): 7, (1, FIRST_DAY): 8})
    rollups = ledger.rollups = Rollups(ledger.store, Events(lambda: 0))
    assert rollups.unsure() == [("370114", site) for site in sorted(SITES[:2])]
    ledger.write({(0, FIRST_DAY + GRID_MS): 1, (2, FIRST_DAY): 9})
    rollups.made_sure("370114", SITES[1])
    rollups.flush()
    assert ledger.store.dirty_days() == {DirtyDay("370114", SITES[0], FIRST_DAY)}
    rollups.made_sure("370114", SITES[0])
    rollups.flush()
    assert ledger.store.dirty_days() == frozenset()
    assert ledger.level(Level.DAY)[0, FIRST_DAY][0] == 8


def test_a_mark_stands_for_rates_that_came_while_its_day_was_summed_up():
    """They are integrated when the next round begins; after a crash only the mark tells of them."""
    ledger = Ledger()
    day = DirtyDay("370114", SITES[0], FIRST_DAY)
    ledger.write({(0, FIRST_DAY): 7, (1, FIRST_DAY): 8})
    ledger.piece()
    cumulative, instantaneous = (ReadingColumns.empty(cumulative=c) for c in (True, False))
    none = IntervalColumns.empty()
    ledger.store.commit(Commit(cumulative, instantaneous, none, {}, frozenset({day})))
    ledger.rollups.wait_for({day})
    for _ in ledger.pieces:
        pass
    assert ledger.store.dirty_days() == {day}
    ledger.rollups.needless({day})
    assert ledger.store.dirty_days() == frozenset()
