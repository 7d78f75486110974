"""What several resources share: parameters, amounts with their unit in the name, CSV."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from inspect import isclass
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from fastapi import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from aggregator.api.errors import ApiError
from aggregator.api.reader import LedgerReader
from aggregator.register.model import Site
from contract.interval import DAY_MS, HOUR_MS, day_start
from contract.reading import MAX_TIME_MS, MIN_TIME_MS
from contract.stored import Level
from contract.units import MICRO

MAX_ROWS = 50_000
"""Most figures one request may ask for."""

_MONTH_MIN_MS = 28 * DAY_MS

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet computes."""

AMOUNT_FIELDS = {
    "kWh": "energy_kwh",
    "kvarh": "reactive_energy_kvarh",
    "m3": "volume_m3",
    "t": "mass_t",
    "GJ": "heat_gj",
}
"""Unit of a cumulative channel -> field of `Amounts`."""


ShapeOf = TypeVar("ShapeOf", bound=BaseModel)


class Shape(BaseModel):
    """Base of all parameters and answers."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, frozen=True, populate_by_name=True
    )


class Amounts(Shape):
    """An amount by unit; only the units that occur are there."""

    energy_kwh: float | None = None
    reactive_energy_kvarh: float | None = None
    volume_m3: float | None = None
    mass_t: float | None = None
    heat_gj: float | None = None

    @classmethod
    def of(cls, micro: Mapping[str, int]) -> Self:
        """Return amounts from int micro-units by unit."""
        return cls.model_validate(
            {AMOUNT_FIELDS[unit]: amount / MICRO for unit, amount in micro.items()}
        )


def _time_ms(value: object) -> object:
    """Read '2026-01-31T08:00:00+08:00', '2026-01-31' (Beijing midnight) or UTC milliseconds."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if re.fullmatch(r"-?[0-9]{1,19}", text):
        return int(text)
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        text += "T00:00:00+08:00"
    text = re.sub(r" (?=[0-9]{2}:?[0-9]{2}$)", "+", text)  # a + in a query string means a space
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError
        return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{value[:40]!r} is neither an RFC 3339 time with offset, a date, nor UTC milliseconds"
        ) from None


_Milliseconds = Annotated[int, Field(ge=MIN_TIME_MS, le=MAX_TIME_MS)]
TimeMs = Annotated[
    _Milliseconds, BeforeValidator(_time_ms, json_schema_input_type=_Milliseconds | str)
]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
LevelName = Literal["interval", "hour", "day", "month"]
Format = Literal["json", "csv"]


class Period(Shape):
    """From, included, to, excluded. Without them: the Beijing day that `to` or now lies in."""

    from_ms: TimeMs | None = Field(None, alias="from")
    to_ms: TimeMs | None = Field(None, alias="to")

    def resolve(self, now_ms: int) -> tuple[int, int]:
        """Return (from_ms, to_ms); ApiError 422 when from is not before to."""
        to_ms = now_ms if self.to_ms is None else self.to_ms
        from_ms = day_start(to_ms - 1) if self.from_ms is None else self.from_ms
        if from_ms >= to_ms:
            raise ApiError(422, "from", f"{utc(from_ms)} is not before to = {utc(to_ms)}")
        return from_ms, to_ms


def check_rows(level: Level, grid_ms: int, series: int, from_ms: int, to_ms: int) -> None:
    """Refuse a request for more than MAX_ROWS figures with ApiError 422."""
    lengths = {
        Level.INTERVAL: grid_ms,
        Level.HOUR: HOUR_MS,
        Level.DAY: DAY_MS,
        Level.MONTH: _MONTH_MIN_MS,
    }
    rows = series * math.ceil((to_ms - from_ms) / lengths[level])
    if rows > MAX_ROWS:
        raise ApiError(
            422,
            "to",
            f"asks for up to {rows} figures of {series} channels, at most {MAX_ROWS} are given at "
            "once: shorten the period, name one meter, or take a longer level",
        )


def find_site(reader: LedgerReader, site: str) -> Site:
    """Return a site of the register; ApiError 404."""
    found = reader.register.sites.get(site)
    if found is None:
        raise ApiError(404, "site", f"no site {site!r} in the register")
    return found


def find_sites(reader: LedgerReader, site: str | None) -> Sequence[Site]:
    """Return one site, or all when none is named; ApiError 404."""
    return list(reader.register.sites.values()) if site is None else [find_site(reader, site)]


def find_meter(reader: LedgerReader, site: str | None, meter: str) -> Site:
    """Return the site of a meter of the register; ApiError 404, or 422 when no site is named."""
    if site is None:
        raise ApiError(422, "site", "missing: a meter's id is unique within its site only")
    found = find_site(reader, site)
    if (site, meter) not in reader.register.rows:
        raise ApiError(404, "meter", f"no meter {meter!r} at site {site!r}")
    return found


def utc(time_ms: int) -> str:
    """Return an RFC 3339 time in UTC."""
    seconds, millis = divmod(time_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis:03}Z" if millis else f"{text}Z"


def known(value: float) -> float | None:
    """Return a number, or None for NaN: not determined is null, never 0."""
    return None if math.isnan(value) else value


def widened(shape: type[ShapeOf], row: BaseModel, **more: object) -> ShapeOf:
    """Return a row as another shape that has more members."""
    return shape(**{name: getattr(row, name) for name in type(row).model_fields}, **more)


def csv_response(shape: type[BaseModel], rows: Iterable[BaseModel]) -> Response:
    """Return rows of one shape as CSV; members of members become columns named outer_inner.

    The header is the shape's whatever the rows hold. A byte order mark tells spreadsheets that it
    is UTF-8, and what a spreadsheet would take for a formula stands behind an apostrophe.
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(_columns(shape)))
    writer.writeheader()
    for row in rows:
        writer.writerow(dict(_cells(row.model_dump(by_alias=True, exclude_unset=True))))
    return Response("\ufeff" + file.getvalue(), media_type="text/csv; charset=utf-8")


def _columns(shape: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in shape.model_fields.items():
        column = prefix + (field.serialization_alias or name)
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind]
        inner = [kind for kind in kinds if isclass(kind) and issubclass(kind, BaseModel)]
        if inner:
            yield from _columns(inner[0], f"{column}_")
        else:
            yield column


def _cells(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield column and cell of what is there."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}_")
        elif isinstance(value, (list, tuple)):
            yield prefix + name, _text(" ".join(map(str, value)))
        elif value is not None:
            yield prefix + name, _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULAS) else text
