"""How one cell of a register file is read, checked, written and stored.

`read(text)` gives the value or raises ValueError saying what is wrong with the text; `write(value)`
gives the one text that stands for it, so that `read(write(value)) == value`.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from aggregator.register.formula import formula_text, parse_formula
from aggregator.register.profiles import MAX_WEIGHT, read_weights
from contract.interval import BEIJING_OFFSET_MS
from contract.reading import check_id

MAX_MULTIPLIER = 10_000_000
"""CT 5000/5 on a 500 kV line (VT 5000) is 5 million; above this it is a typing error."""
MAX_TEXT = 1_000
"""Characters of a text."""
SINCE_EVER_MS = 0

_BEIJING = timezone(timedelta(milliseconds=BEIJING_OFFSET_MS))
_PERIOD = re.compile(r"(20\d\d)(-(0[1-9]|1[0-2]))?")


class Stored(StrEnum):
    """What a value is in the database."""

    TEXT = "text"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TIME = "time"
    """UTC milliseconds, int64; the column's name ends in `_ms`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of cell."""

    read: Callable[[str], Any]
    """ValueError says what is wrong."""
    says: str
    """What may stand there, for people."""
    stored: Stored = Stored.TEXT
    write: Callable[[Any], str] = str
    optional: bool = False
    """May be empty: a text is then "", anything else None."""


def optional(cell: Cell) -> Cell:
    """Let a cell stay empty."""
    empty = "" if cell.stored is Stored.TEXT else None
    return Cell(
        read=lambda text: cell.read(text) if text else empty,
        says=f"{cell.says}, or empty",
        stored=cell.stored,
        write=lambda value: "" if value in {None, ""} else cell.write(value),
        optional=True,
    )


def one_of(what: str, known: Iterable[str]) -> Cell:
    """Take one of a closed list of words."""
    names = tuple(str(name) for name in known)

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"unknown {what} {text!r}; known: {', '.join(names)}")
        return text

    return Cell(read, " / ".join(f"`{name}`" for name in names))


def number(low: float, high: float, unit: str) -> Cell:
    """Take a finite number between two bounds; `unit` is for people."""

    def read(text: str) -> float:
        if not text:
            raise ValueError("empty")
        if "_" in text or not text.isascii():
            raise ValueError(f"{text!r} is not a number")
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{text} is not between {low:g} and {high:g}")
        return value

    says = f"number, {_number_text(low)} to {_number_text(high)} [{unit}]"
    return Cell(read, says, Stored.FLOAT, _number_text)


def _number_text(value: float) -> str:
    """Return the shortest decimal that is this number: 24000, 0.1, 1e-06."""
    value = float(value)
    return repr(int(value)) if value.is_integer() and abs(value) <= 1e15 else repr(value)


def _read_id(text: str) -> str:
    return check_id(text, "id")


def _read_ids(text: str) -> str:
    """Ids separated by one space, each once."""
    ids = [_read_id(part) for part in text.split()]
    if len(set(ids)) != len(ids):
        raise ValueError("names one twice")
    return " ".join(ids)


def _read_formula(text: str) -> str:
    return formula_text(parse_formula(text))


def _read_text(text: str) -> str:
    if any((ord(mark) < 32 and mark not in "\t\n") or ord(mark) == 127 for mark in text):
        raise ValueError("holds a control character")
    if len(text) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    return text


def _read_filled(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return _read_text(text)


def _read_region(text: str) -> str:
    if not (len(text) == 6 and text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a GB/T 2260 code of 6 digits")
    return text


def _read_credit_code(text: str) -> str:
    if not re.fullmatch("[0-9A-Z]{18}", text):
        raise ValueError(f"{text!r} is not a code of 18 digits and capital letters")
    return text


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a whole number")
    if len(text) > 9:
        raise ValueError(f"{text} is above 999999999")
    return int(text)


def _read_multiplier(text: str) -> int:
    """CT x VT: whole, so that micro-units stay whole and intervals sum to register differences."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{text} is not above 0: it would make all energy of the meter vanish")
    if value > MAX_MULTIPLIER:
        raise ValueError(f"{text} is above {MAX_MULTIPLIER}")
    if value != value.to_integral_value():
        raise ValueError(
            f"{text} is not whole: CT x VT is a product of whole ratios, "
            "and a scale of the register belongs into the device map"
        )
    return int(value)


def _read_time_ms(text: str) -> int:
    """'' since ever; 2026-01-31 from Beijing midnight; else RFC 3339 with its offset."""
    if not text:
        return SINCE_EVER_MS
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a date nor an RFC 3339 time") from error
    if time.tzinfo is None:
        if len(text) != len("2026-01-31"):
            raise ValueError(f"{text!r} has no offset; write +08:00 for Beijing time")
        time = time.replace(tzinfo=_BEIJING)
    if time.microsecond % 1000:
        raise ValueError(f"{text!r} is finer than a millisecond")
    if time.year > 2199:
        raise ValueError(f"{text!r} is after 2199")
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    time_ms = since // timedelta(milliseconds=1)
    if time_ms < SINCE_EVER_MS:
        raise ValueError(f"{text!r} is before 1970; leave it empty for since ever")
    return time_ms


def _time_text(time_ms: int) -> str:
    if time_ms == SINCE_EVER_MS:
        return ""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    local = time.astimezone(_BEIJING)
    if (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0):
        return local.date().isoformat()
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")


def _read_date(text: str) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date like 2026-01-31") from error
    return day.isoformat()


def _read_period(text: str) -> str:
    if not _PERIOD.fullmatch(text):
        raise ValueError(f"{text!r} is neither a year like 2026 nor a month like 2026-01")
    return text


ID = Cell(_read_id, "id: a-z, 0-9 and -, at most 63")
IDS = Cell(_read_ids, "ids separated by spaces")
FORMULA = Cell(_read_formula, "terms like `+em-1 -em-2 +0.4*em-3`, apart by spaces")
WEIGHTS = Cell(read_weights, f"24 or 96 whole numbers from 0 to {MAX_WEIGHT}, apart by spaces")
TEXT = Cell(_read_text, "text")
FILLED = Cell(_read_filled, "text, not empty")
REGION = Cell(_read_region, "GB/T 2260 code, 6 digits")
CREDIT_CODE = Cell(_read_credit_code, "18 digits and capital letters")
COUNT = Cell(_read_count, "whole number", Stored.INTEGER)
MULTIPLIER = Cell(_read_multiplier, "whole number from 1", Stored.INTEGER)
VALID_FROM = Cell(
    _read_time_ms,
    "date (from Beijing midnight) or RFC 3339 time with its offset; empty: since ever",
    Stored.TIME,
    _time_text,
)
VALID_TO = optional(
    Cell(
        _read_time_ms,
        "date (to Beijing midnight) or RFC 3339 time with its offset, itself excluded",
        Stored.TIME,
        _time_text,
    )
)
DATE = Cell(_read_date, "date like 2026-01-31")
PERIOD = Cell(_read_period, "year like 2026 or month like 2026-01")
YES_NO = Cell(
    lambda text: one_of("answer", ("yes", "no")).read(text) == "yes",
    "`yes` / `no`",
    Stored.BOOLEAN,
    lambda value: "yes" if value else "no",
)
