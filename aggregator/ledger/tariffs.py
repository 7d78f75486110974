"""Time-of-use tariffs: dated hours and dated prices, and the steps over time a kernel applies.

A *calendar* says which period (尖峰平谷深谷) holds at which time of day, month by month; a *tariff*
says what a period costs. Both are dated rows from TOML files (`tables/tariffs/README.md`, loaded
by `tariff_tables`). Prices are decimals, exactly as printed; the float64 handed to a kernel is made
once, at the end. All times of day are Beijing time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aggregator.ledger.charges import Blocks, DemandPrices
from aggregator.ledger.factors import DENOMINATORS
from aggregator.ledger.rows import Dated, Problem, TableError, covers
from contract.interval import BEIJING_OFFSET_MS, DAY_MS, MINUTE_MS, day_start
from contract.units import MICRO

DAY_MIN = 24 * 60
Charge = TypeVar("Charge", DemandPrices, Blocks)


class Period(StrEnum):
    """Part of a tariff's day, dearest first."""

    SHARP = "sharp"
    PEAK = "peak"
    FLAT = "flat"
    VALLEY = "valley"
    DEEP_VALLEY = "deep_valley"

    @property
    def name_zh(self) -> str:
        """What the electricity bill calls it."""
        return _NAMES_ZH[self]


_NAMES_ZH = {
    Period.SHARP: "尖峰",
    Period.PEAK: "高峰",
    Period.FLAT: "平段",
    Period.VALLEY: "低谷",
    Period.DEEP_VALLEY: "深谷",
}
PERIODS = tuple(Period)
NO_PERIOD = -1
"""In `TariffSteps.period`: no row of the calendar holds."""


class TariffTableError(TableError):
    """The tariff tables, or what sites say of them, cannot be used; permanent until edited."""


@dataclass(frozen=True, slots=True)
class Hours:
    """One row of a calendar: the periods of the day in each month.

    Half-open validity [valid_from_ms, valid_to_ms), cut at Beijing midnight.
    """

    id: str
    calendar: str
    valid_from_ms: int
    valid_to_ms: int | None
    months: tuple[tuple[tuple[int, Period], ...], ...]
    """January first; per month (minute of the day, period that begins then), the first at 0."""
    source: str
    verified: bool
    note: str


@dataclass(frozen=True, slots=True)
class Prices:
    """One row of a tariff: what each period costs. Validity as that of `Hours`."""

    id: str
    tariff: str
    valid_from_ms: int
    valid_to_ms: int | None
    price: Mapping[Period, Decimal]
    """As printed, in the unit of the tariff."""
    source: str
    verified: bool
    note: str


@dataclass(frozen=True, slots=True)
class TariffSteps:
    """A tariff over a span of time. Step i holds in [valid_from_ms[i], valid_from_ms[i + 1]).

    valid_from_ms  int64[k], ascending; the first is not after the span's start
    price          float64[k], CNY per one unit of the channel; NaN where none may be applied
    period         int8[k], index into PERIODS, or NO_PERIOD
    """

    valid_from_ms: NDArray[np.int64]
    price: NDArray[np.float64]
    period: NDArray[np.int8]

    def period_of(self, time_ms: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the period of each time inside the span [int8, index into PERIODS]."""
        step = np.searchsorted(self.valid_from_ms, time_ms, side="right") - 1
        return self.period[step]


@dataclass(frozen=True, slots=True)
class Tariff:
    """One price list of one class of users, for one carrier."""

    name: str
    title: str
    title_zh: str
    region: str
    carrier: str
    unit: str
    """CNY per kWh, m3, kg, t, MJ or GJ, as printed: `CNY/kWh`."""
    user_class: str
    """Class of users and voltage, as the price list names it."""
    calendar: str
    """"" when one price holds all day."""
    allow_unverified: bool
    hours: tuple[Hours, ...] = field(repr=False)
    """Rows of the calendar, ascending; none without a calendar."""
    prices: tuple[Prices, ...] = field(repr=False)
    """Ascending."""
    demand: tuple[DemandPrices, ...] = field(default=(), repr=False)
    """Ascending; none where a month of demand costs nothing."""
    blocks: tuple[Blocks, ...] = field(default=(), repr=False)
    """Ascending; none where an amount costs no more than its parts."""

    @property
    def channel_unit(self) -> str:
        """Catalogue unit of the amounts this tariff prices: kWh, m3, t or GJ."""
        return DENOMINATORS[self.unit.split("/")[1]][0]

    def applies_to(self, region: str) -> bool:
        """Tell whether a site in this GB/T 2260 region may use the tariff."""
        return covers(self.region, region)

    def why_not(self, time_ms: int) -> str:
        """Return why there is no price at a time, "" when there is one."""
        hours, prices = _at(self.hours, time_ms), _at(self.prices, time_ms)
        if self.calendar and hours is None:
            return f"calendar {self.calendar} of tariff {self.name} has no row for that time"
        if prices is None:
            return f"tariff {self.name} has no prices for that time"
        for row in (hours, prices):
            if row is not None and not self._usable(row):
                return (
                    f"row {row.id} is not verified and tariff {self.name} takes verified rows only"
                )
        return ""

    def rows(self, from_ms: int, to_ms: int) -> Sequence[Hours | Prices]:
        """Return the rows of calendar and prices that hold somewhere in [from_ms, to_ms)."""
        rows: tuple[Hours | Prices, ...] = (*self.hours, *self.prices)
        return [
            row
            for row in rows
            if row.valid_from_ms < to_ms and (row.valid_to_ms is None or row.valid_to_ms > from_ms)
        ]

    def demand_at(self, month_ms: int) -> DemandPrices | str:
        """Return the demand prices of a month, or why there are none that may be used."""
        return self._charge(self.demand, month_ms, "demand price")

    def blocks_at(self, month_ms: int) -> Blocks | str:
        """Return the blocks of a month, or why there are none that may be used."""
        return self._charge(self.blocks, month_ms, "blocks")

    def amount(self, micro: int) -> Decimal:
        """Return an amount of the channel in the unit that the tariff prices."""
        return Decimal(micro) / MICRO * DENOMINATORS[self.unit.split("/")[1]][1]

    def _charge(self, rows: Sequence[Charge], month_ms: int, what: str) -> Charge | str:
        row = _at(rows, month_ms)
        if row is None:
            return f"tariff {self.name} has no {what} for that month"
        if not self._usable(row):
            return f"row {row.id} is not verified and tariff {self.name} takes verified rows only"
        return row

    def steps(self, from_ms: int, to_ms: int) -> TariffSteps:
        """Return the steps that cover [from_ms, to_ms), cut at every Beijing midnight."""
        days = np.arange(day_start(from_ms), to_ms, DAY_MS, dtype=np.int64)
        month = _month(days)
        hours = _index(self.hours, days)
        times, periods = [], []
        pattern = np.where(hours < 0, NO_PERIOD, hours * 12 + month)
        for key in np.unique(pattern).tolist():
            begin, period = self._pattern(key)
            chosen = days[pattern == key]
            times.append((chosen[:, None] + begin * MINUTE_MS).ravel())
            periods.append(np.tile(period, len(chosen)))
        time_ms, which = np.concatenate(times), np.concatenate(periods)
        order = np.argsort(time_ms)
        time_ms, which = time_ms[order], which[order]
        price = self._price_table()[_index(self.prices, time_ms), which]
        usable = np.array([*(self._usable(row) for row in self.hours), False])
        if self.calendar:
            price = np.where(usable[_index(self.hours, time_ms)], price, np.nan)
        return TariffSteps(time_ms, price, which)

    def borders_min(self) -> Mapping[int, str]:
        """Return the minutes of the day at which a period begins, and a row where each does."""
        return {minute: row.id for row in self.hours for month in row.months for minute, _ in month}

    def _pattern(self, key: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Return the minutes at which periods begin, and the periods, of one row and month."""
        if key == NO_PERIOD:
            alone = NO_PERIOD if self.calendar else PERIODS.index(Period.FLAT)
            return np.zeros(1, np.int64), np.array([alone], np.int8)
        row, month = divmod(key, 12)
        day = self.hours[row].months[month]
        return (
            np.array([minute for minute, _ in day], np.int64),
            np.array([PERIODS.index(period) for _, period in day], np.int8),
        )

    def _price_table(self) -> NDArray[np.float64]:
        """Return CNY per channel unit by (row of prices, period); the last of each is NaN."""
        table = np.full((len(self.prices) + 1, len(PERIODS) + 1), np.nan)
        per_unit = DENOMINATORS[self.unit.split("/")[1]][1]
        for number, row in enumerate(self.prices):
            if self._usable(row):
                for period, price in row.price.items():
                    table[number, PERIODS.index(period)] = float(price * per_unit)
        return table

    def _usable(self, row: Hours | Prices | DemandPrices | Blocks) -> bool:
        return row.verified or self.allow_unverified


@dataclass(frozen=True, slots=True)
class TariffLibrary:
    """All tariffs of the folders loaded, by name."""

    tariffs: Mapping[str, Tariff]

    def choose(self, name: str) -> Tariff:
        """Return a tariff by name; TariffTableError names those there are."""
        if name not in self.tariffs:
            known = ", ".join(sorted(self.tariffs)) or "none"
            reason = f"no tariff {name!r}; there are: {known}"
            raise TariffTableError([Problem("", "", "tariff", reason)])
        return self.tariffs[name]


Row = TypeVar("Row", bound=Dated)


def _at(rows: Sequence[Row], time_ms: int) -> Row | None:
    for row in rows:
        if row.valid_from_ms <= time_ms and (row.valid_to_ms is None or time_ms < row.valid_to_ms):
            return row
    return None


def _index(rows: Sequence[Dated], time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per time the index of the row in force, -1 where none is."""
    if not rows:
        return np.full(len(time_ms), -1, np.int64)
    starts = np.array([row.valid_from_ms for row in rows], np.int64)
    index = np.searchsorted(starts, time_ms, side="right") - 1
    end = rows[-1].valid_to_ms  # rows meet end to start: only the last can have ended
    return index if end is None else np.where(time_ms < end, index, -1)


def _month(days_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the month of each Beijing day, 0 = January."""
    dates = ((days_ms + BEIJING_OFFSET_MS) // DAY_MS).astype("datetime64[D]")
    return dates.astype("datetime64[M]").astype(np.int64) % 12
