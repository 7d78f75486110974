"""The Store protocol in the most obvious way: the reference that keeps the suite honest."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns
from aggregator.directory import Directory, Source
from aggregator.points import Points
from aggregator.store.base import (
    NO_TIME,
    Commit,
    CommitResult,
    DirtyDay,
    Health,
    InstantColumns,
    Ranges,
    StoreMismatch,
    check_unique,
)
from aggregator.verdict import Verdict
from contract.reading import COUNTING_CODES, Quality
from contract.stored import Level, Measurement

Row = tuple[Any, ...]


@dataclass
class MemoryDatabase:
    """What survives the store object."""

    grid_ms: int = 0
    directory: Directory = field(default_factory=Directory)
    cumulative: set[Row] = field(default_factory=set)
    instant: set[Row] = field(default_factory=set)
    figures: dict[Level, dict[tuple[int, int], Row]] = field(
        default_factory=lambda: {level: {} for level in Level}
    )
    receipts: dict[Source, Ranges] = field(default_factory=dict)
    dirty: set[DirtyDay] = field(default_factory=set)
    points: dict[tuple[str, tuple[str, ...], int], dict[str, Any]] = field(default_factory=dict)
    verdicts: dict[tuple[int, int, int], Verdict] = field(default_factory=dict)


class MemoryStore:
    def __init__(self, database: MemoryDatabase, grid_ms: int) -> None:
        self._db = database
        self.grid_ms = grid_ms

    @property
    def directory(self) -> Directory:
        return self._db.directory

    @property
    def atomic(self) -> bool:
        return True

    def open(self) -> None:
        if self._db.grid_ms not in (0, self.grid_ms):
            raise StoreMismatch(f"grid {self._db.grid_ms}, asked for {self.grid_ms}")
        self._db.grid_ms = self.grid_ms

    def reader(self) -> "MemoryStore":
        return self

    def close(self) -> None:
        pass

    def health(self) -> Health:
        return Health(ok=True, detail="memory")

    def commit(self, commit: Commit) -> CommitResult:
        check_unique(commit.intervals)
        self._db.cumulative |= _tuples(commit.cumulative)
        self._db.instant |= _tuples(commit.instantaneous)
        self._upsert(Level.INTERVAL, commit.intervals)
        for source, ranges in commit.receipts.items():
            self.directory.sources.add(source)
            self._db.receipts[source] = ranges
        self._db.dirty |= commit.dirty
        self._db.verdicts |= {verdict.key: verdict for verdict in commit.verdicts}
        return CommitResult(
            len(commit.cumulative) + len(commit.instantaneous), len(commit.intervals)
        )

    def write_intervals(self, level: Level, intervals: IntervalColumns) -> CommitResult:
        check_unique(intervals)
        self._upsert(level, intervals)
        return CommitResult(0, len(intervals))

    def write_points(self, points: Points) -> CommitResult:
        for tags, time_ms, fields in points.rows():
            self._db.points[points.of.name, tags, time_ms] = fields
        return CommitResult(0, len(points))

    def points(
        self,
        of: Measurement,
        from_ms: int,
        to_ms: int,
        where: Mapping[str, Collection[str]] = MappingProxyType({}),
        nonzero: str = "",
    ) -> Points:
        return Points.of_rows(
            of,
            (
                (tags, time_ms, fields)
                for (name, tags, time_ms), fields in sorted(
                    self._db.points.items(), key=lambda item: item[0]
                )
                if name == of.name
                and from_ms <= time_ms < to_ms
                and all(tags[of.tags.index(tag)] in values for tag, values in where.items())
                and (not nonzero or fields[nonzero])
            ),
        )

    def _upsert(self, level: Level, intervals: IntervalColumns) -> None:
        for row in zip(*(column.tolist() for column in intervals.columns()), strict=True):
            self._db.figures[level][row[0], row[1]] = row

    def _settled(self, rows: set[Row]) -> dict[int, list[Row]]:
        """Per series its readings by time, one per time."""
        best: dict[tuple[int, int], tuple[Any, Row]] = {}
        for row in list(rows):  # a copy: another thread may write
            series, time_ms, value, quality, source, seq = row
            key = self.directory.sources.key(source)
            poll = quality != Quality.FREEZE
            order = (quality not in COUNTING_CODES, not poll, key.outbox, key, seq, quality, value)
            if (series, time_ms) not in best or order < best[series, time_ms][0]:
                best[series, time_ms] = (order, row)
        lines: dict[int, list[Row]] = {}
        for at in sorted(best):
            lines.setdefault(at[0], []).append(best[at][1])
        return lines

    def readings(
        self,
        series: Int32,
        from_ms: int,
        to_ms: int,
        *,
        before: int = 0,
        after: int = 0,
        counting: AbstractSet[int] | None = None,
    ) -> ReadingColumns:
        chosen: list[Row] = []
        lines = self._settled(self._db.cumulative)
        for one in sorted(set(series.tolist())):
            line = lines.get(one, [])
            low, need = 0, before
            earlier = [row for row in line if row[1] < from_ms]
            for low in range(len(earlier), -1, -1):
                if need == 0 or low == 0:
                    break
                need -= counting is None or earlier[low - 1][3] in counting
            chosen += earlier[low:]
            chosen += [row for row in line if from_ms <= row[1] <= to_ms]
            need = after
            for row in (row for row in line if row[1] > to_ms):
                if need == 0:
                    break
                chosen.append(row)
                need -= counting is None or row[3] in counting
        return _columns(chosen, np.int64)

    def versions(self, series: Int32, from_ms: int, to_ms: int) -> ReadingColumns:
        wanted = set(series.tolist())
        rows = [r for r in list(self._db.cumulative) if r[0] in wanted and from_ms <= r[1] <= to_ms]
        return _columns(rows, np.int64)

    def instant(self, series: Int32, from_ms: int, to_ms: int) -> InstantColumns:
        lines = self._settled(self._db.instant)
        rows = _columns(
            [
                row
                for one in sorted(set(series.tolist()))
                for row in lines.get(one, [])
                if from_ms <= row[1] <= to_ms
            ],
            np.float64,
        )
        return InstantColumns(
            rows.series, rows.time_ms, rows.value.astype(np.float64), rows.quality
        )

    def intervals(self, level: Level, series: Int32, from_ms: int, to_ms: int) -> IntervalColumns:
        wanted = set(series.tolist())
        rows = [
            row
            for (one, start), row in sorted(self._db.figures[level].items())
            if one in wanted and from_ms <= start < to_ms
        ]
        empty = IntervalColumns.empty()
        if not rows:
            return empty
        return IntervalColumns(
            *(
                np.array(column, like.dtype)
                for column, like in zip(zip(*rows, strict=True), empty.columns(), strict=True)
            )
        )

    def verdicts(self, series: Int32, from_ms: int, to_ms: int) -> Sequence[Verdict]:
        return [
            verdict
            for key, verdict in sorted(self._db.verdicts.items())
            if key[0] in series and from_ms <= key[1] < to_ms and verdict.outcome
        ]

    def last_times(self, series: Int32) -> Int64:
        lines = self._settled(self._db.cumulative)
        return np.array(
            [lines[one][-1][1] if one in lines else NO_TIME for one in series.tolist()], np.int64
        )

    def receipts(self) -> Mapping[Source, Ranges]:
        return dict(self._db.receipts)

    def dirty_days(self) -> frozenset[DirtyDay]:
        return frozenset(self._db.dirty)

    def clear_dirty(self, days: Iterable[DirtyDay]) -> None:
        self._db.dirty -= set(days)


def _tuples(columns: ReadingColumns) -> set[Row]:
    return set(zip(*(column.tolist() for column in columns.columns()), strict=True))


def _columns(rows: list[Row], value: type[np.generic]) -> ReadingColumns:
    series, times, values, qualities, sources, seqs = zip(*rows, strict=True) if rows else [()] * 6
    return ReadingColumns(
        np.array(series, np.int32),
        np.array(times, np.int64),
        np.array(values, value),
        np.array(qualities, np.uint8),
        np.array(sources, np.int32),
        np.array(seqs, np.int64),
    )
