"""Columns of readings and intervals: equal-length NumPy arrays, checked at the border.

Arrays are made read-only when a batch is built, so a batch may be handed from thread to thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]


SPARE = 255
"""Quality in memory only: a good reading of another gateway than the meter's primary one."""


class ColumnError(ValueError):
    """A column has another dtype, shape or content than its batch promises."""


def _check(batch: object, dtypes: dict[str, tuple[type[np.generic], ...]]) -> None:
    length: int | None = None
    for name, allowed in dtypes.items():
        column = getattr(batch, name)
        where = f"{type(batch).__name__}.{name}"
        if not isinstance(column, np.ndarray) or column.ndim != 1:
            raise ColumnError(f"{where}: one-dimensional array expected")
        if column.dtype not in allowed:
            wanted = " or ".join(kind.__name__ for kind in allowed)
            raise ColumnError(f"{where}: {wanted} expected, got {column.dtype}")
        if length is None:
            length = len(column)
        if len(column) != length:
            raise ColumnError(f"{where}: {length} rows expected, got {len(column)}")
        column.flags.writeable = False


class _Columns:
    """What both batches can do."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.series)  # type: ignore[attr-defined]

    def take(self, rows: NDArray[Any] | slice) -> Self:
        """Return the rows chosen by an index array, a boolean mask or a slice (a view)."""
        return type(self)(*(column[rows] for column in self.columns()))

    def columns(self) -> list[NDArray[Any]]:
        """Return the columns in the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join batches in the given order; at least one part (dtypes come from it)."""
        if len(parts) == 1:
            return parts[0]
        columns = zip(*(part.columns() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True, slots=True)
class ReadingColumns(_Columns):
    """Readings as read, before CT x VT, in any order unless the giver says otherwise.

    series   int32, index into the directory
    time_ms  int64, UTC
    value    int64 micro-units (cumulative channels) or finite float64 (instantaneous)
    quality  uint8, contract.reading.Quality, or SPARE where it is said as what readings count
    source   int32, index of (edge, outbox) in the directory
    seq      int64, batch number within the outbox
    """

    series: Int32
    time_ms: Int64
    value: Int64 | Float64
    quality: UInt8
    source: Int32
    seq: Int64

    def __post_init__(self) -> None:
        _check(
            self,
            {
                "series": (np.int32,),
                "time_ms": (np.int64,),
                "value": (np.int64, np.float64),
                "quality": (np.uint8,),
                "source": (np.int32,),
                "seq": (np.int64,),
            },
        )
        if self.value.dtype == np.float64 and not np.isfinite(self.value).all():
            raise ColumnError("ReadingColumns.value: not a finite number")

    @property
    def cumulative(self) -> bool:
        """True when values are int64 micro-units."""
        return self.value.dtype == np.int64

    @classmethod
    def empty(cls, *, cumulative: bool) -> Self:
        """No readings, of the given kind."""
        return cls(
            np.empty(0, np.int32),
            np.empty(0, np.int64),
            np.empty(0, np.int64) if cumulative else np.empty(0, np.float64),
            np.empty(0, np.uint8),
            np.empty(0, np.int32),
            np.empty(0, np.int64),
        )


@dataclass(frozen=True, slots=True)
class IntervalColumns(_Columns):
    """Figures per series and interval [start, next start); (series, start_ms) is the key.

    series int32; start_ms int64 UTC; amounts int64 micro-units; durations int64 ms; counts and
    flags int64; measures float64 [kg, kg, kg, CNY] with NaN = not determined.
    A store takes them in any order and gives them sorted by (series, start_ms).
    """

    series: Int32
    start_ms: Int64
    amount: Int64
    amount_estimated: Int64
    amount_held: Int64
    measured_ms: Int64
    estimated_ms: Int64
    missing_ms: Int64
    received: Int64
    expected: Int64
    flags: Int64
    kgce_calorific: Float64
    kgce_equivalent: Float64
    co2_kg: Float64
    cost_cny: Float64

    def __post_init__(self) -> None:
        _check(self, dict(_INTERVAL_DTYPES))
        for name, dtype in _INTERVAL_DTYPES:
            if dtype == (np.float64,) and np.isinf(getattr(self, name)).any():
                raise ColumnError(f"IntervalColumns.{name}: infinite")

    @classmethod
    def empty(cls) -> Self:
        """No intervals."""
        return cls(*(np.empty(0, dtype[0]) for _, dtype in _INTERVAL_DTYPES))


_MEASURES = frozenset({"kgce_calorific", "kgce_equivalent", "co2_kg", "cost_cny"})
_INTERVAL_DTYPES: tuple[tuple[str, tuple[type[np.generic], ...]], ...] = tuple(
    (
        field.name,
        (np.int32,)
        if field.name == "series"
        else (np.float64,)
        if field.name in _MEASURES
        else (np.int64,),
    )
    for field in fields(IntervalColumns)
)


@dataclass(frozen=True, slots=True)
class Redone:
    """Whole days of some channels, before and after, sorted by (series, start)."""

    old: IntervalColumns
    new: IntervalColumns
    """All intervals of `old`, and more."""
    changed: IntervalColumns
    """Those of `new` that differ."""


def overlaid(*parts: IntervalColumns) -> IntervalColumns:
    """Put figures over others: of several of one (series, start) the first given counts.

    Sorted by (series, start).
    """
    rows = IntervalColumns.concatenate(parts)
    order = np.lexsort((rows.start_ms, rows.series))
    series, start_ms = rows.series[order], rows.start_ms[order]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (series[1:] != series[:-1]) | (start_ms[1:] != start_ms[:-1])
    return rows.take(order[first])


def found_in(old: IntervalColumns, new: IntervalColumns) -> Int64:
    """Return the row of ``new`` of each row of ``old``; both sorted by (series, start)."""
    key = ("series", "start_ms")
    return np.searchsorted(keys_of(new, *key), keys_of(old, *key))


def differing(old: IntervalColumns, new: IntervalColumns) -> NDArray[np.bool_]:
    """Tell which rows of ``new`` are not in ``old`` or differ from it.

    Both sorted by (series, start); ``new`` has all of ``old``. NaN is NaN.
    """
    differs = np.ones(len(new), np.bool_)
    at = found_in(old, new)
    same = np.ones(len(old), np.bool_)
    for was, now in zip(old.columns(), new.columns(), strict=True):
        there = now[at]
        same &= (was == there) | ((was != was) & (there != there))  # noqa: PLR0124 - NaN
    differs[at] = ~same
    return differs


def with_measures_kept(old: IntervalColumns, new: IntervalColumns) -> IntervalColumns:
    """Return ``new`` with the measures of ``old`` where the amount they are of is as it was.

    Both sorted by (series, start); ``new`` has all of ``old``.
    """
    at = found_in(old, new)
    same = old.amount == new.amount[at]
    kept = {name: getattr(new, name).copy() for name in _MEASURES}
    for name, column in kept.items():
        column[at[same]] = getattr(old, name)[same]
    return replace(new, **kept)


def keys_of(rows: ReadingColumns | IntervalColumns, *names: str) -> NDArray[np.void]:
    """Return integer columns as one column that sorts by them, in this order, and compares."""
    keys = np.empty(len(rows), [(name, np.int64) for name in names])
    for name in names:
        keys[name] = getattr(rows, name)
    return keys
