"""Embedded store: one DuckDB file, owned by one process.

Layout (version 1)

* `store(grid_ms, layout)`: one row, written when the file is created.
* `series(id, region, site, meter, channel)`, `source(id, region, site, edge, outbox)`: the
  directory; an id is the index used in columns and never changes.
* `cumulative_YYYYMM(series, time_ms, value, quality, source, seq)`: readings as they came, int64
  micro-units; appended without key, settled on read. `instant_YYYYMM`: the same with DOUBLE. A
  month is one table (UTC), so that retention drops a table instead of deleting rows.
* `interval`, `hour`, `day`, `month`: figures, (series, start_ms) unique by construction: an upsert
  deletes and inserts in one transaction, and only one process writes. Rejected: PRIMARY KEY with
  INSERT OR REPLACE, which filled at 0.61 instead of 1.05 M rows/s, took 2.2 times the space and
  kept its index in memory; ON CONFLICT DO UPDATE was slower still at rewriting the head interval.
* `verdict(series, time_ms, rule, value, outcome)`: those that stand, keyed in the same way.
* `receipt(source, ranges)`, `dirty(region, site, day_ms)`.
* One table per measurement of `contract.stored.MEASUREMENTS`: its tags as text ("": no tag),
  `time_ms`, its fields; an optional field may be NULL. (tags, time_ms) is unique by construction.
  A file from before one of them gets it when it is opened.

Invariant: a commit is one transaction, so after a crash all of it is there or none.
"""

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import duckdb
import numpy as np

from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns
from aggregator.directory import Directory, SeriesKey, Source
from aggregator.points import ABSENT, Points
from aggregator.store.base import (
    NO_TIME,
    Commit,
    CommitResult,
    DirtyDay,
    Health,
    InstantColumns,
    Ranges,
    StoreMismatch,
    StoreOwned,
    StoreRefused,
    StoreRetriable,
    check_unique,
    decode_ranges,
    distinct,
    encode_ranges,
    settle,
)
from aggregator.store.neighbours import with_neighbours
from aggregator.verdict import Outcome, RuleId, Verdict
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS, MEASUREMENTS, Level, Measurement

LAYOUT = 1
_MAX_LISTED = 16
"""More series than these are joined with, not listed in a query."""
_RAW = "series INTEGER, time_ms BIGINT, value {kind}, quality UTINYINT, source INTEGER, seq BIGINT"
_RAW_COLUMNS = ("series", "time_ms", "value", "quality", "source", "seq")
_FIGURES = ", ".join(
    ["series INTEGER", "start_ms BIGINT"]
    + [f"{name} BIGINT" for name in INTEGER_FIELDS]
    + [f"{name} DOUBLE" for name in MEASURE_FIELDS]
)
_FIGURE_COLUMNS = ("series", "start_ms", *INTEGER_FIELDS, *MEASURE_FIELDS)
_SCHEMA = (
    "CREATE TABLE store(grid_ms BIGINT, layout INTEGER)",
    "CREATE TABLE series(id INTEGER, region TEXT, site TEXT, meter TEXT, channel TEXT)",
    "CREATE TABLE source(id INTEGER, region TEXT, site TEXT, edge TEXT, outbox TEXT)",
    "CREATE TABLE receipt(source INTEGER, ranges TEXT)",
    "CREATE TABLE dirty(region TEXT, site TEXT, day_ms BIGINT)",
    *(f"CREATE TABLE {level}({_FIGURES})" for level in Level),
)


def _layout(of: Measurement) -> str:
    columns = [f'"{name}" TEXT' for name in of.tags] + ["time_ms BIGINT"]
    columns += [f'"{name}" BIGINT' for name in of.integers]
    columns += [f'"{name}" DOUBLE' for name in of.floats]
    columns += [f'"{name}" TEXT' for name in of.texts]
    return f'CREATE TABLE "{of.name}"({", ".join(columns)})'


_VERDICTS = (
    "CREATE TABLE IF NOT EXISTS "
    "verdict(series INTEGER, time_ms BIGINT, rule TEXT, value BIGINT, outcome TEXT)"
)


class _Months:
    """Which monthly tables exist; replaced as a whole, so that readers see a consistent set."""

    def __init__(self, tables: Iterable[str] = ()) -> None:
        self.tables = frozenset(tables)

    def of(self, kind: str, from_ms: int, to_ms: int) -> list[str]:
        """Return the tables of a kind that may hold times in [from_ms, to_ms], oldest first."""
        low, high = (f"{kind}_{_month(time_ms)}" for time_ms in (from_ms, to_ms))
        return sorted(t for t in self.tables if t.startswith(kind + "_") and low <= t <= high)

    def all(self, kind: str) -> list[str]:
        """Return all tables of a kind, newest first."""
        return sorted((t for t in self.tables if t.startswith(kind + "_")), reverse=True)


def _month(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms").astype("datetime64[M]")).replace("-", "")


class EmbeddedReader:
    """Reads with a cursor of its own; DuckDB gives it a snapshot per query."""

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, directory: Directory, months: _Months
    ) -> None:
        self._cursor = cursor
        self._directory = directory
        self._months = months

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
        return with_neighbours(self._cumulative, series, from_ms, to_ms, before, after, counting)

    def versions(self, series: Int32, from_ms: int, to_ms: int) -> ReadingColumns:
        return self._raw("cumulative", distinct(series), from_ms, to_ms)

    def _cumulative(self, series: Int32, from_ms: int, to_ms: int) -> ReadingColumns:
        return settle(
            self._raw("cumulative", series, from_ms, to_ms), self._directory.outbox_rank()
        )

    def _raw(self, kind: str, series: Int32, from_ms: int, to_ms: int) -> ReadingColumns:
        tables = self._months.of(kind, from_ms, to_ms)
        if len(series) == 0 or not tables:
            return ReadingColumns.empty(cumulative=kind == "cumulative")
        columns = ", ".join(_RAW_COLUMNS)
        with _among(self._cursor, series) as among:
            chosen = f"time_ms BETWEEN {from_ms:d} AND {to_ms:d} AND {among}"
            query = " UNION ALL ".join(f"SELECT {columns} FROM {t} WHERE {chosen}" for t in tables)
            rows = _query(self._cursor, query)
        return ReadingColumns(*(rows[name] for name in _RAW_COLUMNS))

    def instant(self, series: Int32, from_ms: int, to_ms: int) -> InstantColumns:
        found = self._raw("instant", distinct(series), from_ms, to_ms)
        rows = settle(found, self._directory.outbox_rank())
        return InstantColumns(
            rows.series, rows.time_ms, rows.value.astype(np.float64), rows.quality
        )

    def intervals(self, level: Level, series: Int32, from_ms: int, to_ms: int) -> IntervalColumns:
        if len(series) == 0:
            return IntervalColumns.empty()
        measures = (f"coalesce({name}, 'nan'::DOUBLE) AS {name}" for name in MEASURE_FIELDS)
        columns = ", ".join(("series", "start_ms", *INTEGER_FIELDS, *measures))
        with _among(self._cursor, distinct(series)) as among:
            rows = _query(
                self._cursor,
                f"SELECT {columns} FROM {level} WHERE start_ms >= {from_ms:d} "
                f"AND start_ms < {to_ms:d} AND {among} ORDER BY series, start_ms",
            )
        return IntervalColumns(*(rows[name] for name in _FIGURE_COLUMNS))

    def verdicts(self, series: Int32, from_ms: int, to_ms: int) -> Sequence[Verdict]:
        if len(series) == 0:
            return []
        with _among(self._cursor, distinct(series)) as among:
            found = _rows(
                self._cursor,
                "SELECT series, time_ms, rule, value, outcome FROM verdict "
                f"WHERE time_ms >= {from_ms:d} AND time_ms < {to_ms:d} AND {among}",
            )
        told = (Verdict(s, t, RuleId(rule), v, Outcome(how)) for s, t, rule, v, how in found)
        return sorted(told, key=lambda verdict: verdict.key)

    def last_times(self, series: Int32) -> Int64:
        last = np.full(len(series), NO_TIME, np.int64)
        for table in self._months.all("cumulative"):
            lacking = distinct(series[last == NO_TIME])
            if len(lacking) == 0:
                break
            with _among(self._cursor, lacking) as among:
                rows = _query(
                    self._cursor,
                    f"SELECT series, max(time_ms) AS time_ms FROM {table} "
                    f"WHERE {among} GROUP BY series ORDER BY series",
                )
            if len(rows["series"]):
                at = np.searchsorted(rows["series"], series).clip(0, len(rows["series"]) - 1)
                fits = (rows["series"][at] == series) & (last == NO_TIME)
                last[fits] = rows["time_ms"][at][fits]
        return last

    def points(
        self,
        of: Measurement,
        from_ms: int,
        to_ms: int,
        where: Mapping[str, Collection[str]] = MappingProxyType({}),
        nonzero: str = "",
    ) -> Points:
        chosen = [f"time_ms >= {from_ms:d} AND time_ms < {to_ms:d}"]
        chosen += [f'"{nonzero}" <> 0'] if nonzero else []
        parameters: dict[str, list[str]] = {}
        for tag, values in where.items():
            if not values:
                return Points.empty(of)
            chosen.append(f'"{tag}" IN (SELECT unnest(${tag}))')
            parameters[tag] = sorted(values)
        tags = ", ".join(f'"{name}"' for name in of.tags)
        integers = ", ".join(f'coalesce("{name}", {ABSENT}) AS "{name}"' for name in of.integers)
        floats = ", ".join(f'coalesce("{name}", \'nan\'::DOUBLE) AS "{name}"' for name in of.floats)
        texts = ", ".join(f'"{name}"' for name in of.texts)
        columns = ", ".join(filter(None, (tags, "time_ms", integers, floats, texts)))
        rows = _query(
            self._cursor,
            f'SELECT {columns} FROM "{of.name}" WHERE {" AND ".join(chosen)} '
            f"ORDER BY {tags}, time_ms",
            parameters,
        )
        index: dict[tuple[str, ...], int] = {}
        tagged = zip(*(rows[name].tolist() for name in of.tags), strict=True)
        key = np.array([index.setdefault(tags, len(index)) for tags in tagged], np.int64)
        fields = {name: np.ma.getdata(rows[name]) for name in of.fields}
        return Points(of, tuple(index), key, rows["time_ms"], fields)

    def close(self) -> None:
        self._cursor.close()


class EmbeddedStore(EmbeddedReader):
    """The writer. `owner` is where this process can be asked, kept in the lock file."""

    def __init__(
        self,
        path: Path,
        grid_ms: int,
        *,
        owner: str = "",
        memory_limit: str = "1GB",
        threads: int = 2,
    ) -> None:
        self._path = path
        self._grid_ms = grid_ms
        self._owner = owner
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "threads": threads,
        }
        self._lock: TextIO | None = None
        self._stored_series = 0
        self._stored_sources = 0
        self._directory = Directory()
        self._months = _Months()

    @property
    def directory(self) -> Directory:
        return self._directory

    @property
    def grid_ms(self) -> int:
        return self._grid_ms

    @property
    def atomic(self) -> bool:
        return True

    def open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            self._cursor = duckdb.connect(str(self._path), config=self._config)
            self._load()
        except duckdb.Error as error:
            self.close()
            raise StoreRefused(f"{self._path}: cannot be opened: {error}") from error
        except StoreMismatch:
            self.close()
            raise

    def announce(self, owner: str) -> None:
        """Write into the lock file where this process can be asked."""
        if self._lock is None:
            raise StoreRefused(f"{self._path}: not open")
        self._owner = owner
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(f"pid {os.getpid()} {owner}".strip())
        self._lock.flush()

    def _take_lock(self) -> TextIO:
        path = self._path.with_name(self._path.name + ".lock")
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise StoreOwned(
                f"{self._path}: owned by another process ({owner}); ask that one, or stop it",
                owner,
            ) from error
        self._lock = file
        self.announce(self._owner)
        return file

    def _load(self) -> None:
        con = self._cursor
        tables = {
            row[0] for row in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }
        if "store" not in tables:
            with self._transaction():
                for statement in _SCHEMA:
                    con.execute(statement)
                con.execute("INSERT INTO store VALUES (?, ?)", [self._grid_ms, LAYOUT])
        con.execute(_VERDICTS)  # stores of before have none
        row = con.execute("SELECT grid_ms, layout FROM store").fetchone()
        if row != (self._grid_ms, LAYOUT):
            raise StoreMismatch(
                f"{self._path}: made with (grid_ms, layout) {row}, asked for "
                f"{(self._grid_ms, LAYOUT)}; the grid of a store never changes"
            )
        for name in MEASUREMENTS.keys() - tables:
            con.execute(_layout(MEASUREMENTS[name]))
        for key in con.execute("SELECT * EXCLUDE id FROM series ORDER BY id").fetchall():
            self._directory.series.add(SeriesKey(*key))
        for key in con.execute("SELECT * EXCLUDE id FROM source ORDER BY id").fetchall():
            self._directory.sources.add(Source(*key))
        self._stored_series = len(self._directory.series)
        self._stored_sources = len(self._directory.sources)
        self._months.tables = frozenset(t for t in tables if t[-6:].isdigit())

    def reader(self) -> EmbeddedReader:
        if self._lock is None:
            raise StoreRefused(f"{self._path}: not open")
        try:
            cursor = self._cursor.cursor()
        except duckdb.Error as error:  # closed by the writer just now
            raise _translated(self._path, error) from error
        return EmbeddedReader(cursor, self._directory, self._months)

    def commit(self, commit: Commit) -> CommitResult:
        check_unique(commit.intervals)
        tables = set(self._months.tables)
        sources = self._directory.sources.add_all(commit.receipts)
        with self._transaction():
            self._write_directory()
            for kind, columns in (
                ("cumulative", commit.cumulative),
                ("instant", commit.instantaneous),
            ):
                self._append(kind, columns, tables)
            self._upsert(Level.INTERVAL, commit.intervals)
            self._judge(commit.verdicts)
            if commit.receipts:
                ranges = [encode_ranges(ranges) for ranges in commit.receipts.values()]
                rows = {"source": sources, "ranges": np.array(ranges, np.object_)}
                self._insert(
                    "DELETE FROM receipt USING fresh WHERE receipt.source = fresh.source", rows
                )
                self._insert("INSERT INTO receipt FROM fresh", rows)
            if commit.dirty:
                self._drop_dirty(commit.dirty)
                self._insert("INSERT INTO dirty FROM fresh", _dirty_rows(commit.dirty))
        self._months.tables = frozenset(tables)
        self._stored_series = len(self._directory.series)
        self._stored_sources = len(self._directory.sources)
        return CommitResult(
            len(commit.cumulative) + len(commit.instantaneous), len(commit.intervals)
        )

    def write_intervals(self, level: Level, intervals: IntervalColumns) -> CommitResult:
        check_unique(intervals)
        with self._transaction():
            self._write_directory()
            self._upsert(level, intervals)
        self._stored_series = len(self._directory.series)
        self._stored_sources = len(self._directory.sources)
        return CommitResult(0, len(intervals))

    def write_points(self, points: Points) -> CommitResult:
        if len(points) == 0:
            return CommitResult(0, 0)
        points = points.settled()
        of = points.of
        rows: dict[str, Any] = {"time_ms": points.time_ms}
        for name, tags in zip(of.tags, zip(*points.keys, strict=True), strict=True):
            rows[name] = np.array(tags, np.object_)[points.key]
        rows |= points.columns
        key = (*of.tags, "time_ms")
        same = " AND ".join(f'old."{name}" = fresh."{name}"' for name in key)
        low, high = int(points.time_ms.min()), int(points.time_ms.max())
        values = [f'"{name}"' for name in key]
        values += [f'nullif("{name}", {ABSENT})' for name in of.integers]
        values += [f'CASE WHEN isnan("{name}") THEN NULL ELSE "{name}" END' for name in of.floats]
        values += [f'"{name}"' for name in of.texts]
        with self._transaction():
            self._insert(
                f'DELETE FROM "{of.name}" AS old USING fresh WHERE {same} '
                f"AND old.time_ms BETWEEN {low} AND {high}",
                rows,
            )
            self._insert(f'INSERT INTO "{of.name}" SELECT {", ".join(values)} FROM fresh', rows)
        return CommitResult(0, len(points))

    def receipts(self) -> Mapping[Source, Ranges]:
        rows = _rows(self._cursor, "SELECT source, ranges FROM receipt ORDER BY source")
        return {self._directory.sources.key(row[0]): decode_ranges(row[1]) for row in rows}

    def dirty_days(self) -> frozenset[DirtyDay]:
        rows = _rows(self._cursor, "SELECT region, site, day_ms FROM dirty")
        return frozenset(DirtyDay(*row) for row in rows)

    def clear_dirty(self, days: Iterable[DirtyDay]) -> None:
        with self._transaction():
            self._drop_dirty(list(days))

    def health(self) -> Health:
        try:
            with self._cursor.cursor() as cursor:  # the caller may be another thread
                cursor.execute("SELECT 1").fetchone()
        except (duckdb.Error, AttributeError) as error:
            return Health(ok=False, detail=f"{self._path}: {error}")
        return Health(ok=True, detail=str(self._path))

    def close(self) -> None:
        if hasattr(self, "_cursor"):
            self._cursor.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _append(self, kind: str, columns: ReadingColumns, tables: set[str]) -> None:
        if len(columns) == 0:
            return
        months = columns.time_ms.astype("datetime64[ms]").astype("datetime64[M]")
        for month in np.unique(months):
            table = f"{kind}_{str(month).replace('-', '')}"
            if table not in tables:
                layout = _RAW.format(kind="BIGINT" if kind == "cumulative" else "DOUBLE")
                self._cursor.execute(f"CREATE TABLE {table}({layout})")
                tables.add(table)
            part = columns.take(months == month)
            rows = dict(zip(_RAW_COLUMNS, part.columns(), strict=True))
            self._insert(f"INSERT INTO {table} FROM fresh", rows)

    def _upsert(self, level: Level, intervals: IntervalColumns) -> None:
        if len(intervals) == 0:
            return
        rows = dict(zip(_FIGURE_COLUMNS, intervals.columns(), strict=True))
        # The range is said twice because it lets DuckDB skip row groups, which the join does not.
        self._insert(
            f"DELETE FROM {level} USING fresh WHERE {level}.series = fresh.series "
            f"AND {level}.start_ms = fresh.start_ms AND {level}.start_ms "
            f"BETWEEN {int(intervals.start_ms.min())} AND {int(intervals.start_ms.max())}",
            rows,
        )
        values = ", ".join(
            ["series", "start_ms", *INTEGER_FIELDS]
            + [f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END" for name in MEASURE_FIELDS]
        )
        self._insert(f"INSERT INTO {level} SELECT {values} FROM fresh", rows)

    def _judge(self, verdicts: Sequence[Verdict]) -> None:
        if not verdicts:
            return
        self._insert(
            "DELETE FROM verdict USING fresh WHERE verdict.series = fresh.series "
            "AND verdict.time_ms = fresh.time_ms AND verdict.rule = fresh.rule",
            _verdict_rows(verdicts),
        )
        stand = [verdict for verdict in verdicts if verdict.outcome]
        if stand:
            self._insert("INSERT INTO verdict FROM fresh", _verdict_rows(stand))

    def _drop_dirty(self, days: AbstractSet[DirtyDay] | Sequence[DirtyDay]) -> None:
        if days:
            self._insert(
                "DELETE FROM dirty USING fresh WHERE dirty.region = fresh.region "
                "AND dirty.site = fresh.site AND dirty.day_ms = fresh.day_ms",
                _dirty_rows(days),
            )

    def _write_directory(self) -> None:
        for table, start, index, names in (
            ("series", self._stored_series, self._directory.series, SeriesKey._fields),
            ("source", self._stored_sources, self._directory.sources, Source._fields),
        ):
            keys = index.keys(start)
            if keys:
                rows: dict[str, Any] = {"id": np.arange(start, start + len(keys), dtype=np.int32)}
                for name, texts in zip(names, zip(*keys, strict=True), strict=True):
                    rows[name] = np.array(texts, np.object_)
                self._insert(f"INSERT INTO {table} FROM fresh", rows)

    def _insert(self, statement: str, rows: Mapping[str, Any]) -> None:
        self._cursor.register("fresh", dict(rows))
        try:
            self._cursor.execute(statement)
        finally:
            with suppress(duckdb.Error):  # an aborted transaction refuses this too: not the cause
                self._cursor.unregister("fresh")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        con = self._cursor
        try:
            con.execute("BEGIN")
            try:
                yield
            except BaseException:
                with suppress(duckdb.Error):  # DuckDB may have done so itself
                    con.execute("ROLLBACK")
                raise
            con.execute("COMMIT")
        except duckdb.Error as error:
            raise _translated(self._path, error) from error


def _translated(path: Path | str, error: duckdb.Error) -> StoreRetriable | StoreRefused:
    """A full disk or memory may pass; a statement that DuckDB rejects will not.

    With one writer nothing conflicts, so a commit that fails is one that could not be written.
    """
    passing = isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException) or (
        isinstance(error, duckdb.TransactionException) and "Failed to commit" in str(error)
    )
    if passing:
        return StoreRetriable(f"{path}: {error}")
    return StoreRefused(f"{path}: {error}")


def _query(
    cursor: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    try:
        return cursor.execute(query, dict(parameters or {})).fetchnumpy()
    except duckdb.Error as error:
        raise _translated("embedded store", error) from error


def _rows(cursor: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    try:
        return cursor.execute(query).fetchall()
    except duckdb.Error as error:
        raise _translated("embedded store", error) from error


@contextmanager
def _among(cursor: duckdb.DuckDBPyConnection, series: Int32) -> Iterator[str]:
    """Say that `series` is one of ascending indexes, as a range where they are dense.

    Many are joined with: 4000 of them take 25 ms to be parsed as a list, and 1 ms as a table.
    """
    low, high = int(series[0]), int(series[-1])
    if high - low + 1 == len(series):
        yield f"series BETWEEN {low} AND {high}"
    elif len(series) <= _MAX_LISTED:
        yield f"series IN ({', '.join(map(str, series.tolist()))})"
    else:
        try:
            cursor.register("wanted", {"series": series})
        except duckdb.Error as error:
            raise _translated("embedded store", error) from error
        try:
            yield (
                f"series BETWEEN {low} AND {high} AND series IN (SELECT w.series FROM wanted AS w)"
            )
        finally:
            with suppress(duckdb.Error):  # closed by another thread: not the cause
                cursor.unregister("wanted")


def _dirty_rows(days: Iterable[DirtyDay]) -> dict[str, Any]:
    regions, sites, starts = zip(*days, strict=True)
    return {
        "region": np.array(regions, np.object_),
        "site": np.array(sites, np.object_),
        "day_ms": np.array(starts, np.int64),
    }


def _verdict_rows(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    series, times, named, values, outcomes = zip(*verdicts, strict=True)
    return {
        "series": np.array(series, np.int32),
        "time_ms": np.array(times, np.int64),
        "rule": np.array([str(rule) for rule in named], np.object_),
        "value": np.array(values, np.int64),
        "outcome": np.array([str(outcome) for outcome in outcomes], np.object_),
    }
