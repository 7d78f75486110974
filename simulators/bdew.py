"""Load shapes of buildings: the standard load profiles of BDEW, as the library demandlib has them.

This is the only file that knows demandlib. Shares are parts per million of the year's highest
value, on Beijing's calendar; seasons and weekdays are those of BDEW, without holidays.

Electricity is read from demandlib's table and looked up by season, weekday and quarter of an hour:
its class ElecSlp, which does the same, turns warnings into errors and so fails beside pandas 3.1.
Heat is what its class HeatBuilding (sigmoid of the outdoor temperature, hour and weekday) computes.
"""

from __future__ import annotations

import csv
import datetime as dt
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import pandas as pd
from demandlib import bdew

from simulators.noise import PPM
from simulators.weather import BEIJING_MINUTES, DAY_MINUTES, EPOCH, Weather, beijing_date

QUARTERS = 96
ELECTRIC = ("h0", "g0", "g1", "g2", "g3", "g4", "g5", "g6", "l0", "l1", "l2")
DWELLINGS = ("EFH", "MFH")
BUILDING_CLASS = 3
"""Of dwellings: the middle of BDEW's scale of building ages."""


def season(day: dt.date) -> str:
    """BDEW's season of a day."""
    at = (day.month, day.day)
    if at >= (11, 1) or at <= (3, 20):
        return "winter"
    return "summer" if (5, 15) <= at <= (9, 14) else "transition"


def electric_ppm(profile: str, minute: int) -> int:
    """Share of the year's peak in one UTC minute [ppm]; ValueError for an unknown profile."""
    date, of_day = beijing_date(minute), (minute + BEIJING_MINUTES) % DAY_MINUTES
    return _electric(profile)[season(date), date.weekday()][of_day // 15]


@cache
def _electric(profile: str) -> Mapping[tuple[str, int], tuple[int, ...]]:
    """(season, weekday from Monday = 0) -> 96 shares [ppm]."""
    if profile not in ELECTRIC:
        raise ValueError(f"no BDEW profile {profile!r}; known: {', '.join(ELECTRIC)}")
    found: dict[tuple[str, int], list[int]] = {}
    with (files("demandlib") / "bdew" / "bdew_data" / "selp_series.csv").open() as file:
        for row in csv.DictReader(file):
            micro = round(float(row[profile]) * 1_000_000)  # six decimals: exact
            found.setdefault((row["period"], int(row["weekday"]) - 1), []).append(micro)
    peak = max(map(max, found.values()))
    return {key: tuple(micro * PPM // peak for micro in day) for key, day in found.items()}


def heat_ppm(kind: str, weather: Weather, minute: int) -> int:
    """Share of the year's highest heat demand in one UTC minute [ppm], without hot water."""
    date, of_day = beijing_date(minute), (minute + BEIJING_MINUTES) % DAY_MINUTES
    hour = (date.timetuple().tm_yday - 1) * 24 + of_day // 60
    return _heat(kind, weather, date.year)[hour]


@cache
def _heat(kind: str, weather: Weather, year: int) -> tuple[int, ...]:
    """The hours of a Beijing year [ppm of its highest]."""
    begin = (dt.date(year, 1, 1) - EPOCH).days * DAY_MINUTES - BEIJING_MINUTES
    hours = pd.date_range(dt.datetime(year, 1, 1), dt.datetime(year, 12, 31, 23), freq="h")  # noqa: DTZ001
    degrees = [weather.temperature_mdeg(begin + 60 * n) / 1000 for n in range(len(hours))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what pandas will drop
        try:
            building = bdew.HeatBuilding(
                hours,
                temperature=pd.Series(degrees, index=hours),
                shlp_type=kind,
                building_class=BUILDING_CLASS if kind in DWELLINGS else 0,
                wind_class=0,
                annual_heat_demand=1,
                ww_incl=False,
            )
            demand = building.get_bdew_profile().to_numpy()
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"BDEW knows no building {kind!r}: {error}") from error
    return tuple(round(share * PPM) for share in (demand / demand.max()).tolist())
