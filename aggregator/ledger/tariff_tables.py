"""Loads calendars and tariffs from TOML folders and refuses what is unclear.

Errors: `TariffTableError` holds every problem of all files at once, each naming file, row and key.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from aggregator.ledger.charge_tables import (
    blocks_faults,
    demand_faults,
    read_blocks,
    read_demand,
)
from aggregator.ledger.charges import Blocks, DemandPrices
from aggregator.ledger.factors import DENOMINATORS
from aggregator.ledger.rows import (
    NUMBER,
    Kind,
    Problem,
    day_ms,
    region_fault,
    shape_faults,
    tiling_faults,
)
from aggregator.ledger.seasons import read_seasons
from aggregator.ledger.tariffs import (
    PERIODS,
    Hours,
    Period,
    Prices,
    Tariff,
    TariffLibrary,
    TariffTableError,
)

Fault = tuple[str, str]
"""Key and reason."""

_VALIDITY: Mapping[str, Kind] = {"valid_from": date, "valid_to": date}
_WHENCE: Mapping[str, Kind] = {"source": str, "verified": bool, "note": str}
_CALENDAR_KEYS: Mapping[str, Kind] = {"title": str, "source": str}
_TARIFF_KEYS: Mapping[str, Kind] = {
    "title": str,
    "title_zh": str,
    "region": str,
    "carrier": str,
    "unit": str,
    "user_class": str,
    "calendar": str,
    "allow_unverified": bool,
    "source": str,
}
_HOURS_KEYS: Mapping[str, Kind] = {"id": str, **_VALIDITY, "season": list, **_WHENCE}
_PRICES_KEYS: Mapping[str, Kind] = {
    "id": str,
    **_VALIDITY,
    **dict.fromkeys(map(str, PERIODS), NUMBER),
    **_WHENCE,
}
_OPTIONAL = frozenset({"valid_to", "note"})


def tariffs_folder() -> Path:
    """Return the folder of the tariffs shipped with the aggregator."""
    return Path(__file__).parent / "tables" / "tariffs"


@cache
def builtin_tariffs() -> TariffLibrary:
    """Return the shipped tariffs alone."""
    return load_tariffs([tariffs_folder()])


def load_tariffs(folders: Iterable[Path]) -> TariffLibrary:
    """Load every *.toml of the folders there are; TariffTableError lists all problems."""
    return _Loader().load([path for folder in folders for path in folder.glob("*.toml")])


class _Loader:
    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._owner: dict[str, str] = {}
        """Row id -> file."""
        self._files: dict[str, str] = {}
        """Stem of a file: name of its calendar or tariff -> where it was found first."""
        self._hours: dict[str, list[Hours]] = {}
        self._prices: dict[str, list[Prices]] = {}
        self._demand: dict[str, list[DemandPrices]] = {}
        self._blocks: dict[str, list[Blocks]] = {}
        self._headers: dict[str, Mapping[str, Any]] = {}

    def load(self, paths: Iterable[Path]) -> TariffLibrary:
        for path in sorted(paths):
            try:
                table = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                self._refuse(path.name, "", "", f"not TOML: {error}")
                continue
            if path.stem in self._files:
                self._refuse(path.name, "", "", "a second file of this name")
            elif {"calendar", "hours"} & {*table}:
                self._load_calendar(path, table)
            else:
                self._load_tariff(path, table)
            self._files.setdefault(path.stem, path.name)
        tariffs = {name: self._tariff(name) for name in self._headers}
        if self._problems:
            raise TariffTableError(self._problems)
        return TariffLibrary(tariffs)

    def _refuse(self, file: str, where: str, key: str, reason: str) -> None:
        self._problems.append(Problem(file, where, key, reason))

    def _refuse_all(self, file: str, where: str, faults: Iterable[Fault]) -> bool:
        """Note all faults; tell whether there were any."""
        found = list(faults)
        for key, reason in found:
            self._refuse(file, where, key, reason)
        return bool(found)

    # ------------------------------------------------------------------ files

    def _load_calendar(self, path: Path, table: Mapping[str, Any]) -> None:
        self._sections(path, table, {"calendar", "hours"})
        header = self._header(path, table, "calendar", _CALENDAR_KEYS, frozenset({"source"}))
        rows = [
            hours
            for where, raw in self._rows(path, table, "hours", header)
            if (hours := self._read_hours(path, where, raw)) is not None
        ]
        self._hours[path.stem] = self._tiled(path, rows)

    def _load_tariff(self, path: Path, table: Mapping[str, Any]) -> None:
        self._sections(path, table, {"tariff", "price", "demand", "blocks"})
        optional = frozenset({"calendar", "source"})
        header = self._header(path, table, "tariff", _TARIFF_KEYS, optional)
        rows = [
            prices
            for where, raw in self._rows(path, table, "price", header)
            if (prices := self._read_prices(path, where, raw)) is not None
        ]
        if header is not None and not self._refuse_all(
            path.name, "[tariff]", _tariff_faults(header)
        ):
            self._headers[path.stem] = header
            self._prices[path.stem] = self._tiled(path, rows)
            self._load_charges(path, table, header)

    def _load_charges(
        self, path: Path, table: Mapping[str, Any], header: Mapping[str, Any]
    ) -> None:
        demand = []
        for where, raw in self._rows(path, table, "demand", header, optional=True):
            if not self._refuse_all(path.name, where, demand_faults(raw, header)):
                self._own(path, where, raw["id"])
                demand.append(read_demand(raw, path.stem))
        blocks = []
        for where, raw in self._rows(path, table, "blocks", header, optional=True):
            if not self._refuse_all(path.name, where, blocks_faults(raw)):
                self._own(path, where, raw["id"])
                blocks.append(read_blocks(raw, path.stem))
        self._demand[path.stem] = self._tiled(path, demand)
        self._blocks[path.stem] = self._tiled(path, blocks)

    def _sections(self, path: Path, table: Mapping[str, Any], known: set[str]) -> None:
        self._refuse_all(path.name, "", ((key, "unknown key") for key in sorted({*table} - known)))

    def _header(
        self,
        path: Path,
        table: Mapping[str, Any],
        name: str,
        keys: Mapping[str, Kind],
        optional: frozenset[str],
    ) -> Mapping[str, Any] | None:
        header = table.get(name)
        if not isinstance(header, Mapping):
            self._refuse(path.name, f"[{name}]", "", "missing")
            return None
        faults = shape_faults(header, keys, optional)
        return None if self._refuse_all(path.name, f"[{name}]", faults) else header

    def _rows(
        self,
        path: Path,
        table: Mapping[str, Any],
        name: str,
        header: Mapping[str, Any] | None,
        *,
        optional: bool = False,
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if optional and name not in table:
            return
        shared = {"source": header["source"]} if header and "source" in header else {}
        rows = table.get(name, [])
        if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
            self._refuse(path.name, f"[[{name}]]", "", "at least one such table is needed")
            return
        for number, raw in enumerate(rows, start=1):
            label = f" ({raw['id']})" if isinstance(raw.get("id"), str) else ""
            yield f"{name} {number}{label}", {**shared, **raw}

    def _own(self, path: Path, where: str, row_id: str) -> None:
        owner = self._owner.setdefault(row_id, f"{path.name} {where}")
        if owner != f"{path.name} {where}":
            self._refuse(path.name, where, "id", f"duplicate of {owner}")

    def _tiled(self, path: Path, rows: list[Any]) -> list[Any]:
        for row, reason in tiling_faults(rows):
            self._refuse(path.name, f"row ({row.id})", "valid_from", reason)
        return sorted(rows, key=lambda row: row.valid_from_ms)

    # ------------------------------------------------------------------ rows

    def _read_hours(self, path: Path, where: str, raw: Mapping[str, Any]) -> Hours | None:
        faults = list(shape_faults(raw, _HOURS_KEYS, _OPTIONAL)) or list(_validity_faults(raw))
        if self._refuse_all(path.name, where, faults):
            return None
        self._own(path, where, raw["id"])
        year = read_seasons(raw["season"])
        for place, key, reason in year.faults:
            self._refuse(path.name, f"{where}{place}", key, reason)
        if year.faults:
            return None
        return Hours(
            raw["id"], path.stem, *_validity(raw), year.months,
            raw["source"], raw["verified"], raw.get("note", ""),
        )  # fmt: skip

    def _read_prices(self, path: Path, where: str, raw: Mapping[str, Any]) -> Prices | None:
        optional = _OPTIONAL | {str(period) for period in PERIODS}
        faults = list(shape_faults(raw, _PRICES_KEYS, optional)) or [
            *_validity_faults(raw),
            *_price_faults(raw),
        ]
        if self._refuse_all(path.name, where, faults):
            return None
        self._own(path, where, raw["id"])
        price = {period: Decimal(raw[period]) for period in PERIODS if period in raw}
        return Prices(
            raw["id"], path.stem, *_validity(raw), price,
            raw["source"], raw["verified"], raw.get("note", ""),
        )  # fmt: skip

    # ------------------------------------------------------------------ the whole

    def _tariff(self, name: str) -> Tariff:
        header, prices = self._headers[name], self._prices[name]
        calendar = header.get("calendar", "")
        hours = self._hours.get(calendar, [])
        file = self._files[name]
        if calendar and calendar not in self._hours:
            known = ", ".join(sorted(self._hours)) or "none"
            reason = f"no calendar {calendar!r}; there are: {known}"
            self._refuse(file, "[tariff]", "calendar", reason)
        else:
            for row in prices:
                used = _periods_used(row, hours) if calendar else {Period.FLAT}
                for period in PERIODS:
                    where = f"row ({row.id})"
                    if period in used and period not in row.price:
                        self._refuse(file, where, period, "missing: the calendar has this period")
                    elif period in row.price and period not in used and not calendar:
                        reason = "no calendar is named, so one price `flat` holds all day"
                        self._refuse(file, where, period, reason)
        return Tariff(
            name=name,
            title=header["title"],
            title_zh=header["title_zh"],
            region=header["region"],
            carrier=header["carrier"],
            unit=header["unit"],
            user_class=header["user_class"],
            calendar=calendar,
            allow_unverified=header["allow_unverified"],
            hours=tuple(hours),
            prices=tuple(prices),
            demand=tuple(self._demand[name]),
            blocks=tuple(self._blocks[name]),
        )


def _tariff_faults(header: Mapping[str, Any]) -> Iterator[Fault]:
    money, _, bottom = header["unit"].partition("/")
    if money != "CNY" or bottom not in DENOMINATORS:
        yield "unit", f"unknown {header['unit']!r}; known: CNY per {' '.join(DENOMINATORS)}"
    if reason := region_fault(header["region"]):
        yield "region", reason


def _validity_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    end = raw.get("valid_to")
    if end is not None and end <= raw["valid_from"]:
        yield "valid_to", f"{end} is not after valid_from {raw['valid_from']}"


def _validity(raw: Mapping[str, Any]) -> tuple[int, int | None]:
    end = raw.get("valid_to")
    return day_ms(raw["valid_from"]), None if end is None else day_ms(end)


def _price_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    for period in PERIODS:
        if period in raw and not (Decimal(raw[period]).is_finite() and raw[period] >= 0):
            yield period, f"{raw[period]} is not a finite price of at least 0"


def _periods_used(row: Prices, hours: Iterable[Hours]) -> set[Period]:
    """Return the periods of the calendar's rows that a row of prices meets."""
    return {
        period
        for other in hours
        if (row.valid_to_ms is None or other.valid_from_ms < row.valid_to_ms)
        and (other.valid_to_ms is None or row.valid_from_ms < other.valid_to_ms)
        for month in other.months
        for _, period in month
    }
