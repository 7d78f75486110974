"""Points of the measurements that dashboards read: columns by field, tags as distinct keys.

An optional field may be absent: NaN in a float64 column, `ABSENT` in an int64 column. A tag that
is "" is no tag.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import ColumnError, Int64
from contract.stored import Measurement

ABSENT = int(np.iinfo(np.int64).min)
"""Of an optional int64 field: not there."""

Tags = tuple[str, ...]
"""Values in the order of `Measurement.tags`."""


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one measurement, in any order unless the giver says otherwise."""

    of: Measurement
    keys: Sequence[Tags]
    key: Int64
    """Index into `keys`."""
    time_ms: Int64
    columns: Mapping[str, NDArray[Any]]
    """By field: int64, float64, or str objects."""

    def __post_init__(self) -> None:
        kinds = dict.fromkeys(self.of.integers, "i") | dict.fromkeys(self.of.floats, "f")
        kinds |= dict.fromkeys(self.of.texts, "O")
        if set(self.columns) != set(kinds):
            raise ColumnError(f"{self.of.name}: fields {sorted(kinds)} expected")
        for name, column in (("key", self.key), ("time_ms", self.time_ms), *self.columns.items()):
            where = f"{self.of.name}.{name}"
            if len(column) != len(self.key):
                raise ColumnError(f"{where}: {len(self.key)} rows expected, got {len(column)}")
            if column.dtype.kind != kinds.get(name, "i") or column.dtype.itemsize != 8:
                raise ColumnError(f"{where}: another type: {column.dtype}")
            if name in self.columns and name not in self.of.optional:
                self._check_there(where, column)
            if column.dtype.kind == "f" and np.isinf(column).any():
                raise ColumnError(f"{where}: infinite")

    @staticmethod
    def _check_there(where: str, column: NDArray[Any]) -> None:
        kind = column.dtype.kind
        if (kind == "f" and np.isnan(column).any()) or (kind == "i" and (column == ABSENT).any()):
            raise ColumnError(f"{where}: absent, but not optional")

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def empty(cls, of: Measurement) -> "Points":
        """No points."""
        return cls.of_rows(of, ())

    @classmethod
    def of_rows(
        cls, of: Measurement, rows: Iterable[tuple[Tags, int, Mapping[str, Any]]]
    ) -> "Points":
        """Make points of (tags, time [ms], fields); an optional field may be None or left out."""
        index: dict[Tags, int] = {}
        key, times = [], []
        values: dict[str, list[Any]] = {name: [] for name in of.fields}
        absent = dict.fromkeys(of.integers, ABSENT) | dict.fromkeys(of.floats, np.nan)
        for tags, time_ms, fields in rows:
            if len(tags) != len(of.tags):
                raise ColumnError(f"{of.name}: tags {of.tags} expected, got {tags}")
            if unknown := set(fields) - values.keys():
                raise ColumnError(f"{of.name}: no field {sorted(unknown)}")
            key.append(index.setdefault(tags, len(index)))
            times.append(time_ms)
            for name, column in values.items():
                value = fields.get(name)
                if name in of.integers and not isinstance(value, int | None):
                    raise ColumnError(f"{of.name}.{name}: whole number expected, got {value!r}")
                column.append(absent.get(name, "") if value is None else value)
        kinds: dict[str, Any] = dict.fromkeys(of.integers, np.int64)
        kinds |= dict.fromkeys(of.floats, np.float64) | dict.fromkeys(of.texts, np.object_)
        columns = {name: np.array(column, kinds[name]) for name, column in values.items()}
        return cls(of, tuple(index), np.array(key, np.int64), np.array(times, np.int64), columns)

    def rows(self) -> Iterator[tuple[Tags, int, dict[str, Any]]]:
        """Yield (tags, time [ms], fields); what is absent is None."""
        names = tuple(self.columns)
        lists = [
            [None if v != v or v == ABSENT else v for v in column.tolist()]  # noqa: PLR0124 - NaN
            for column in self.columns.values()
        ]
        table = zip(*lists, strict=True)
        for key, time_ms, row in zip(self.key.tolist(), self.time_ms.tolist(), table, strict=True):
            yield self.keys[key], time_ms, dict(zip(names, row, strict=True))

    def take(self, rows: NDArray[Any]) -> "Points":
        """Return the rows chosen by an index array or a boolean mask."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Points(self.of, self.keys, self.key[rows], self.time_ms[rows], columns)

    def settled(self) -> "Points":
        """Return them by ascending (tags, time), each key listed once; of doubles the last."""
        distinct = sorted(set(self.keys))
        place = {tags: i for i, tags in enumerate(distinct)}
        to = np.array([place[tags] for tags in self.keys], np.int64)
        key = to[self.key] if len(self.keys) else self.key
        order = np.lexsort((self.time_ms, key))  # stable: the last written stays behind
        key, times = key[order], self.time_ms[order]
        last = np.ones(len(order), np.bool_)
        last[:-1] = (key[1:] != key[:-1]) | (times[1:] != times[:-1])
        chosen = order[last]
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Points(self.of, distinct, key[last], times[last], columns)


def concatenated(of: Measurement, parts: Sequence[Points]) -> Points:
    """Join points of one measurement in the given order."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    index: dict[Tags, int] = {}
    keys, columns = [], defaultdict(list)
    for part in parts:
        to = np.array([index.setdefault(tags, len(index)) for tags in part.keys], np.int64)
        keys.append(to[part.key])
        columns["time_ms"].append(part.time_ms)
        for name, column in part.columns.items():
            columns[name].append(column)
    if not parts:
        return Points.empty(of)
    joined: dict[str, NDArray[Any]] = {n: np.concatenate(c) for n, c in columns.items()}
    times = joined.pop("time_ms")
    return Points(of, tuple(index), np.concatenate(keys), times, joined)
