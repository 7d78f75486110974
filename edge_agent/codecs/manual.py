"""Readings a person wrote down: a CSV file with the columns time, meter, channel, value.

Time is ISO 8601 with its offset (2026-11-21T08:00+08:00), value what the display showed, in the
channel's unit, with a decimal point. Lines that begin with # and empty lines are passed over; a
byte order mark is, too, because spreadsheets write one.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

COLUMNS = ("time", "meter", "channel", "value")


@dataclass(frozen=True, slots=True)
class ReadEntries:
    """Ask for the entries of one meter that were not handed out before."""

    meter: str


@dataclass(frozen=True, slots=True)
class CheckEntries:
    """Ask whether all lines can be read: MeterError names those that cannot."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    meter: str
    channel: str
    time_ms: int
    value: Decimal


def parse(text: str) -> Iterator[Entry | str]:
    """Yield the entries in order, and for a line that is none what is wrong with it."""
    lines = text.removeprefix("\ufeff").splitlines()
    header: list[str] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if header is None:
            header = cells
            if sorted(header) != sorted(COLUMNS):
                yield f"line {number}: the columns must be {', '.join(COLUMNS)}"
                return
            continue
        if len(cells) != len(header):
            yield f"line {number}: {len(cells)} cells where {len(header)} columns are"
            continue
        try:
            yield _entry(dict(zip(header, cells, strict=True)))
        except ValueError as error:
            yield f"line {number}: {error}"


def _entry(cells: dict[str, str]) -> Entry:
    try:
        moment = datetime.fromisoformat(cells["time"])
    except ValueError:
        raise ValueError(f"{cells['time']!r} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        raise ValueError(f"{cells['time']!r} has no offset: write +08:00 or Z")
    try:
        value = Decimal(cells["value"])
    except InvalidOperation:
        raise ValueError(f"{cells['value']!r} is no number") from None
    if not value.is_finite() or abs(value.adjusted()) > 20:
        raise ValueError(f"{cells['value']!r} is no number")
    time_ms = round(moment.timestamp() * 1000)
    if time_ms < 0:
        raise ValueError(f"{cells['time']!r} is before 1970")
    return Entry(cells["meter"], cells["channel"], time_ms, value)
