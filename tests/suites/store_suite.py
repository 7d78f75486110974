"""What every Store must do. Subclass and give a `kit` fixture that opens stores on one database."""

import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.batch import ColumnError, Float64, Int64, IntervalColumns, ReadingColumns
from aggregator.directory import SeriesKey, Source
from aggregator.points import Points
from aggregator.store.base import (
    NO_TIME,
    Commit,
    DirtyDay,
    Store,
    StoreMismatch,
)
from aggregator.verdict import Outcome, RuleId, Verdict
from contract.reading import MAX_TIME_MS, MIN_TIME_MS, Quality
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS, MEASUREMENTS, Level, Measurement

GRID_MS = 900_000
T0 = 1_795_248_000_000  # 2026-11-21T08:00:00Z, on the grid
MINUTE = 60_000
DAY = 86_400_000
SITE = ("370114", "foundry")


@dataclass(frozen=True)
class R:
    """One reading, as a test writes it; `at` counts milliseconds from T0."""

    at: int
    value: float
    meter: str = "m1"
    channel: str = "energy_import"
    quality: int = 0
    edge: str = "gw1"
    outbox: str = "00000000000000aa"
    seq: int = 1
    site: str = "foundry"


class StoreKit:
    """Opens stores, one after another, on one database."""

    def __init__(self, make: Callable[[int], Store]) -> None:
        self._make = make
        self._open: list[Store] = []

    def open(self, grid_ms: int = GRID_MS) -> Store:
        self.close()
        store = self._make(grid_ms)
        self._open.append(store)  # one whose open failed is closed all the same
        store.open()
        return store

    def close(self) -> None:
        while self._open:
            self._open.pop().close()


def columns(store: Store, rows: Iterable[R], *, cumulative: bool = True) -> ReadingColumns:
    rows = list(rows)
    values: Int64 | Float64 = np.array([r.value for r in rows], np.float64)
    if cumulative:  # never through float: integers are exact
        values = np.array([r.value for r in rows], np.int64)
    return ReadingColumns(
        store.directory.series.add_all(
            SeriesKey(SITE[0], r.site, r.meter, r.channel) for r in rows
        ),
        np.array([T0 + r.at for r in rows], np.int64),
        values,
        np.array([r.quality for r in rows], np.uint8),
        store.directory.sources.add_all(Source(SITE[0], r.site, r.edge, r.outbox) for r in rows),
        np.array([r.seq for r in rows], np.int64),
    )


def figures(
    store: Store,
    starts: Iterable[int],
    *,
    meter: str = "m1",
    amount: int = 1,
    co2_kg: float = 0.5,
    **other: Any,
) -> IntervalColumns:
    """Give one figure per start (ms from T0); fields differ from each other."""
    starts = list(starts)
    n = len(starts)
    series = store.directory.series.add(SeriesKey(*SITE, meter, "energy_import"))
    values: dict[str, Any] = {name: 10 + i for i, name in enumerate(INTEGER_FIELDS)}
    values |= {name: 0.1 * (i + 1) for i, name in enumerate(MEASURE_FIELDS)}
    values |= {"amount": amount, "co2_kg": co2_kg} | other
    columns: list[Any] = [
        np.full(n, series, np.int32),
        np.array([T0 + s for s in starts], np.int64),
        *(np.full(n, values[name], np.int64) for name in INTEGER_FIELDS),
        *(np.full(n, values[name], np.float64) for name in MEASURE_FIELDS),
    ]
    return IntervalColumns(*columns)


def commit_of(
    store: Store,
    rows: Iterable[R] = (),
    instant: Iterable[R] = (),
    intervals: IntervalColumns | None = None,
    receipts: dict[Source, tuple[tuple[int, int], ...]] | None = None,
    dirty: frozenset[DirtyDay] = frozenset(),
) -> Commit:
    return Commit(
        columns(store, rows),
        columns(store, instant, cumulative=False),
        intervals if intervals is not None else IntervalColumns.empty(),
        receipts or {},
        dirty,
    )


def series_of(store: Store, meter: str = "m1", channel: str = "energy_import") -> Any:
    return np.array([store.directory.series.add(SeriesKey(*SITE, meter, channel))], np.int32)


def point(of: Measurement, at: int, *, number: int = 7, absent: bool = False, **tags: str) -> Any:
    """Return a row of a measurement (ms from T0): all fields differ; tags are t0, t1 ..."""
    values: dict[str, Any] = {name: number + i for i, name in enumerate(of.integers)}
    values |= {name: number + 0.1 * (i + 1) for i, name in enumerate(of.floats)}
    values |= {name: f'{name} "{number}" \\ 铸' for name in of.texts}
    values |= dict.fromkeys(of.optional, None) if absent else {}
    return tuple(tags.get(name, f"t{i}") for i, name in enumerate(of.tags)), T0 + at, values


def points_of(store: Any, of: Measurement, low: int = 0, high: int = 10 * DAY, **where: Any) -> Any:
    return list(store.points(of, T0 + low, T0 + high, where).rows())


def read(
    store: Any, directory_of: Store, *, low: int = 0, high: int = 10 * DAY, **how: Any
) -> list[tuple[int, int]]:
    """Return (ms from T0, value) of m1's readings."""
    meter = how.pop("meter", "m1")
    found = store.readings(series_of(directory_of, meter), T0 + low, T0 + high, **how)
    return [(t - T0, v) for t, v in zip(found.time_ms.tolist(), found.value.tolist(), strict=True)]


def same(left: IntervalColumns, right: IntervalColumns) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype == np.float64) and a.dtype == b.dtype
        for a, b in zip(left.columns(), right.columns(), strict=True)
    )


class StoreSuite:
    @pytest.fixture
    def kit(self) -> Iterable[StoreKit]:
        raise NotImplementedError

    def test_readings_come_back_as_committed(self, kit):
        store = kit.open()
        result = store.commit(
            commit_of(
                store,
                [R(0, 100, quality=Quality.CLOCK), R(MINUTE, 150), R(0, 7, meter="m2")],
                [R(0, 1.5, channel="power", quality=Quality.RANGE), R(0, -0.1, channel="voltage")],
            )
        )
        assert (result.readings, result.refused) == (5, ())
        found = store.readings(series_of(store), T0, T0 + MINUTE)
        assert found.time_ms.tolist() == [T0, T0 + MINUTE]
        assert found.value.tolist() == [100, 150]
        assert found.value.dtype == np.int64
        assert found.quality.tolist() == [Quality.CLOCK, Quality.GOOD]
        assert found.seq.tolist() == [1, 1]
        assert store.directory.sources.key(found.source[0]).edge == "gw1"
        power = store.instant(series_of(store, channel="power"), T0, T0)
        assert (power.value.tolist(), power.quality.tolist()) == ([1.5], [Quality.RANGE])
        assert power.value.dtype == np.float64
        assert store.instant(series_of(store, channel="voltage"), T0, T0).value.tolist() == [-0.1]

    def test_several_series_are_sorted_by_series_then_time(self, kit):
        store = kit.open()
        store.commit(
            commit_of(store, [R(i * MINUTE, i, meter=f"m{i % 3}") for i in reversed(range(30))])
        )
        wanted = np.array([2, 0, 1, 2], np.int32)
        found = store.readings(wanted, T0, T0 + DAY)
        assert found.series.tolist() == [0] * 10 + [1] * 10 + [2] * 10
        order = np.lexsort((found.time_ms, found.series))
        assert (order == np.arange(30)).all()

    def test_several_channels_of_one_meter_share_a_time(self, kit):
        store = kit.open()
        rows = [R(0, i, channel=name) for i, name in enumerate(("energy_import", "volume", "heat"))]
        store.commit(commit_of(store, rows))
        for i, row in enumerate(rows):
            found = store.readings(series_of(store, channel=row.channel), T0, T0)
            assert found.value.tolist() == [i]

    def test_the_same_commit_again_changes_nothing(self, kit):
        def commit(store: Store) -> Commit:
            return commit_of(
                store,
                [R(0, 1), R(MINUTE, 2)],
                [R(0, 3.0, channel="power")],
                figures(store, [0, GRID_MS]),
                {Source(*SITE, "gw1", "00000000000000aa"): ((1, 1),)},
                frozenset({DirtyDay(*SITE, T0)}),
            )

        store = kit.open()
        for _ in range(3):
            assert store.commit(commit(store)).refused == ()
        store = kit.open()  # a restart forgets what the process knew
        store.commit(commit(store))
        assert read(store, store) == [(0, 1), (MINUTE, 2)]
        assert len(store.instant(series_of(store, channel="power"), T0, T0 + DAY).value) == 1
        found = store.intervals(Level.INTERVAL, series_of(store), T0, T0 + DAY)
        assert same(found, figures(store, [0, GRID_MS]))
        assert store.dirty_days() == {DirtyDay(*SITE, T0)}

    def test_out_of_order_readings_are_sorted_and_late_ones_found(self, kit):
        store = kit.open()
        for at in (5, 1, 9, 3, 0, 7):
            store.commit(commit_of(store, [R(at * MINUTE, at, seq=at + 1)]))
        assert [v for _, v in read(store, store)] == [0, 1, 3, 5, 7, 9]

    @pytest.mark.parametrize("turned", [False, True])
    def test_of_two_values_for_one_time_a_good_one_then_the_lower_outbox_then_seq_counts(
        self, kit, turned
    ):
        store = kit.open()
        rows = [
            R(0, 10, seq=7), R(0, 11, seq=6, quality=Quality.RANGE), R(0, 12, seq=8),
            R(MINUTE, 20, outbox="00000000000000ab", seq=1), R(MINUTE, 21, seq=900),
            R(2 * MINUTE, 30, edge="gw2", outbox="0000000000000001", seq=5),
            R(2 * MINUTE, 31, edge="gw1", seq=2),
        ]  # fmt: skip
        for row in reversed(rows) if turned else rows:
            store.commit(commit_of(store, [row]))
        assert read(store, store) == [(0, 10), (MINUTE, 21), (2 * MINUTE, 30)]
        found = store.readings(series_of(store), T0, T0)
        assert (found.seq.tolist(), found.quality.tolist()) == ([7], [Quality.GOOD])

    def test_every_version_of_a_reading_can_be_read(self, kit):
        store = kit.open()
        rows = [R(0, 10), R(0, 11, seq=2), R(MINUTE, 12), R(2 * MINUTE, 13)]
        store.commit(commit_of(store, rows))
        store.commit(commit_of(store, [R(0, 12, edge="gw2", outbox="0000000000000001")]))
        found = store.versions(series_of(store), T0, T0 + MINUTE)
        assert sorted(zip(found.time_ms.tolist(), found.value.tolist(), strict=True)) == [
            (T0, 10), (T0, 11), (T0, 12), (T0 + MINUTE, 12)
        ]  # fmt: skip

    def test_conflicting_values_inside_one_commit(self, kit):
        store = kit.open()
        store.commit(commit_of(store, [R(0, 12, seq=8), R(0, 10, seq=7), R(0, 11, seq=9)]))
        assert read(store, store) == [(0, 10)]

    def test_neighbours_are_found_however_far_away(self, kit):
        store = kit.open()
        times = [0, MINUTE, 2 * MINUTE, 40 * DAY, 40 * DAY + MINUTE, 200 * DAY, 201 * DAY]
        store.commit(commit_of(store, [R(at, i) for i, at in enumerate(times)]))
        low, high = 40 * DAY, 40 * DAY + MINUTE
        where = {"low": low, "high": high}

        def values(**how: Any) -> list[int]:
            return [v for _, v in read(store, store, **where, **how)]

        assert values() == [3, 4]
        assert values(before=1) == [2, 3, 4]
        assert values(before=2, after=1) == [1, 2, 3, 4, 5]
        assert values(before=99, after=99) == [0, 1, 2, 3, 4, 5, 6]
        assert [v for _, v in read(store, store, low=-DAY, high=-1, before=2, after=2)] == [0, 1]

    def test_duplicates_do_not_pass_for_neighbours(self, kit):
        store = kit.open()
        for seq in (3, 1, 2):
            store.commit(commit_of(store, [R(at * MINUTE, at, seq=seq) for at in range(5)]))
        found = read(store, store, low=3 * MINUTE, high=3 * MINUTE, before=2, after=1)
        assert [v for _, v in found] == [1, 2, 3, 4]

    def test_neighbours_can_be_counted_by_quality(self, kit):
        store = kit.open()
        bad = int(Quality.RANGE)
        qualities = [0, 0, bad, 0, bad, 0, bad, bad, 0, 0]
        store.commit(commit_of(store, [R(i * DAY, i, quality=q) for i, q in enumerate(qualities)]))
        found = read(
            store, store, low=5 * DAY, high=5 * DAY, before=2, after=1, counting=frozenset({0})
        )
        assert [v for _, v in found] == [1, 2, 3, 4, 5, 6, 7, 8]

    def test_integers_above_2_to_the_53_are_exact(self, kit):
        store = kit.open()
        big = 2**53 + 1
        store.commit(
            commit_of(
                store, [R(0, big), R(MINUTE, -big)], intervals=figures(store, [0], amount=2**62 + 1)
            )
        )
        assert read(store, store) == [(0, big), (MINUTE, -big)]
        found = store.intervals(Level.INTERVAL, series_of(store), T0, T0 + 1)
        assert found.amount.tolist() == [2**62 + 1]

    def test_intervals_are_replaced_by_key(self, kit):
        store = kit.open()
        store.commit(commit_of(store, intervals=figures(store, range(0, 10 * GRID_MS, GRID_MS))))
        store.commit(commit_of(store, intervals=figures(store, [GRID_MS], amount=5, received=3)))
        found = store.intervals(Level.INTERVAL, series_of(store), T0, T0 + 10 * GRID_MS)
        assert found.amount.tolist() == [1, 5] + [1] * 8
        assert found.received.tolist()[:2] == [16, 3]
        half_open = store.intervals(Level.INTERVAL, series_of(store), T0, T0 + GRID_MS)
        assert half_open.start_ms.tolist() == [T0]
        assert same(half_open, figures(store, [0]))

    def test_levels_do_not_mix(self, kit):
        store = kit.open()
        for i, level in enumerate(Level):
            store.write_intervals(level, figures(store, [0], amount=i))
        store.write_intervals(Level.DAY, figures(store, [0], amount=77))
        amounts = [
            store.intervals(level, series_of(store), T0, T0 + 1).amount.tolist() for level in Level
        ]
        assert amounts == [[0], [1], [77], [3]]

    def test_a_measure_may_become_undetermined_again(self, kit):
        store = kit.open()
        nan = float("nan")
        for co2_kg, cost_cny in ((nan, 1.0), (0.1 + 0.2, nan), (nan, nan)):
            fresh = figures(store, [0], co2_kg=co2_kg, cost_cny=cost_cny)
            store.commit(commit_of(store, intervals=fresh))
            found = store.intervals(Level.INTERVAL, series_of(store), T0, T0 + 1)
            assert same(found, fresh)

    def test_two_rows_of_one_key_are_refused(self, kit):
        store = kit.open()
        with pytest.raises(ColumnError, match="two rows"):
            store.commit(commit_of(store, intervals=figures(store, [0, 0])))

    def test_kinds_cannot_be_swapped(self):
        with pytest.raises(ColumnError):
            Commit(
                ReadingColumns.empty(cumulative=False),
                ReadingColumns.empty(cumulative=True),
                IntervalColumns.empty(),
                {},
                frozenset(),
            )

    def test_field_types_are_stable_whatever_the_values_look_like(self, kit):
        store = kit.open()
        # 0 and 1.0 print alike in many formats; a type must come from the catalogue, not from them
        for at, value in ((0, 0.0), (1, 1.0), (2, 1e300), (3, 5e-324), (4, -0.5)):
            result = store.commit(
                commit_of(
                    store,
                    [R(at, int(value) if abs(value) < 9 else 3)],
                    [R(at, value, channel="power")],
                    figures(store, [at * GRID_MS], co2_kg=value),
                )
            )
            assert result.refused == ()
        found = store.instant(series_of(store, channel="power"), T0, T0 + 9)
        assert found.value.tolist() == [0.0, 1.0, 1e300, 5e-324, -0.5]

    def test_verdicts_stand_until_they_are_withdrawn(self, kit):
        """Several rules may speak of one reading; one that is told again is there once."""
        store = kit.open()
        known = [figures(store, [0], meter=meter) for meter in ("m1", "m2")]
        rows = [R(0, 1), R(0, 2, meter="m2")]
        store.commit(commit_of(store, rows, intervals=IntervalColumns.concatenate(known)))
        one, two = (int(series_of(store, meter)[0]) for meter in ("m1", "m2"))
        spike = Verdict(one, T0, RuleId.SPIKE_AND_RETURN, -5, Outcome.LEFT_OUT)
        twice = Verdict(one, T0, RuleId.DUPLICATE_TIME, 2**52, Outcome.LEFT_OUT)
        later = Verdict(one, T0 + 1, RuleId.BACKWARD_STEP, 0, Outcome.HELD)
        other = Verdict(two, T0, RuleId.STUCK_REGISTER, 7, Outcome.FLAGGED)
        told = [later, other, twice, spike]
        for _ in range(2):
            result = store.commit(Commit.without_readings(verdicts=told))
            assert result.refused == ()
        store = kit.open()
        both = np.array([two, one], np.int32)
        assert list(store.verdicts(both, T0, T0 + 2)) == sorted(told, key=lambda v: v.key)
        assert list(store.verdicts(series_of(store), T0, T0 + 1)) == [twice, spike]
        assert list(store.verdicts(series_of(store), T0 + 1, T0 + DAY)) == [later]
        assert list(store.verdicts(series_of(store, "m3"), T0, T0 + DAY)) == []

        gone = spike._replace(outcome=Outcome.WITHDRAWN, value=0)
        for changed in (gone, twice._replace(value=3), gone):
            store.commit(Commit.without_readings(verdicts=[changed]))
        reader = store.reader()
        found = reader.verdicts(both, T0 - DAY, T0 + DAY)
        reader.close()
        assert list(found) == [twice._replace(value=3), later, other]
        store.commit(Commit.without_readings(verdicts=[spike]))
        store = kit.open()
        assert spike in store.verdicts(both, T0, T0 + 1)
        assert read(store, store) == [(0, 1)]

    def test_receipts_dirty_days_and_directory_survive_a_restart(self, kit):
        store = kit.open()
        one = Source(*SITE, "gw1", "00000000000000aa")
        two = Source(*SITE, "gw2", "00000000000000ab")
        day, other = DirtyDay(*SITE, T0), DirtyDay("370112", "hospital", T0 + DAY)
        store.commit(
            commit_of(
                store,
                [R(0, 1), R(MINUTE, 2, meter="m2")],
                intervals=figures(store, [0]),
                receipts={one: ((1, 5), (7, 7)), two: ((1, 2**40),)},
                dirty=frozenset({day, other}),
            )
        )
        store.commit(commit_of(store, receipts={one: ((1, 9),)}, dirty=frozenset({day})))
        store = kit.open()
        assert dict(store.receipts()) == {one: ((1, 9),), two: ((1, 2**40),)}
        assert store.dirty_days() == {day, other}
        assert store.directory.series.find(SeriesKey(*SITE, "m1", "energy_import")) >= 0
        assert {one, two} <= set(store.directory.sources.keys())
        assert read(store, store) == [(0, 1)]
        store.clear_dirty([day])
        assert store.dirty_days() == {other}
        store.clear_dirty([other])
        assert kit.open().dirty_days() == set()

    def test_a_register_without_figures_is_known_after_a_restart(self, kit):
        """It may be registered by then: what was read before must count with what comes."""
        store = kit.open()
        clock = int(Quality.CLOCK)
        rows = [R(0, 1), R(0, 5, meter="m2", quality=clock), R(0, 7, meter="m2", channel="heat")]
        store.commit(commit_of(store, rows, [R(0, 1.5, channel="power")], figures(store, [0])))
        store = kit.open()
        for meter, channel in (
            ("m1", "energy_import"), ("m2", "energy_import"), ("m2", "heat")
        ):  # fmt: skip
            assert store.directory.series.find(SeriesKey(*SITE, meter, channel)) >= 0
        assert read(store, store, meter="m2") == [(0, 5)]

    def test_a_cleared_day_can_become_dirty_again(self, kit):
        store = kit.open()
        day = DirtyDay(*SITE, T0)
        for _ in range(2):
            store.commit(commit_of(store, dirty=frozenset({day})))
            assert store.dirty_days() == {day}
            store.clear_dirty([day, DirtyDay(*SITE, T0 + DAY)])
            assert store.dirty_days() == frozenset()

    def test_last_times(self, kit):
        store = kit.open()
        store.commit(commit_of(store, [R(0, 1), R(70 * DAY, 2), R(MINUTE, 2, meter="m2")]))
        store.commit(commit_of(store, [R(MINUTE, 1)]))
        never = series_of(store, "m9")[0]
        last = store.last_times(np.array([never, 1, 0, 1], np.int32))
        assert last.tolist() == [NO_TIME, T0 + MINUTE, T0 + 70 * DAY, T0 + MINUTE]
        assert store.last_times(np.empty(0, np.int32)).tolist() == []

    def test_readings_around_a_month_border(self, kit):
        store = kit.open()
        # T0 is in November; the month changes in UTC 9 days and 16 hours later
        border = 9 * DAY + 16 * 60 * MINUTE
        store.commit(commit_of(store, [R(border + i * MINUTE, i + 9) for i in (-2, -1, 0, 1, 2)]))
        found = read(store, store, low=border - MINUTE, high=border, before=1, after=1)
        assert [v for _, v in found] == [7, 8, 9, 10]

    def test_all_of_time_may_be_asked_for(self, kit):
        """As the proof does: from the first to the last moment of the contract."""
        store = kit.open()
        store.commit(commit_of(store, [R(0, 5)], [R(0, 1.5, channel="power")], figures(store, [0])))
        series, always = series_of(store), (MIN_TIME_MS, MAX_TIME_MS)
        assert store.readings(series, *always, before=1, after=1).value.tolist() == [5]
        power = store.instant(series_of(store, channel="power"), *always)
        assert power.value.tolist() == [1.5]
        assert store.intervals(Level.INTERVAL, series, *always).start_ms.tolist() == [T0]

    def test_another_grid_is_refused(self, kit):
        kit.open(GRID_MS)
        with pytest.raises(StoreMismatch, match="300000"):
            kit.open(300_000)
        assert kit.open(GRID_MS).grid_ms == GRID_MS

    def test_nothing_asked_nothing_given(self, kit):
        store = kit.open()
        nothing = np.empty(0, np.int32)
        assert len(store.readings(nothing, T0, T0 + DAY, before=2, after=2)) == 0
        assert len(store.intervals(Level.DAY, nothing, T0, T0 + DAY)) == 0
        assert len(store.instant(nothing, T0, T0 + DAY).value) == 0
        assert len(store.readings(series_of(store), T0, T0 + DAY, before=2, after=2)) == 0
        assert store.commit(commit_of(store)).refused == ()
        assert store.receipts() == {}
        assert store.health().ok

    def test_a_thread_reads_while_another_writes(self, kit):
        store = kit.open()
        store.commit(commit_of(store, [R(0, 0)]))
        reader = store.reader()
        seen: list[int] = []
        trouble: list[BaseException] = []
        stop = threading.Event()

        def look() -> None:
            try:
                while not stop.is_set():
                    seen.append(len(read(reader, store)))
                    reader.intervals(Level.INTERVAL, series_of(store), T0, T0 + DAY)
            except BaseException as error:  # noqa: BLE001 - handed to the test's thread
                trouble.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for i in range(1, 60):
                # a new month now and then, so that tables appear under the reader
                at = i * MINUTE if i % 20 else i * 2 * DAY
                store.commit(commit_of(store, [R(at, i, seq=i)], intervals=figures(store, [at])))
        finally:
            stop.set()
            thread.join(20)
            reader.close()
        assert not trouble
        assert seen == sorted(seen)
        assert len(read(store, store, high=200 * DAY)) == 60

    @pytest.mark.parametrize("name", sorted(MEASUREMENTS))
    def test_points_are_upserted_by_tags_and_time(self, kit, name):
        of = MEASUREMENTS[name]
        store = kit.open()
        first, second = point(of, 0), point(of, 0, number=50, region="t9")
        later = point(of, MINUTE, number=-(2**60))
        store.write_points(Points.of_rows(of, [first, second, later, point(of, 0, number=3)]))
        replaced = point(of, 0, number=9)
        store.write_points(Points.of_rows(of, [replaced]))
        store = kit.open()
        assert points_of(store, of) == [replaced, later, second]
        assert points_of(store, of, high=1, region=["t9", "no"]) == [second]
        assert points_of(store, of, region=[]) == []
        assert points_of(store, of, low=1, high=MINUTE) == []
        many = [f"other-{i}" for i in range(80)]  # more than a query names
        assert points_of(store, of, region=[*many, "t9"]) == [second]
        reader = store.reader()
        try:
            assert points_of(reader, of) == [replaced, later, second]
        finally:
            reader.close()

    @pytest.mark.parametrize("name", sorted(n for n, of in MEASUREMENTS.items() if of.optional))
    def test_an_optional_field_is_absent_once_it_is_withdrawn(self, kit, name):
        of = MEASUREMENTS[name]
        store = kit.open()
        store.write_points(Points.of_rows(of, [point(of, 0)]))
        store.write_points(Points.of_rows(of, [point(of, 0, absent=True)]))
        assert points_of(store, of) == [point(of, 0, absent=True)]

    def test_a_tag_may_be_absent(self, kit):
        of = MEASUREMENTS["balance_day"]
        store = kit.open()
        rows = [point(of, 0, meter=""), point(of, 0, node="")]
        store.write_points(Points.of_rows(of, rows))
        assert points_of(store, of) == sorted(rows)
        assert points_of(store, of, meter=[""]) == [rows[0]]

    def test_points_can_be_asked_for_by_a_field_that_is_not_zero(self, kit):
        store, of = kit.open(), MEASUREMENTS["proof_day"]
        numbers = {DAY: 1, 2 * DAY: 0, 3 * DAY: 2, 40 * DAY: 1}
        told = []
        for at, due in numbers.items():
            tags, time_ms, row = point(of, at)
            told.append((tags, time_ms, row | {"due": due}))
        store.write_points(Points.of_rows(of, told))
        found = store.points(of, T0, T0 + 10 * DAY, {"site": [told[0][0][1]]}, nonzero="due")
        assert list(found.rows()) == [told[0], told[2]]

    def test_points_of_wrong_types_are_refused(self):
        of = MEASUREMENTS["plan"]
        tags, at, fields = point(of, 0)
        for wrong in ({"value": None}, {"value": float("inf")}, {"listed": 0.5}, {"no": 1}):
            with pytest.raises(ColumnError):
                Points.of_rows(of, [(tags, at, fields | wrong)])
        good = Points.of_rows(of, [(tags, at, fields)])
        swapped = dict(good.columns, listed=good.columns["value"])
        with pytest.raises(ColumnError, match="type"):
            Points(of, good.keys, good.key, good.time_ms, swapped)

    @settings(
        max_examples=12,
        deadline=None,
        # one test for all subclasses, each with its own kit, is what a suite is
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
        database=None,
    )
    @given(data=st.data())
    def test_any_order_duplication_and_split_reads_the_same(self, kit, data):
        rows = data.draw(
            st.lists(
                st.builds(
                    R,
                    at=st.integers(0, 6).map(lambda n: n * 7 * 60 * MINUTE),
                    value=st.integers(-5, 5),
                    quality=st.sampled_from([Quality.GOOD, Quality.RANGE]),
                    outbox=st.sampled_from(["00000000000000aa", "00000000000000ab"]),
                    seq=st.integers(1, 4),
                ),
                min_size=1,
                max_size=12,
                # a batch holds one value per time
                unique_by=lambda r: (r.at, r.outbox, r.seq),
            )
        )
        again = data.draw(st.permutations(rows + rows[: len(rows) // 2]))
        site = f"s{uuid.uuid4().hex}"  # examples share a database
        store = kit.open()
        for row in again:
            store.commit(commit_of(store, [replace(row, site=site)]))
        expected: dict[int, R] = {}
        for row in sorted(rows, key=lambda r: (r.quality == Quality.RANGE, r.outbox, r.seq)):
            expected.setdefault(row.at, row)
        series = np.array(
            [store.directory.series.add(SeriesKey(SITE[0], site, "m1", "energy_import"))], np.int32
        )
        low = 3 * 7 * 60 * MINUTE
        found = store.readings(series, T0 + low, T0 + low, before=99, after=99)
        assert [
            (t - T0, v, q)
            for t, v, q in zip(
                found.time_ms.tolist(), found.value.tolist(), found.quality.tolist(), strict=True
            )
        ] == [(at, row.value, row.quality) for at, row in sorted(expected.items())]
