"""Columns -> InfluxDB line protocol, quickly: texts per column, joined per line.

Readings are wide: one line per (meter, outbox, time, batch) with a field per channel, `seq`, and
`<channel>_q` where the quality is not good.

InfluxDB overwrites a point written again, whichever comes last; the ledger must not depend on
what comes last. So only a line that is later than all before it (the head) is stamped with its
own millisecond. Any other line gets `1 + seq % 999 999` nanoseconds on top: batches that disagree
about a time stand side by side, the reader drops the nanoseconds and settles them by
(outbox, seq), and a line that is sent again falls on itself. No read before write is needed.

No escaping: tags are ids by the contract's grammar, which is checked once per series and source.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.batch import ColumnError, Int64, IntervalColumns, ReadingColumns
from aggregator.directory import Directory, SeriesKey, Source
from aggregator.store.base import DirtyDay, Ranges, encode_ranges
from aggregator.verdict import Verdict
from contract.channels import catalogue
from contract.stored import (
    DETERMINED,
    DIRTY,
    INTEGER_FIELDS,
    MEASURE_FIELDS,
    OPEN,
    QUALITY_SUFFIX,
    RANGES,
    READING,
    RECEIPT,
    SEQ,
    VERDICT,
    Level,
)

_TAG = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
NS_PER_MS = 1_000_000
_FIGURE = ",".join(f"{name}=%di" for name in INTEGER_FIELDS) + f",{DETERMINED}=%di"


@dataclass(frozen=True, slots=True)
class WideLines:
    """Lines in nanoseconds, and the heads to remember once they are written."""

    lines: list[str]
    heads: Mapping[int, int]


class LineEncoder:
    """Encodes by a directory; keeps the texts that repeat and the heads of the lines.

    A line key is `meter << 32 | source`; its head is the latest time written [ms].
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._heads: dict[int, int] = {}
        self._meters: dict[tuple[str, str, str], int] = {}
        self._meter_keys: list[tuple[str, str, str]] = []
        self._meter_of: list[int] = []
        self._fields: list[str] = []
        self._cumulative: list[bool] = []
        self._figure_tags: list[str] = []
        self._line_tags: dict[int, str] = {}
        self._meter_column = np.empty(0, np.int64)
        self._kind_column = np.empty(0, np.bool_)

    def remember(self, heads: Mapping[int, int]) -> None:
        """Take note of what is in the database now."""
        for key, time_ms in heads.items():
            if time_ms > self._heads.get(key, -1):
                self._heads[key] = time_ms

    def line_key(self, meter: tuple[str, str, str], source: int) -> int:
        """Return the key of the lines of one meter (region, site, meter) from one source."""
        return self._meter(meter) << 32 | source

    def _meter(self, key: tuple[str, str, str]) -> int:
        index = self._meters.setdefault(key, len(self._meters))
        if index == len(self._meter_keys):
            self._meter_keys.append(key)
        return index

    def readings(self, cumulative: ReadingColumns, instantaneous: ReadingColumns) -> WideLines:
        """Return wide lines; heads are not moved until `remember`."""
        self._learn()
        series = np.concatenate((cumulative.series, instantaneous.series))
        if len(series) == 0:
            return WideLines([], {})
        self._check_kinds(cumulative, instantaneous)
        time_ms = np.concatenate((cumulative.time_ms, instantaneous.time_ms))
        seq = np.concatenate((cumulative.seq, instantaneous.seq))
        source = np.concatenate((cumulative.source, instantaneous.source)).astype(np.int64)
        key = self._meter_column[series] << 32 | source
        texts = self._texts(cumulative, "i") + self._texts(instantaneous, "")

        order = np.lexsort((series, seq, time_ms, key))
        series, time_ms, seq, key = series[order], time_ms[order], seq[order], key[order]
        begins = np.ones(len(order), np.bool_)  # of a line
        same_time = (key[1:] == key[:-1]) & (time_ms[1:] == time_ms[:-1])
        begins[1:] = ~same_time | (seq[1:] != seq[:-1])
        once = begins.copy()  # a batch delivered twice inside one commit
        once[1:] |= series[1:] != series[:-1]
        first_of_time = np.ones(len(order), np.bool_)
        first_of_time[1:] = ~same_time

        joined = [texts[i] for i in order[once].tolist()]
        starts = np.flatnonzero(begins[once])
        ends = np.append(starts[1:], len(joined)).tolist()
        line_key, line_ms, line_seq = key[begins], time_ms[begins], seq[begins]
        plain = first_of_time[begins] & (line_ms > self._head_column(line_key))
        stamps = line_ms * NS_PER_MS + np.where(plain, 0, 1 + line_seq % (NS_PER_MS - 1))
        lines = [
            f"{tags} {','.join(joined[start:end])},{SEQ}={number}i {stamp}"
            for tags, start, end, number, stamp in zip(
                (self._tags(k) for k in line_key.tolist()),
                starts.tolist(),
                ends,
                line_seq.tolist(),
                stamps.tolist(),
                strict=True,
            )
        ]
        last = np.append(line_key[1:] != line_key[:-1], True)
        heads = dict(zip(line_key[last].tolist(), line_ms[last].tolist(), strict=True))
        return WideLines(lines, heads)

    def figures(self, level: Level, intervals: IntervalColumns) -> list[str]:
        """Return one line per figure, in milliseconds; measures that are NaN are left out."""
        self._learn()
        determined = np.zeros(len(intervals), np.int64)
        measures: list[list[str]] = []
        for bit, name in enumerate(MEASURE_FIELDS):
            column = getattr(intervals, name)
            known = ~np.isnan(column)
            determined |= known.astype(np.int64) << bit
            measures.append(
                [
                    f",{name}={value!r}" if there else ""
                    for value, there in zip(column.tolist(), known.tolist(), strict=True)
                ]
            )
        numbers = zip(
            *(getattr(intervals, name).tolist() for name in INTEGER_FIELDS),
            determined.tolist(),
            strict=True,
        )
        tags = self._figure_tags
        return [
            f"{level}{tags[series]} {_FIGURE % row}{a}{b}{c}{d} {start}"
            for series, start, row, a, b, c, d in zip(
                intervals.series.tolist(),
                intervals.start_ms.tolist(),
                numbers,
                *measures,
                strict=True,
            )
        ]

    def verdicts(self, verdicts: Sequence[Verdict]) -> list[str]:
        """Return one line per verdict, in nanoseconds: the last digits are the rule's number."""
        self._learn()
        return [
            f'{VERDICT}{self._figure_tags[one.series]} rule="{one.rule}",value={one.value}i,'
            f'outcome="{one.outcome}" {one.time_ms * NS_PER_MS + one.rule.number}'
            for one in verdicts
        ]

    def _texts(self, columns: ReadingColumns, suffix: str) -> list[str]:
        fields = self._fields
        texts = [
            f"{fields[series]}={value!r}{suffix}"
            for series, value in zip(columns.series.tolist(), columns.value.tolist(), strict=True)
        ]
        for row in np.flatnonzero(columns.quality).tolist():
            field = fields[columns.series[row]]
            texts[row] += f",{field}{QUALITY_SUFFIX}={columns.quality[row]}i"
        return texts

    def _learn(self) -> None:
        """Prepare the texts of series that are new in the directory."""
        new = self._directory.series.keys(len(self._fields))
        if not new:
            return
        for key in new:
            check_tags(key)
            channel = catalogue().get(key.channel)
            if channel is None:
                raise ColumnError(f"{key}: {key.channel!r} is not in the channel catalogue")
            self._meter_of.append(self._meter((key.region, key.site, key.meter)))
            self._cumulative.append(channel.cumulative)
            self._figure_tags.append(
                f",channel={key.channel},meter={key.meter},region={key.region},site={key.site}"
            )
            self._fields.append(key.channel)
        self._meter_column = np.array(self._meter_of, np.int64)
        self._kind_column = np.array(self._cumulative, np.bool_)

    def _check_kinds(self, cumulative: ReadingColumns, instantaneous: ReadingColumns) -> None:
        """Refuse what would give a field a second type: the catalogue alone says its type."""
        wrong = np.concatenate(
            (
                cumulative.series[~self._kind_column[cumulative.series]],
                instantaneous.series[self._kind_column[instantaneous.series]],
            )
        )
        if len(wrong):
            key = self._directory.series.key(int(wrong[0]))
            raise ColumnError(f"{key}: the catalogue knows this channel as of the other kind")

    def _tags(self, key: int) -> str:
        tags = self._line_tags.get(key)
        if tags is None:
            source = self._directory.sources.key(key & 0xFFFFFFFF)
            check_tags(source)
            region, site, meter = self._meter_keys[key >> 32]
            tags = (
                f"{READING},edge={source.edge},meter={meter},outbox={source.outbox},"
                f"region={region},site={site}"
            )
            self._line_tags[key] = tags
        return tags

    def _head_column(self, keys: Int64) -> Int64:
        heads = self._heads
        return np.array([heads.get(key, -1) for key in keys.tolist()], np.int64)


def receipt_lines(receipts: Mapping[Source, Ranges]) -> list[str]:
    """Return one line per source, always at time 0: the next overwrites it."""
    lines = []
    for source, ranges in receipts.items():
        check_tags(source)
        tags = f"edge={source.edge},outbox={source.outbox},region={source.region}"
        lines.append(f'{RECEIPT},{tags},site={source.site} {RANGES}="{encode_ranges(ranges)}" 0')
    return lines


def dirty_lines(days: Iterable[DirtyDay], *, is_open: bool) -> list[str]:
    """Return one line per day, in nanoseconds."""
    lines = []
    for day in sorted(days):
        check_tags((day.region, day.site))
        stamp = day.day_ms * NS_PER_MS
        lines.append(f"{DIRTY},region={day.region},site={day.site} {OPEN}={int(is_open)}i {stamp}")
    return lines


def check_tags(values: SeriesKey | Source | tuple[str, ...]) -> None:
    """Raise ColumnError when a text would need escaping in line protocol or InfluxQL."""
    for value in values:
        if not _TAG.fullmatch(value):
            raise ColumnError(f"{values}: {value!r} is not an id")
