"""Loads a register from a folder of plain files: sites.csv and meters.csv (UTF-8).

`load_folder` reports every problem of both files at once (`RegisterError`), each with file, line
and column, so that a spreadsheet is mended in one go.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from aggregator.register.carriers import carriers
from aggregator.register.model import Meter, Register, Role, Site
from contract.interval import BEIJING_OFFSET_MS
from contract.reading import check_id

MAX_MULTIPLIER = 10_000_000
"""CT 5000/5 on a 500 kV line (VT 5000) is 5 million; above this it is a typing error."""

SITE_COLUMNS = (
    "site",
    "region",
    "name_zh",
    "name_en",
    "sector",
    "floor_area_m2",
    "headcount",
    "latitude",
    "longitude",
)
OPTIONAL_SITE_COLUMNS = ("tariff",)
"""Names of tariffs, separated by spaces."""
METER_COLUMNS = (
    "site",
    "meter",
    "carrier",
    "role",
    "parent",
    "multiplier",
    "edge",
    "valid_from",
    "note",
)

_BEIJING = timezone(timedelta(milliseconds=BEIJING_OFFSET_MS))
_SINCE_EVER_MS = 0
_FOR_EVER_MS = 2**62

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a folder is refused. `line` is the file's line, 1 = header; 0 = whole file."""

    file: str
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        where = [self.file, f"line {self.line}" if self.line else "", self.column, self.reason]
        return ": ".join(part for part in where if part)


class RegisterError(ValueError):
    """The folder cannot be used; permanent until a person edits it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def load_folder(folder: Path) -> Register:
    """Return the register of a folder; RegisterError lists everything wrong with it."""
    problems: list[Problem] = []
    site_rows = _rows(folder, "sites.csv", SITE_COLUMNS, problems, OPTIONAL_SITE_COLUMNS)
    sites = [(line, _site(row)) for line, row in site_rows]
    meters = [
        (line, _meter(row)) for line, row in _rows(folder, "meters.csv", METER_COLUMNS, problems)
    ]
    _check_sites(sites, problems)
    _check_meters(meters, {site.id for _, site in sites}, problems)
    if problems:
        raise RegisterError(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
    return Register.of((site for _, site in sites), (meter for _, meter in meters))


class _Row:
    """One line of a file: converts cells and notes what is wrong with them."""

    def __init__(
        self, file: str, line: int, cells: Mapping[str, str], problems: list[Problem]
    ) -> None:
        self._where = (file, line)
        self._cells = cells
        self._problems = problems

    def get(self, column: str, convert: Callable[[str], Value], fallback: Value) -> Value:
        """Return the converted cell, or the fallback after noting the ValueError."""
        try:
            return convert(self._cells[column])
        except ValueError as error:
            self._problems.append(Problem(*self._where, column, str(error)))
            return fallback

    def text(self, column: str) -> str:
        return self._cells[column]


def _rows(
    folder: Path,
    file: str,
    columns: Sequence[str],
    problems: list[Problem],
    optional: Sequence[str] = (),
) -> Iterator[tuple[int, _Row]]:
    try:
        text = (folder / file).read_text("utf-8-sig")  # spreadsheets write the mark
    except FileNotFoundError:
        problems.append(Problem(file, 0, "", "missing"))
        return
    except UnicodeDecodeError as error:
        problems.append(Problem(file, 0, "", f"not UTF-8 at byte {error.start}"))
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        wrong = [(c, "missing column") for c in columns if c not in header]
        wrong += [(c, "unknown column") for c in header if c not in (*columns, *optional)]
        wrong += [(c, "column stands twice") for c in (*columns, *optional) if header.count(c) > 1]
        if wrong:
            problems.extend(Problem(file, 1, column, reason) for column, reason in wrong)
            return
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                reason = f"{len(cells)} cells where the header has {len(header)}"
                problems.append(Problem(file, reader.line_num, "", reason))
                continue
            named = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            cells_by_column = {**dict.fromkeys(optional, ""), **named}
            yield reader.line_num, _Row(file, reader.line_num, cells_by_column, problems)
    except csv.Error as error:
        problems.append(Problem(file, reader.line_num, "", str(error)))


def _site(row: _Row) -> Site:
    return Site(
        id=row.get("site", _id, ""),
        region=row.get("region", _region, ""),
        name_zh=row.get("name_zh", _filled, ""),
        name_en=row.get("name_en", _filled, ""),
        sector=row.get("sector", _filled, ""),
        floor_area_m2=row.get("floor_area_m2", _optional(_number(0, 1e8)), None),
        headcount=row.get("headcount", _optional(_count), None),
        latitude=row.get("latitude", _optional(_number(-90, 90)), None),
        longitude=row.get("longitude", _optional(_number(-180, 180)), None),
        tariffs=row.get("tariff", _ids, ()),
    )


def _meter(row: _Row) -> Meter:
    return Meter(
        site=row.get("site", _id, ""),
        id=row.get("meter", _id, ""),
        carrier=row.get("carrier", _one_of("carrier", carriers()), ""),
        role=row.get("role", lambda text: Role(_one_of("role", Role)(text)), Role.CHECK),
        parent=row.get("parent", lambda text: text and _id(text), ""),
        multiplier=row.get("multiplier", _multiplier, 1),
        edge=row.get("edge", lambda text: text and _id(text), ""),
        valid_from_ms=row.get("valid_from", _time_ms, _SINCE_EVER_MS),
        note=row.text("note"),
    )


def _check_sites(sites: Iterable[tuple[int, Site]], problems: list[Problem]) -> None:
    first: dict[str, int] = {}
    for line, site in sites:
        if site.id and first.setdefault(site.id, line) != line:
            reason = f"{site.id} stands already in line {first[site.id]}"
            problems.append(Problem("sites.csv", line, "site", reason))


def _check_meters(
    meters: Sequence[tuple[int, Meter]], sites: set[str], problems: list[Problem]
) -> None:
    def refuse(line: int, column: str, reason: str) -> None:
        problems.append(Problem("meters.csv", line, column, reason))

    first: dict[tuple[str, str, int], int] = {}
    for line, meter in meters:
        if meter.site and meter.site not in sites:
            refuse(line, "site", f"{meter.site} is not in sites.csv")
        key = (meter.site, meter.id, meter.valid_from_ms)
        if meter.id and first.setdefault(key, line) != line:
            reason = f"{meter.id} of {meter.site} with this valid_from stands already in line"
            refuse(line, "meter", f"{reason} {first[key]}")
    register = Register.of((), (meter for _, meter in meters))
    for line, meter in meters:
        if not meter.parent:
            continue
        parent = register.meter(meter.site, meter.parent, meter.valid_from_ms)
        if parent is None:
            known = (meter.site, meter.parent) in register.rows
            reason = "is not yet valid then" if known else f"is no meter of {meter.site}"
            refuse(line, "parent", f"{meter.parent} {reason}")
        elif parent.carrier != meter.carrier:
            reason = f"{meter.parent} counts {parent.carrier}, not {meter.carrier}"
            refuse(line, "parent", reason)
        elif cycle := _cycle(register, meter):
            refuse(line, "parent", f"is its own ancestor: {' > '.join(cycle)}")


def _cycle(register: Register, meter: Meter) -> list[str]:
    """Return the way from a meter up to itself, at any time from its row on; [] when none."""
    later = register.borders(meter.site, meter.valid_from_ms, _FOR_EVER_MS)
    for time_ms in (meter.valid_from_ms, *later):
        if register.meter(meter.site, meter.id, time_ms) != meter:
            continue  # replaced by a later row, which is checked for itself
        way = [meter.id]
        row: Meter | None = meter
        while row is not None and row.parent and row.parent not in way[1:]:
            way.append(row.parent)
            if row.parent == meter.id:
                return way
            row = register.meter(meter.site, row.parent, time_ms)
    return []


def _id(text: str) -> str:
    return check_id(text, "id")


def _ids(text: str) -> tuple[str, ...]:
    return tuple(_id(part) for part in text.split())


def _filled(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def _region(text: str) -> str:
    if not (len(text) == 6 and text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a GB/T 2260 code of 6 digits")
    return text


def _optional(convert: Callable[[str], Value]) -> Callable[[str], Value | None]:
    return lambda text: convert(text) if text else None


def _number(low: float, high: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{text} is not between {low:g} and {high:g}")
        return value

    return convert


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _one_of(what: str, known: Iterable[str]) -> Callable[[str], str]:
    names = tuple(known)

    def convert(text: str) -> str:
        if text not in names:
            raise ValueError(f"unknown {what} {text!r}; known: {', '.join(names)}")
        return text

    return convert


def _multiplier(text: str) -> int:
    """CT x VT: whole, so that micro-units stay whole and intervals sum to register differences."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{text} is not above 0: it would make all energy of the meter vanish")
    if value != value.to_integral_value():
        raise ValueError(
            f"{text} is not whole: CT x VT is a product of whole ratios, "
            "and a scale of the register belongs into the device map"
        )
    if value > MAX_MULTIPLIER:
        raise ValueError(f"{text} is above {MAX_MULTIPLIER}")
    return int(value)


def _time_ms(text: str) -> int:
    """'' since ever; 2026-01-31 from Beijing midnight; else RFC 3339 with its offset."""
    if not text:
        return _SINCE_EVER_MS
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
    return int(time.timestamp()) * 1000 + time.microsecond // 1000
