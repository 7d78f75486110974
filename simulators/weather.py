"""Weather of a district: outdoor temperature and clouds, in integers, the same on every machine.

Temperature = monthly means joined by straight lines from mid-month to mid-month, a slow wobble over
days, and the daily swing (coldest at 05:00, warmest at 17:00 Beijing time).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from simulators.noise import derive_seed, smooth, uniform
from simulators.solar import cosine_ppm

DAY_MINUTES = 1440
BEIJING_MINUTES = 480
WARMEST_MINUTE = 17 * 60
WOBBLE_MINUTES = 2 * DAY_MINUTES
MID_MONTH = 15
EPOCH = date(1970, 1, 1)


def beijing_date(minute: int) -> date:
    """The Beijing date of one UTC minute since the epoch."""
    return _date((minute + BEIJING_MINUTES) // DAY_MINUTES)


@lru_cache(maxsize=1024)
def _date(day: int) -> date:
    return EPOCH + timedelta(days=day)


@dataclass(frozen=True, slots=True)
class Weather:
    """Climate of a place. mean_mdeg: of January to December [1/1000 degC]; swing: half of the daily
    range; wobble: how far a day may lie from the mean.
    """

    mean_mdeg: tuple[int, ...]
    swing_mdeg: int
    wobble_mdeg: int
    seed: int

    def temperature_mdeg(self, minute: int) -> int:
        """Outdoor temperature in one UTC minute since the epoch [1/1000 degC]."""
        of_day = (minute + BEIJING_MINUTES) % DAY_MINUTES
        daily = cosine_ppm((of_day - WARMEST_MINUTE) * 250) * self.swing_mdeg // 1_000_000
        slow = smooth(self.seed, minute, WOBBLE_MINUTES, -self.wobble_mdeg, self.wobble_mdeg)
        return self._seasonal(minute) + daily + slow

    def _seasonal(self, minute: int) -> int:
        day, of_day = divmod(minute + BEIJING_MINUTES, DAY_MINUTES)
        begin, end = _mid_months(beijing_date(minute))
        gone = (day - (begin - EPOCH).days) * DAY_MINUTES + of_day
        before, after = self.mean_mdeg[begin.month - 1], self.mean_mdeg[end.month - 1]
        return before + (after - before) * gone // ((end - begin).days * DAY_MINUTES)


def cloud_percent(seed: int, minute: int) -> int:
    """How much of the clear sky's light clouds take in one UTC minute [percent].

    Each Beijing day has its own overcast, and clouds pass within the quarter of an hour.
    """
    overcast = uniform(seed, (minute + BEIJING_MINUTES) // DAY_MINUTES, 5, 55)
    return smooth(seed + 1, minute, 14, 0, 100) * overcast // 100


def weather_of(table: dict[str, object], seed: int) -> Weather:
    """The [weather] table of a district file; ValueError says what is wrong."""
    means = table.pop("mean_degc")
    if not isinstance(means, list) or len(means) != 12:
        raise ValueError("weather: mean_degc needs twelve months")
    swing, wobble = (float(str(table.pop(key))) for key in ("swing_degc", "wobble_degc"))
    table.pop("source", None)
    if table:
        raise ValueError(f"weather: unknown {', '.join(table)}")
    return Weather(
        tuple(round(mean * 1000) for mean in means),
        round(swing * 1000),
        round(wobble * 1000),
        derive_seed(seed, "weather"),
    )


@lru_cache(maxsize=1024)
def _mid_months(day: date) -> tuple[date, date]:
    """The middles of the months that a date lies between."""
    year, month = day.year, day.month
    if day.day < MID_MONTH:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    following = (year, month + 1) if month < 12 else (year + 1, 1)
    return date(year, month, MID_MONTH), date(*following, MID_MONTH)
