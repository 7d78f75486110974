"""What all dated tables share: problems with their place, shapes of rows, validity end to start.

A table is refused with every problem of all files at once, each naming file, row and key.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from contract.interval import BEIJING_OFFSET_MS, DAY_MS

NATIONAL = "national"

_EPOCH = date(1970, 1, 1)

Kind = type | tuple[type, ...]
NUMBER: Kind = (Decimal, int)


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a file is refused."""

    file: str
    row: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.row, self.key, self.reason) if part)


class TableError(ValueError):
    """The tables cannot be used; permanent until a person edits them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Dated(Protocol):
    """A row with a half-open validity, cut at Beijing midnight."""

    @property
    def id(self) -> str:
        """Name of the row, unique over all files."""
        ...

    @property
    def valid_from_ms(self) -> int:
        """UTC."""
        ...

    @property
    def valid_to_ms(self) -> int | None:
        """UTC; None: open-ended."""
        ...


Row = TypeVar("Row", bound=Dated)


def day_ms(day: date) -> int:
    """Return the start of a Beijing day [UTC ms]."""
    return (day - _EPOCH).days * DAY_MS - BEIJING_OFFSET_MS


def date_of(time_ms: int) -> date:
    """Return the Beijing date of a UTC time."""
    return date.fromordinal(_EPOCH.toordinal() + (time_ms + BEIJING_OFFSET_MS) // DAY_MS)


def shape_faults(
    raw: Mapping[str, Any], kinds: Mapping[str, Kind], optional: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for keys unknown, missing, empty or of the wrong type."""
    for key in sorted({*raw} - {*kinds}):
        yield key, "unknown key"
    for key, kind in kinds.items():
        if key not in raw:
            if key not in optional:
                yield key, "missing"
        elif not is_a(raw[key], kind):
            yield key, f"{raw[key]!r} is not a {kind_name(kind)}"
        elif raw[key] == "" and key not in optional:
            yield key, "empty"


def region_fault(region: str) -> str | None:
    """Return why a text names no region (GB/T 2260 code or its start), None when it does."""
    if region == NATIONAL or (region.isascii() and region.isdigit() and len(region) <= 6):
        return None
    return f"{region!r} is neither {NATIONAL!r} nor a GB/T 2260 code or its start"


def covers(row_region: str, region: str) -> bool:
    """Tell whether a row of one region holds for a site in another."""
    return row_region == NATIONAL or region.startswith(row_region)


def tiling_faults(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Yield (row, reason) where rows do not meet end to start; only the last may be open."""
    for before, after in pairwise(sorted(rows, key=lambda row: row.valid_from_ms)):
        if before.valid_to_ms is None or before.valid_to_ms > after.valid_from_ms:
            yield after, f"overlaps {before.id}, which is valid until {_until(before)}"
        elif before.valid_to_ms < after.valid_from_ms:
            yield after, f"gap after {before.id}, which is valid until {_until(before)}"


def is_a(value: object, kind: Kind) -> bool:
    """isinstance, without bool passing for int nor a date-time for a date."""
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, datetime):
        return False
    return isinstance(value, kind)


def kind_name(kind: Kind) -> str:
    """Return how a person would call a type."""
    names = {str: "text", bool: "true or false", date: "date", int: "whole number"}
    if isinstance(kind, tuple):
        return "number"
    return names.get(kind, "table" if kind is dict else kind.__name__)


def _until(row: Dated) -> str:
    return "further notice" if row.valid_to_ms is None else date_of(row.valid_to_ms).isoformat()
