"""Shapes of loads: minute of time -> share of the rated flow, in parts per million.

Each shape is a pure function of (minute, seed, its parameters) in integers. Hours are Beijing
hours; a shift [22, 30] runs from 22:00 to 06:00 of the next day. Parameters come from the
district file; an unknown shape or parameter is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from simulators.noise import PPM, smooth, uniform
from simulators.solar import elevation_sine_ppm
from simulators.weather import BEIJING_MINUTES, DAY_MINUTES, Weather, beijing_date, cloud_percent

if TYPE_CHECKING:
    from simulators import photovoltaics

FULL_SUN_PPM = 850_000  # of the module's rating, at the zenith under a clear sky

Shape = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of the rated flow [percent] at each full hour; straight lines in between."""

    weekday: tuple[int, ...]
    weekend: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site lies [1/1000 degree]. sky: seed of the clouds over all that stands there."""

    latitude_mdeg: int
    longitude_mdeg: int
    sky: int


@dataclass(frozen=True, slots=True)
class Context:
    """What a shape may look at beside its own parameters."""

    seed: int
    place: Place
    profiles: Mapping[str, Profile]
    weather: Weather | None = None

    def must_have_weather(self) -> Weather:
        """The weather; ValueError when the district has none."""
        if self.weather is None:
            raise ValueError("the district has no [weather]")
        return self.weather


def _local(minute: int) -> tuple[int, int, bool]:
    """Beijing day number, minute of that day, and whether it is Saturday or Sunday."""
    day, of_day = divmod(minute + BEIJING_MINUTES, DAY_MINUTES)
    return day, of_day, (day + 3) % 7 >= 5


def _hash_noise(seed: int, minute: int, percent: int) -> int:
    """A factor [ppm] around one, drawn anew each minute."""
    return PPM + uniform(seed, minute, -percent * 10_000, percent * 10_000)


def _shift_table(shifts: object, weekend: object, overhaul: object = None) -> Callable[[int], bool]:
    """From [[8, 20], ...] a function: does the shift run in this minute?

    overhaul: month and day of the first and the last day of a yearly stop.
    """
    if not isinstance(shifts, Sequence) or not isinstance(weekend, bool):
        raise ValueError("shifts must be a list of [start hour, end hour], weekend true or false")
    spans = [(int(start) * 60, int(end) * 60) for start, end in shifts]
    if any(not 0 <= start < end <= 2 * DAY_MINUTES for start, end in spans):
        raise ValueError(f"shifts {shifts} must run forward from 0 to at most 48 hours")
    stops = None if overhaul is None else _month_days("overhaul", overhaul)

    def runs(minute: int) -> bool:
        if stops is not None:
            date = beijing_date(minute)
            if stops[0] <= (date.month, date.day) <= stops[1]:
                return False
        _, of_day, is_weekend = _local(minute)
        _, _, was_weekend = _local(minute - DAY_MINUTES)
        for start, end in spans:
            if start <= of_day < end and (weekend or not is_weekend):
                return True
            if start <= of_day + DAY_MINUTES < end and (weekend or not was_weekend):
                return True
        return False

    return runs


def _month_days(name: str, value: object) -> tuple[tuple[int, int], tuple[int, int]]:
    """From [1, 20, 2, 23] the first and the last (month, day)."""
    if not isinstance(value, Sequence) or len(value) != 4:
        raise ValueError(f"{name} must be [month, day, month, day]")
    return (int(value[0]), int(value[1])), (int(value[2]), int(value[3]))


def _steady(context: Context, *, level: int = 80, wobble: int = 10) -> Shape:
    """Runs day and night at `level` percent, moving slowly by `wobble` percent of that."""
    seed = context.seed

    def shape(minute: int) -> int:
        slow = PPM + smooth(seed, minute, 37, -wobble * 10_000, wobble * 10_000)
        return level * 10_000 * slow // PPM * _hash_noise(seed + 1, minute, 2) // PPM

    return shape


def _profile(context: Context, *, profile: str, noise: int = 4) -> Shape:
    """Follows a day profile of the district file: offices, wards, kitchens, heating."""
    if profile not in context.profiles:
        raise ValueError(f"no profile named {profile!r}; known: {', '.join(context.profiles)}")
    table = context.profiles[profile]
    seed = context.seed

    def shape(minute: int) -> int:
        _, of_day, is_weekend = _local(minute)
        hour, rest = divmod(of_day, 60)
        now = table.weekend if is_weekend else table.weekday
        _, _, weekend_next = _local(minute - of_day % 60 + 60)
        then = table.weekend if weekend_next else table.weekday
        share = now[hour] * 10_000 + (then[(hour + 1) % 24] - now[hour]) * 10_000 * rest // 60
        return share * _hash_noise(seed, minute, noise) // PPM

    return shape


def _heats(
    context: Context,
    *,
    shifts: object,
    weekend: bool = True,
    cycle_min: int = 70,
    melt_min: int = 46,
) -> Shape:
    """Induction furnace: melt at full power, hold, tap and charge, heat after heat in a shift."""
    if not 0 < melt_min < cycle_min - 12:
        raise ValueError(f"melt_min {melt_min} must leave 12 minutes of cycle_min {cycle_min}")
    runs = _shift_table(shifts, weekend)
    seed = context.seed
    lag = uniform(seed, 0, 0, cycle_min - 1)

    def shape(minute: int) -> int:
        if not runs(minute):
            return 12_000  # cooling pumps and the cabinet
        heat, within = divmod(minute + lag, cycle_min)
        melting = melt_min + uniform(seed, heat, -5, 5)
        if within < melting:
            ramp = 820_000 + min(within, 6) * 25_000
            return ramp * _hash_noise(seed + 1, minute, 2) // PPM
        if within < melting + 9:
            return 240_000 * _hash_noise(seed + 2, minute, 12) // PPM
        return 30_000

    return shape


def _compressor(
    context: Context, *, shifts: object, weekend: bool = True, overhaul: object = None
) -> Shape:
    """Screw compressor: loaded and unloaded by turns inside the shifts, a third when unloaded."""
    runs = _shift_table(shifts, weekend, overhaul)
    seed = context.seed

    def shape(minute: int) -> int:
        if not runs(minute):
            return 0
        demand = smooth(seed, minute, 45, 45, 98)
        loaded = uniform(seed + 1, minute // 2, 1, 100) <= demand
        return (950_000 if loaded else 320_000) * _hash_noise(seed + 2, minute, 1) // PPM

    return shape


def _batches(
    context: Context, *, cycle_min: int = 240, heat_up_min: int = 40, hold_level: int = 35
) -> Shape:
    """Reactor batches: heat up at full flow, hold, empty and clean, around the clock."""
    if not 0 < heat_up_min < cycle_min:
        raise ValueError(f"heat_up_min {heat_up_min} must lie inside cycle_min {cycle_min}")
    seed = context.seed
    lag = uniform(seed, 0, 0, cycle_min - 1)
    empty_min = cycle_min // 8

    def shape(minute: int) -> int:
        batch, within = divmod(minute + lag, cycle_min)
        if within < heat_up_min + uniform(seed, batch, -3, 3):
            level = 960_000 - within * 150_000 // heat_up_min
        elif within < cycle_min - empty_min:
            level = hold_level * 10_000
        else:
            level = 20_000
        return level * _hash_noise(seed + 1, minute, 3) // PPM

    return shape


def _belt(
    context: Context,
    *,
    shifts: object,
    weekend: bool = True,
    on_min: int = 35,
    overhaul: object = None,
) -> Shape:
    """Coal belt: fills the bunker for `on_min` minutes in each hour of a shift, then stands."""
    runs = _shift_table(shifts, weekend, overhaul)
    seed = context.seed

    def shape(minute: int) -> int:
        hour, within = divmod(minute, 60)
        if not runs(minute) or within >= on_min + uniform(seed, hour, -6, 6):
            return 0
        return 880_000 * _hash_noise(seed + 1, minute, 6) // PPM

    return shape


def _draws(context: Context, *, profile: str) -> Shape:
    """Water taps: many short draws whose number follows a day profile."""
    mean = _profile(context, profile=profile, noise=0)
    seed = context.seed + 1

    def shape(minute: int) -> int:
        return mean(minute) * uniform(seed, minute, 20, 180) // 100

    return shape


def _solar(context: Context) -> Shape:
    """A roof of PV modules under clouds that change by the day and by the quarter of an hour."""
    seed = context.seed
    place = context.place

    def shape(minute: int) -> int:
        sun = elevation_sine_ppm(minute, place.latitude_mdeg, place.longitude_mdeg)
        if sun <= 0:
            return 0
        cloud = cloud_percent(place.sky, minute)
        clear = FULL_SUN_PPM * sun // PPM
        return clear * (100 - cloud) // 100 * _hash_noise(seed + 2, minute, 1) // PPM

    return shape


def _building(context: Context, *, profile: str, noise: int = 3) -> Shape:
    """A building of a BDEW class: g1 offices, g2 evenings, g3 day and night, g4 shops, h0 homes."""
    from simulators import bdew  # noqa: PLC0415  # pandas, only where a district asks for it

    seed = context.seed
    bdew.electric_ppm(profile, 0)

    def shape(minute: int) -> int:
        return bdew.electric_ppm(profile, minute) * _hash_noise(seed, minute, noise) // PPM

    return shape


def _heating(
    context: Context, *, building: str, season: object = (11, 15, 3, 15), noise: int = 2
) -> Shape:
    """Heat of buildings of a BDEW class by the weather, inside the heating season only.

    season: month and day of its first and of its last day.
    """
    from simulators import bdew  # noqa: PLC0415  # pandas, only where a district asks for it

    weather, seed = context.must_have_weather(), context.seed
    first, last = _month_days("season", season)
    bdew.heat_ppm(building, weather, 0)

    def shape(minute: int) -> int:
        date = beijing_date(minute)
        if last < (date.month, date.day) < first:
            return 0
        share = bdew.heat_ppm(building, weather, minute)
        return share * _hash_noise(seed, minute, noise) // PPM

    return shape


def modules(context: Context, *, tilt: float = 25, azimuth: float = 180) -> photovoltaics.Plant:
    """The PV modules of a load of shape `plant`, whose parameters these are."""
    from simulators import photovoltaics  # noqa: PLC0415  # scipy, only where a district asks

    place, weather = context.place, context.must_have_weather()
    return photovoltaics.Plant(
        place.latitude_mdeg / 1000, place.longitude_mdeg / 1000, tilt, azimuth, weather, place.sky
    )


def _plant(context: Context, **parameters: Any) -> Shape:
    """A PV plant under seeded clouds, by pvlib; its rating is that of the modules."""
    from simulators import photovoltaics  # noqa: PLC0415  # as in modules

    plant = modules(context, **parameters)

    def shape(minute: int) -> int:
        day, of_day = divmod(minute, DAY_MINUTES)
        return photovoltaics.output(plant, day).share_ppm[of_day]

    return shape


def _between(context: Context, *, start: object, end: object, noise: int = 2) -> Shape:
    """Runs at full flow from one moment to another, once: a leak, an extra production line."""
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        raise ValueError("start and end must be times with their offset")
    if start.tzinfo is None or end.tzinfo is None or not start < end:
        raise ValueError(f"{start} to {end}: times with their offset, running forward, expected")
    first, last = (int(moment.timestamp()) // 60 for moment in (start, end))
    seed = context.seed

    def shape(minute: int) -> int:
        return _hash_noise(seed, minute, noise) if first <= minute < last else 0

    return shape


SHAPES: Mapping[str, Callable[..., Shape]] = {
    "steady": _steady,
    "profile": _profile,
    "heats": _heats,
    "compressor": _compressor,
    "batches": _batches,
    "belt": _belt,
    "draws": _draws,
    "solar": _solar,
    "building": _building,
    "heating": _heating,
    "plant": _plant,
    "between": _between,
}


def build_shape(name: str, context: Context, parameters: Mapping[str, object]) -> Shape:
    """The shape called `name`; ValueError names an unknown shape or a bad parameter."""
    if name not in SHAPES:
        raise ValueError(f"unknown shape {name!r}; known: {', '.join(SHAPES)}")
    try:
        return SHAPES[name](context, **parameters)
    except TypeError as error:
        raise ValueError(f"shape {name!r}: {error}") from error
