"""What the InfluxDB stores share: order of writes, refused lines, queries in InfluxQL.

A commit is not one transaction here, so order makes it safe: readings, dirty marks and verdicts,
then intervals, then receipts. A crash in between leaves batches unacknowledged; they come again and
every line falls on itself or beside itself (see line_protocol).

A withdrawn measure: InfluxDB merges fields, so a NaN cannot overwrite a number. Each figure
carries `determined`, whose bits say which measures the latest write knew; the others are read as
NaN whatever field still stands in the point.

A withdrawn verdict is written over with an empty outcome: not every server can delete a point.

Receipts and the grid stand at time 0, dirty marks at their day: the database (1.x) or bucket
(2.x, 3.x) must keep data for ever.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any

import httpx
import numpy as np

from aggregator.batch import Int32, Int64, IntervalColumns, ReadingColumns
from aggregator.directory import Directory, SeriesKey, Source
from aggregator.points import Points
from aggregator.store.base import (
    NO_TIME,
    Commit,
    CommitResult,
    DirtyDay,
    Health,
    InstantColumns,
    Ranges,
    Refused,
    StoreError,
    StoreMismatch,
    StoreRefused,
    StoreRetriable,
    check_unique,
    decode_ranges,
    distinct,
    settle,
)
from aggregator.store.line_protocol import (
    NS_PER_MS,
    LineEncoder,
    check_tags,
    dirty_lines,
    receipt_lines,
)
from aggregator.store.neighbours import with_neighbours
from aggregator.store.point_lines import point_lines, point_query, points_of
from aggregator.verdict import Outcome, RuleId, Verdict
from contract.channels import catalogue
from contract.stored import (
    DETERMINED,
    DIRTY,
    GRID,
    GRID_MS,
    INTEGER_FIELDS,
    MEASURE_FIELDS,
    OPEN,
    QUALITY_SUFFIX,
    RANGES,
    READING,
    RECEIPT,
    SEQ,
    VERDICT,
    VERDICT_FIELDS,
    Level,
    Measurement,
)

TIMEOUT_S = 30.0
_OF_ALL_TIMEOUT_S = 600.0
"""For what is asked once, at the start, of all series: half a minute for 100 000 meters."""
_LINES_PER_WRITE = 20_000
_MAX_REFUSED = 200
"""More refused lines than this in one write is not bad data but a database of another layout."""
_MAX_NAMED_METERS = 50
"""Beyond this a query asks for the whole site: long OR chains cost more than they save."""
_STATEMENTS_PER_QUERY = 100
_END_OF_TIME_MS = (2**63 - 1) // NS_PER_MS
"""The server counts int64 nanoseconds, to 2262, and refuses a query that names a later time."""
_METER_TAGS = '"region", "site", "meter"'
_READING_TAGS = '"region", "site", "meter", "edge", "outbox"'
_FIGURE_COLUMNS = (*INTEGER_FIELDS, *MEASURE_FIELDS, DETERMINED)

Series = Mapping[str, Any]
"""One series of an InfluxQL answer: `tags`, `columns`, `values`."""


class ContentRefused(Exception):  # noqa: N818 - becomes Refused, never leaves the store
    """The server rejected something in the body; in 1.x it has stored the rest."""


class NotAllowed(StoreRetriable):
    """The server does not know us, or not our right to ask this: a right may be given yet."""


_WRONG_QUERY = re.compile(
    r"pars|unsupported|not supported|invalid|undefined|incompatible|mixing|\bexpected|\btype\b",
    re.IGNORECASE,
)
"""What InfluxQL says of a query that it will never answer. The rest may pass: a timeout, a limit
on queries, a shard that is disabled, an engine that is closed, a database not there yet."""


def _failure(reason: str, message: str) -> StoreError:
    if "error authorizing" in reason:
        return NotAllowed(message)
    return StoreRefused(message) if _WRONG_QUERY.search(reason) else StoreRetriable(message)


class InfluxQuery:
    """InfluxQL over HTTP: the one query language that 1.x, 2.x and 3.x speak."""

    def __init__(self, url: str, database: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self.database = database
        self.client = httpx.Client(
            base_url=url, headers=dict(headers), timeout=TIMEOUT_S, trust_env=False
        )

    def rows(
        self, statements: Sequence[str], epoch: str, timeout_s: float = TIMEOUT_S
    ) -> Iterator[Series]:
        """Yield the series of all answers; times in the unit `epoch` (ms, ns)."""
        for start in range(0, len(statements), _STATEMENTS_PER_QUERY):
            query = ";".join(statements[start : start + _STATEMENTS_PER_QUERY])
            form = {"db": self.database, "q": query, "epoch": epoch}
            answer = self._post(form, timeout_s)
            for result in answer.get("results", ()):
                if "error" in result:
                    raise _failure(result["error"], f"{self.url}: {result['error']}: {query[:200]}")
                yield from result.get("series", ())

    def _post(self, form: Mapping[str, str], timeout_s: float) -> Any:
        try:
            response = self.client.post("/query", data=dict(form), timeout=timeout_s)
        except httpx.HTTPError as error:
            raise StoreRetriable(f"{self.url}/query: {error!r}") from error
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise StoreRefused(f"{self.url}/query: {response.text[:500]}: {form['q'][:200]}")
        if not response.is_success:
            message = f"{self.url}/query: HTTP {response.status_code} {response.text[:200]}"
            if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise NotAllowed(message)
            raise StoreRetriable(message)
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise StoreRetriable(f"{self.url}/query: cut off: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class InfluxReader:
    """Reads through a connection of its own.

    The server writes a point field by field: a reader beside the writer may meet a point half
    there. Such a point is left out; it is whole before its commit returns.
    """

    def __init__(self, query: InfluxQuery, directory: Directory) -> None:
        self._query = query
        self._directory = directory

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
        return self._raw(distinct(series), from_ms, to_ms, np.int64)

    def _cumulative(self, series: Int32, from_ms: int, to_ms: int) -> ReadingColumns:
        return settle(self._raw(series, from_ms, to_ms, np.int64), self._directory.outbox_rank())

    def _raw(
        self, series: Int32, from_ms: int, to_ms: int, value: type[np.generic]
    ) -> ReadingColumns:
        statements = []
        for where, channels in self._sites(series):
            fields = ", ".join(f'"{name}", "{name}{QUALITY_SUFFIX}"' for name in channels)
            statements.append(
                f'SELECT "{SEQ}", {fields} FROM "{READING}" WHERE {where} '
                f"AND {_span(from_ms, to_ms + 1)} GROUP BY {_READING_TAGS}"
            )
        wanted = set(series.tolist())
        parts = []
        for found in self._query.rows(statements, "ns"):
            tags, names = found["tags"], found["columns"]
            source = self._directory.sources.add(
                Source(tags["region"], tags["site"], tags["edge"], tags["outbox"])
            )
            table = list(zip(*found["values"], strict=True))
            time_ms = np.array(table[0], np.int64) // NS_PER_MS
            seq = table[1]
            for column in range(2, len(names), 2):
                key = SeriesKey(tags["region"], tags["site"], tags["meter"], names[column])
                index = self._directory.series.find(key)
                if index not in wanted:
                    continue
                values = table[column]
                rows = [i for i, v in enumerate(values) if v is not None and seq[i] is not None]
                parts.append(
                    ReadingColumns(
                        np.full(len(rows), index, np.int32),
                        time_ms[rows],
                        np.array([values[i] for i in rows], value),
                        np.array([table[column + 1][i] or 0 for i in rows], np.uint8),
                        np.full(len(rows), source, np.int32),
                        np.array([seq[i] for i in rows], np.int64),
                    )
                )
        if not parts:
            return ReadingColumns.empty(cumulative=value is np.int64)
        return ReadingColumns.concatenate(parts)

    def instant(self, series: Int32, from_ms: int, to_ms: int) -> InstantColumns:
        found = self._raw(distinct(series), from_ms, to_ms, np.float64)
        rows = settle(found, self._directory.outbox_rank())
        return InstantColumns(
            rows.series, rows.time_ms, rows.value.astype(np.float64), rows.quality
        )

    def intervals(self, level: Level, series: Int32, from_ms: int, to_ms: int) -> IntervalColumns:
        fields = ", ".join(f'"{name}"' for name in _FIGURE_COLUMNS)
        statements = []
        for where, channels in self._sites(distinct(series)):
            among = " OR ".join(f"\"channel\" = '{name}'" for name in channels)
            statements.append(
                f'SELECT {fields} FROM "{level}" WHERE {where} AND ({among}) '
                f"AND {_span(from_ms, to_ms)} "
                f'GROUP BY {_METER_TAGS}, "channel"'
            )
        wanted = set(series.tolist())
        parts = []
        for found in self._query.rows(statements, "ms"):
            index = self._directory.series.find(SeriesKey(**found["tags"]))
            if index in wanted:
                parts.append(_figures(index, found["values"]))
        if not parts:
            return IntervalColumns.empty()
        figures = IntervalColumns.concatenate(parts)
        return figures.take(np.lexsort((figures.start_ms, figures.series)))

    def verdicts(self, series: Int32, from_ms: int, to_ms: int) -> Sequence[Verdict]:
        fields = ", ".join(f'"{name}"' for name in VERDICT_FIELDS)
        statements = [
            f'SELECT {fields} FROM "{VERDICT}" WHERE {where} AND {_span(from_ms, to_ms)} '
            f'GROUP BY {_METER_TAGS}, "channel"'
            for where, _ in self._sites(distinct(series))
        ]
        wanted = set(series.tolist())
        told = []
        for found in self._query.rows(statements, "ns"):
            index = self._directory.series.find(SeriesKey(**found["tags"]))
            if index not in wanted:
                continue
            for time_ns, rule, value, outcome in found["values"]:
                if outcome and rule is not None and value is not None:
                    how = Outcome(outcome)
                    told.append(Verdict(index, time_ns // NS_PER_MS, RuleId(rule), value, how))
        return sorted(told, key=lambda verdict: verdict.key)

    def last_times(self, series: Int32) -> Int64:
        statements = [
            f'SELECT last("{channel}") AS "{channel}" FROM "{READING}" WHERE {where} '
            f"GROUP BY {_METER_TAGS}"
            for where, channels in self._sites(distinct(series))
            for channel in channels
        ]
        last: dict[int, int] = {}
        for found in self._query.rows(statements, "ns"):
            key = SeriesKey(**found["tags"], channel=found["columns"][1])
            last[self._directory.series.find(key)] = found["values"][0][0] // NS_PER_MS
        return np.array([last.get(index, NO_TIME) for index in series.tolist()], np.int64)

    def points(
        self,
        of: Measurement,
        from_ms: int,
        to_ms: int,
        where: Mapping[str, Collection[str]] = MappingProxyType({}),
        nonzero: str = "",
    ) -> Points:
        if not all(where.values()):
            return Points.empty(of)
        among = f' AND "{nonzero}" != 0' if nonzero else ""
        query = point_query(of, where, _span(from_ms, to_ms) + among)
        return points_of(of, self._query.rows([query], "ms"), where)

    def _sites(self, series: Int32) -> Iterator[tuple[str, list[str]]]:
        """Yield per site a condition on tags, and the channels asked for, in order."""
        sites: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
        for index in series.tolist():
            key = self._directory.series.key(index)
            check_tags(key)
            meters, channels = sites.setdefault((key.region, key.site), ({}, {}))
            meters[key.meter] = None
            channels[key.channel] = None
        for (region, site), (meters, channels) in sites.items():
            where = f"\"region\" = '{region}' AND \"site\" = '{site}'"
            if len(meters) <= _MAX_NAMED_METERS:
                among = " OR ".join(f"\"meter\" = '{meter}'" for meter in meters)
                where += f" AND ({among})"
            yield where, sorted(channels)

    def close(self) -> None:
        self._query.close()


def _span(from_ms: int, to_ms: int) -> str:
    """Say that a time lies in [from_ms, to_ms)."""
    low, high = (max(-_END_OF_TIME_MS, min(ms, _END_OF_TIME_MS)) for ms in (from_ms, to_ms))
    return f"time >= {low}ms AND time < {high}ms"


def _is_whole(row: Sequence[Any]) -> bool:
    """Tell whether a point has all integer fields and every measure that it says it has."""
    _, *values, determined = row
    integers, measures = values[: len(INTEGER_FIELDS)], values[len(INTEGER_FIELDS) :]
    return (
        determined is not None
        and None not in integers
        and all(value is not None or not determined >> i & 1 for i, value in enumerate(measures))
    )


def _figures(index: int, values: Sequence[Sequence[Any]]) -> IntervalColumns:
    values = [row for row in values if _is_whole(row)]
    if not values:
        return IntervalColumns.empty()
    start, *table = zip(*values, strict=True)
    integers = [np.array(column, np.int64) for column in table[: len(INTEGER_FIELDS)]]
    start_ms = np.array(start, np.int64)
    determined = np.array(table[-1], np.int64)
    measures = []
    for bit, column in enumerate(table[len(INTEGER_FIELDS) : -1]):
        measure = np.array(column, np.float64)  # null becomes NaN
        measure[determined >> bit & 1 == 0] = np.nan
        measures.append(measure)
    series = np.full(len(values), index, np.int32)
    columns: list[Any] = [series, start_ms, *integers, *measures]
    return IntervalColumns(*columns)


class InfluxStore(InfluxReader, ABC):
    """The writer, but for the one call that hands bytes to a server of a certain version."""

    def __init__(self, url: str, database: str, grid_ms: int, headers: Mapping[str, str]) -> None:
        super().__init__(InfluxQuery(url, database, headers), Directory())
        self._headers = headers
        self._grid_ms = grid_ms
        self._encoder = LineEncoder(self._directory)

    @abstractmethod
    def _create(self) -> None:
        """Create the database when the server lets us and it is absent."""

    @abstractmethod
    def _write(self, body: bytes, precision: str) -> None:
        """Write lines; StoreRetriable, or ContentRefused for HTTP 400, 413 and 422."""

    @property
    def directory(self) -> Directory:
        return self._directory

    @property
    def grid_ms(self) -> int:
        return self._grid_ms

    @property
    def atomic(self) -> bool:
        return False

    def open(self) -> None:
        self._create()
        grids = [
            found["values"][0][1] for found in self._select(f'SELECT "{GRID_MS}" FROM "{GRID}"')
        ]
        if grids and grids[0] != self._grid_ms:
            raise StoreMismatch(
                f"{self._query.url} {self._query.database}: made with grid_ms {grids[0]}, asked "
                f"for {self._grid_ms}; the grid of a store never changes"
            )
        if not grids:
            self._write(f"{GRID} {GRID_MS}={self._grid_ms}i 0".encode(), "ms")
        for found in self._of_all(f'SELECT last("expected") FROM "{Level.INTERVAL}" GROUP BY *'):
            self._directory.series.add(SeriesKey(**found["tags"]))
        self._list_without_figures()
        for source in self.receipts():
            self._directory.sources.add(source)
        heads = {}
        for found in self._of_all(f'SELECT last("{SEQ}") FROM "{READING}" GROUP BY *', "ns"):
            tags = found["tags"]
            region, site = tags["region"], tags["site"]
            index = self._directory.sources.add(Source(region, site, tags["edge"], tags["outbox"]))
            key = self._encoder.line_key((region, site, tags["meter"]), index)
            heads[key] = found["values"][0][0] // NS_PER_MS
        self._encoder.remember(heads)

    def _list_without_figures(self) -> None:
        """List registers that were read but never counted: not registered, or under no clock."""
        answer = self._select(f'SHOW FIELD KEYS FROM "{READING}"')
        fields = {name for found in answer for name, _ in found["values"]}
        names = [name for name, channel in catalogue().items() if channel.cumulative]
        chosen = [name for name in names if name in fields]
        if not chosen:
            return
        # All of them at once takes no longer than one.
        lasts = ", ".join(f'last("{name}")' for name in chosen)
        for found in self._of_all(f'SELECT {lasts} FROM "{READING}" GROUP BY {_METER_TAGS}'):
            for name, value in zip(chosen, found["values"][0][1:], strict=True):
                if value is not None:
                    self._directory.series.add(SeriesKey(**found["tags"], channel=name))

    def _of_all(self, statement: str, epoch: str = "ms") -> Iterator[Series]:
        """Ask what a city's series take long to answer."""
        return self._query.rows([statement], epoch, _OF_ALL_TIMEOUT_S)

    def _select(self, statement: str, epoch: str = "ms") -> Iterator[Series]:
        return self._query.rows([statement], epoch)

    def reader(self) -> InfluxReader:
        query = InfluxQuery(self._query.url, self._query.database, self._headers)
        return InfluxReader(query, self._directory)

    def commit(self, commit: Commit) -> CommitResult:
        check_unique(commit.intervals)
        wide = self._encoder.readings(commit.cumulative, commit.instantaneous)
        figures = self._encoder.figures(Level.INTERVAL, commit.intervals)
        marks = dirty_lines(commit.dirty, is_open=True)
        verdicts = self._encoder.verdicts(commit.verdicts)
        refused = self._write_lines([*marks, *wide.lines, *verdicts], "ns")
        refused += self._write_lines(figures, "ms")
        refused += self._write_lines(receipt_lines(commit.receipts), "ms")
        # Only now: a repeated commit must give the same stamps as the one that failed half-way.
        self._encoder.remember(wide.heads)
        return CommitResult(
            len(commit.cumulative) + len(commit.instantaneous),
            len(commit.intervals),
            tuple(refused),
        )

    def write_intervals(self, level: Level, intervals: IntervalColumns) -> CommitResult:
        check_unique(intervals)
        refused = self._write_lines(self._encoder.figures(level, intervals), "ms")
        return CommitResult(0, len(intervals), tuple(refused))

    def write_points(self, points: Points) -> CommitResult:
        refused = self._write_lines(point_lines(points.settled()), "ms")
        return CommitResult(0, len(points), tuple(refused))

    def receipts(self) -> Mapping[Source, Ranges]:
        return {
            Source(**found["tags"]): decode_ranges(found["values"][-1][1])
            for found in self._select(f'SELECT "{RANGES}" FROM "{RECEIPT}" GROUP BY *')
        }

    def dirty_days(self) -> frozenset[DirtyDay]:
        answer = self._select(f'SELECT "{OPEN}" FROM "{DIRTY}" WHERE "{OPEN}" = 1 GROUP BY *')
        return frozenset(
            DirtyDay(found["tags"]["region"], found["tags"]["site"], row[0])
            for found in answer
            for row in found["values"]
        )

    def clear_dirty(self, days: Iterable[DirtyDay]) -> None:
        self._write_lines(dirty_lines(days, is_open=False), "ns")

    def health(self) -> Health:
        query = InfluxQuery(self._query.url, self._query.database, self._headers)
        try:
            list(query.rows([f'SELECT "{GRID_MS}" FROM "{GRID}"'], "ms"))
        except StoreError as error:
            return Health(ok=False, detail=str(error))
        finally:
            query.close()
        return Health(ok=True, detail=f"{self._query.url} {self._query.database}")

    def _write_lines(self, lines: Sequence[str], precision: str) -> list[Refused]:
        refused: list[Refused] = []
        for start in range(0, len(lines), _LINES_PER_WRITE):
            self._write_or_split(lines[start : start + _LINES_PER_WRITE], precision, refused)
        return refused

    def _write_or_split(self, lines: Sequence[str], precision: str, refused: list[Refused]) -> None:
        """Write; when the content is refused, halve until only the bad lines are left out.

        The server's message names a field or a line at best, never all of them, and 2.x may
        store nothing of a refused body; writing the halves again is idempotent.
        """
        try:
            self._write("\n".join(lines).encode(), precision)
        except ContentRefused as error:
            if len(lines) == 1:
                refused.append(Refused(lines[0], str(error)))
                if len(refused) > _MAX_REFUSED:
                    raise StoreRefused(
                        f"{self._query.url} {self._query.database}: more than {_MAX_REFUSED} "
                        f"lines refused, the last for: {error}"
                    ) from error
                return
            middle = len(lines) // 2
            self._write_or_split(lines[:middle], precision, refused)
            self._write_or_split(lines[middle:], precision, refused)


def refusal_of(status: int, text: str, where: str) -> Exception:
    """Tell bad content from a server that cannot take it now, by HTTP status."""
    if status in (400, 413, 422):
        return ContentRefused(text[:500])
    return StoreRetriable(f"{where}: HTTP {status} {text[:200]}")
