"""Output of a PV plant, with pvlib: the only file that knows it.

Clear sky (Ineichen and Perez) over the site, dimmed by seeded clouds, split into direct and diffuse
light (Erbs), turned onto the modules (isotropic sky), warmed (Faiman), and through PVWatts' module,
inverter and losses. Results are rounded to whole parts per million of the rating.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pvlib

from simulators.noise import PPM
from simulators.weather import DAY_MINUTES, Weather, cloud_percent

TURBIDITY = 4.5
"""Linke turbidity of the hazy air over the plain, the same all year."""
TEMPERATURE_COEFFICIENT = -0.0035
DC_PER_AC = 1.1
DAYS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Plant:
    """Modules at a place. azimuth: 180 is south. seed: of its clouds."""

    latitude: float
    longitude: float
    tilt: float
    azimuth: float
    weather: Weather
    seed: int


@dataclass(frozen=True, slots=True)
class Day:
    """1440 UTC minutes. share_ppm: AC power over DC rating; light_w: onto the modules [W/m2]."""

    share_ppm: tuple[int, ...]
    light_w: tuple[int, ...]


@lru_cache(maxsize=DAYS_KEPT)
def output(plant: Plant, day: int) -> Day:
    """What a plant gives on one UTC day since the epoch."""
    minutes = range(day * DAY_MINUTES, (day + 1) * DAY_MINUTES)
    times = pd.DatetimeIndex(
        np.array([minute * 60 for minute in minutes], "datetime64[s]"), tz="UTC"
    )
    sky = np.array([100 - cloud_percent(plant.seed, minute) for minute in minutes]) / 100
    air = np.array([plant.weather.temperature_mdeg(minute) for minute in minutes]) / 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what pandas will drop
        sun = pvlib.solarposition.get_solarposition(times, plant.latitude, plant.longitude)
        zenith = sun["apparent_zenith"]
        clear = pvlib.clearsky.ineichen(
            zenith,
            pvlib.atmosphere.get_absolute_airmass(pvlib.atmosphere.get_relative_airmass(zenith)),
            TURBIDITY,
        )
        ghi = clear["ghi"].fillna(0) * sky
        split = pvlib.irradiance.erbs(ghi, sun["zenith"], times)
        light = pvlib.irradiance.get_total_irradiance(
            plant.tilt, plant.azimuth, zenith, sun["azimuth"], split["dni"], ghi, split["dhi"]
        )["poa_global"].fillna(0)
        cell = pvlib.temperature.faiman(light, air)
        dc = pvlib.pvsystem.pvwatts_dc(light, cell, 1.0, TEMPERATURE_COEFFICIENT)
        dc *= 1 - pvlib.pvsystem.pvwatts_losses() / 100
        ac = pvlib.inverter.pvwatts(dc, 1 / DC_PER_AC)
    return Day(
        tuple(round(max(share, 0) * PPM) for share in ac.fillna(0).tolist()),
        tuple(round(max(watts, 0)) for watts in light.tolist()),
    )


def irradiation_wh(plant: Plant, from_ms: int, to_ms: int) -> int:
    """Light onto the modules between two whole minutes [Wh/m2]: what a pyranometer would count."""
    total = 0
    for minute in range(from_ms // 60_000, to_ms // 60_000):
        day, of_day = divmod(minute, DAY_MINUTES)
        total += output(plant, day).light_w[of_day]
    return total // 60
