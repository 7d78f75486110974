"""Measures made anew from stored amounts: what changes, what stays, what is recorded."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.changes import Change
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.restate import Restater
from aggregator.restatements import Restatement, Restatements, is_settled
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import (
    Commit,
    CommitResult,
    DirtyDay,
    Refused,
    StoreRefused,
    StoreRetriable,
)
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS, Level
from tests.suites.memory_store import MemoryDatabase, MemoryStore

REGION = "370114"
QUARTER_MS = 900_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
JAN_30_MS = 1_769_702_400_000  # 2026-01-30T00:00:00+08:00
DAYS = 4  # over the end of a month
END_MS = JAN_30_MS + DAYS * DAY_MS
NOW_MS = JAN_30_MS + 3 * DAY_MS + 7 * HOUR_MS  # the last day is open
METERS = ("em-1", "em-2")


class World:
    """A site with two meters, four days of stored figures made under a set, and its records."""

    def __init__(self, folder: Path, set_name: str = "national") -> None:
        self.store = MemoryStore(MemoryDatabase(), QUARTER_MS)
        self.store.open()
        self.restatements = Restatements(f"sqlite:///{folder / 'records.sqlite'}")
        self.restatements.open()
        for meter in METERS:
            self.store.directory.series.add(SeriesKey(REGION, "works", meter, "energy_import"))
        self.rollups = Rollups(self.store, Events(lambda: 0))
        self.fill(set_name)

    def measures(self, set_name: str, *tariffs: str) -> Measures:
        site = Site("works", REGION, "厂", "works", "x", None, None, None, None, tariffs=tariffs)
        meters = [
            Meter("works", name, "electricity", Role.BOUNDARY_IN, "", 1, "", 0, "")
            for name in METERS
        ]
        register = Register.of([site], meters)
        return Measures(
            self.store.directory,
            Parameters(self.store.directory, register),
            builtin_library().choose(set_name),
            SiteTariffs(register, builtin_tariffs(), QUARTER_MS),
        )

    def fill(self, set_name: str) -> None:
        count = DAYS * 96
        series = np.repeat(np.arange(2, dtype=np.int32), count)
        start = np.tile(JAN_30_MS + QUARTER_MS * np.arange(count), 2)
        amount = np.arange(2 * count) * 1_000_001
        full, zero = np.full(2 * count, QUARTER_MS), np.zeros(2 * count, np.int64)
        one = np.ones(2 * count, np.int64)
        measures = self.measures(set_name).of(series, start, amount)
        rows = IntervalColumns(
            series, start, amount, zero, zero.copy(), full, zero.copy(), zero.copy(),
            one, one.copy(), zero.copy(), **measures,
        )  # fmt: skip
        dirty = frozenset(
            DirtyDay(REGION, "works", JAN_30_MS + day * DAY_MS) for day in range(DAYS)
        )
        cumulative = ReadingColumns.empty(cumulative=True)
        instantaneous = ReadingColumns.empty(cumulative=False)
        self.store.commit(Commit(cumulative, instantaneous, rows, {}, dirty))
        self.rollups.mark(dirty, JAN_30_MS, END_MS - QUARTER_MS)
        self.rollups.flush()

    def stored(self, level: Level) -> IntervalColumns:
        series = np.arange(2, dtype=np.int32)
        return self.store.intervals(level, series, JAN_30_MS - 31 * DAY_MS, END_MS)

    def plan(self, set_name: str, *tariffs: str) -> list[Change]:
        restater = Restater(self.store, self.measures(set_name, *tariffs))
        return list(restater.plan(restater.sites(), JAN_30_MS, END_MS, NOW_MS))

    def apply(
        self, set_name: str, *tariffs: str, from_ms: int = JAN_30_MS, to_ms: int = END_MS
    ) -> list[Change]:
        restater = Restater(self.store, self.measures(set_name, *tariffs))
        return list(
            restater.apply(
                restater.sites(), from_ms, to_ms, NOW_MS,
                restatements=self.restatements, rollups=self.rollups,
                cause=f"factors {set_name}", why="the ministry's notice",
            )
        )  # fmt: skip

    def records(self) -> list[Restatement]:
        return list(self.restatements.find(REGION, "works", JAN_30_MS, END_MS))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    built = World(tmp_path)
    yield built
    built.restatements.close()


def assert_equal(a: IntervalColumns, b: IntervalColumns, names: tuple[str, ...]) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_a_plan_says_what_would_change_and_changes_nothing(world: World):
    before = world.stored(Level.INTERVAL)
    changes = world.plan("demo")
    assert_equal(world.stored(Level.INTERVAL), before, MEASURE_FIELDS)
    assert world.records() == []
    by_measure = {change.measure for change in changes}
    # under demo the unverified rows count: CO2 by the grid of Shandong, 等价 of the quota
    assert by_measure == {"co2_kg", "kgce_equivalent"}
    assert len(changes) == 2 * 2 * DAYS
    assert {change.intervals for change in changes if change.day_ms > JAN_30_MS} == {96}
    assert [change.settled for change in changes if change.day_ms == END_MS - DAY_MS] == [False] * 4


def test_the_same_set_changes_nothing(world: World):
    assert world.plan("national") == []
    assert world.apply("national") == []
    assert world.records() == []


def test_applied_figures_are_those_of_a_ledger_that_always_had_the_set(
    world: World, tmp_path: Path
):
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other", "demo")
    planned = world.plan("demo")
    assert world.apply("demo") == planned
    for level in Level:
        found, wanted = world.stored(level), other.stored(level)
        assert_equal(found, wanted, ("series", "start_ms", *INTEGER_FIELDS, *MEASURE_FIELDS))
    assert world.store.dirty_days() == frozenset()
    assert world.plan("demo") == []
    other.restatements.close()


def test_settled_days_leave_a_record_and_open_ones_do_not(world: World):
    changes = world.apply("demo")
    records = world.records()
    assert {record.day_ms for record in records} == {JAN_30_MS + day * DAY_MS for day in range(3)}
    assert len(records) == sum(change.settled for change in changes) == 2 * 2 * 3
    one = next(r for r in records if (r.meter, r.measure) == ("em-2", "co2_kg"))
    assert (one.cause, one.why, one.found_ms) == ("factors demo", "the ministry's notice", NOW_MS)
    assert one.details == "grid-37-2023"  # the row that the figure is made with
    # the record's figure is the day's as stored
    day = world.stored(Level.DAY)
    row = np.flatnonzero((day.series == 1) & (day.start_ms == one.day_ms))[0]
    assert one.to_value == day.co2_kg[row]
    assert one.from_value is None


def test_a_figure_may_become_undetermined_again(world: World):
    world.apply("demo")
    world.apply("national")
    last = [r for r in world.records() if (r.meter, r.measure) == ("em-1", "co2_kg")]
    assert [(r.from_value is None, r.to_value is None) for r in last] == [(True, False)] * 3 + [
        (False, True)
    ] * 3
    assert np.isnan(world.stored(Level.INTERVAL).co2_kg).all()


def test_only_the_days_asked_for_change_whole(world: World):
    from_ms = JAN_30_MS + DAY_MS + 5 * HOUR_MS
    changes = world.apply("demo", from_ms=from_ms, to_ms=from_ms + 1)
    assert {change.day_ms for change in changes} == {JAN_30_MS + DAY_MS}
    rows = world.stored(Level.INTERVAL)
    known = ~np.isnan(rows.co2_kg)
    assert set(rows.start_ms[known].tolist()) == {
        JAN_30_MS + DAY_MS + i * QUARTER_MS for i in range(96)
    }


def test_a_tariff_given_later_prices_what_is_stored(world: World):
    changes = world.apply("national", "demo-electricity")
    assert {change.measure for change in changes} == {"cost_cny"}
    rows = world.stored(Level.INTERVAL)
    seven = np.flatnonzero(rows.start_ms == JAN_30_MS + 7 * HOUR_MS)[0]
    assert rows.cost_cny[seven] == pytest.approx(rows.amount[seven] / 1e6 * 0.95)
    month = world.stored(Level.MONTH)
    assert not np.isnan(month.cost_cny).any()
    assert month.cost_cny.sum() == pytest.approx(rows.cost_cny.sum())


def test_an_interrupted_run_is_repeated_without_a_second_record(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    commit = world.store.commit

    def fails(_: Commit) -> None:
        raise StoreRetriable("away")

    monkeypatch.setattr(world.store, "commit", fails)
    with pytest.raises(StoreRetriable):
        world.apply("demo")
    written = len(world.records())
    assert written == 2 * 2 * 2  # January's days; nothing of February was begun
    monkeypatch.setattr(world.store, "commit", commit)
    world.apply("demo")
    assert len(world.records()) == 2 * 2 * 3


def test_a_refused_figure_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch):
    refusal = CommitResult(0, 0, (Refused("interval,meter=em-1 co2_kg=1", "field type"),))
    monkeypatch.setattr(world.store, "commit", lambda _: refusal)
    with pytest.raises(StoreRefused, match="refused interval,meter=em-1 co2_kg=1: field type"):
        world.apply("demo")


def test_going_back_and_forth_is_recorded_each_time(world: World):
    for name in ("demo", "national", "demo"):
        world.apply(name)
    causes = [
        record.cause
        for record in world.records()
        if (record.meter, record.measure, record.day_ms) == ("em-1", "co2_kg", JAN_30_MS)
    ]
    assert causes == ["factors demo", "factors national", "factors demo"]


def test_a_day_is_settled_at_six_the_next_morning():
    assert not is_settled(JAN_30_MS, JAN_30_MS + 30 * HOUR_MS - 1)
    assert is_settled(JAN_30_MS, JAN_30_MS + 30 * HOUR_MS)
