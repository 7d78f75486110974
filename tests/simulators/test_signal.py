"""Signals: the amount is exactly the integral of the rate, never falls, is the same anywhere."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from simulators.noise import PPM, derive_seed, splitmix64, uniform
from simulators.shapes import SHAPES, Context, Place, Profile, build_shape
from simulators.signal import (
    MINUTE_MS,
    PICO_PER_MICRO,
    QUANTUM,
    Signal,
    gated,
    rate_from_milli_per_hour,
    scaled,
    surplus,
)
from simulators.solar import cosine_ppm, elevation_sine_ppm, sine_ppm
from simulators.weather import Weather

ORIGIN_MS = 1_763_654_400_000  # 2025-11-21 00:00 Beijing time, a Friday
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
PLACE = Place(36_700, 117_500, sky=1)
PROFILE = Profile(tuple(range(10, 82, 3)), (20,) * 24)
PARAMETERS: dict[str, dict[str, object]] = {
    "steady": {},
    "profile": {"profile": "p"},
    "heats": {"shifts": [[8, 20], [22, 30]]},
    "compressor": {"shifts": [[0, 24]]},
    "batches": {},
    "belt": {"shifts": [[6, 22]]},
    "draws": {"profile": "p"},
    "solar": {},
    "building": {"profile": "g1"},
    "heating": {"building": "MFH"},
    "plant": {"tilt": 30},
    "between": {
        "start": datetime.fromisoformat("2025-11-21T10:30+08:00"),
        "end": datetime.fromisoformat("2025-11-21T22:00+08:00"),
    },
}
WEATHER = Weather(
    (-600, 2600, 8900, 16300, 22300, 27000, 28100, 26900, 22000, 15800, 8000, 1300), 4500, 4000, 9
)


def shape_signal(name: str, seed: int = 7, kw: int = 1000) -> Signal:
    context = Context(seed, replace(PLACE, sky=seed), {"p": PROFILE}, WEATHER)
    shape = build_shape(name, context, PARAMETERS[name])
    full = rate_from_milli_per_hour(kw * 1000)
    return Signal(lambda minute: full * shape(minute) // PPM, ORIGIN_MS)


def test_every_shape_is_tried() -> None:
    assert PARAMETERS.keys() == SHAPES.keys()


def test_splitmix64_is_the_published_one() -> None:
    # first outputs of the reference implementation for state 1234567
    state, gamma = 1234567, 0x9E3779B97F4A7C15
    draws = [splitmix64((state + n * gamma) % 2**64) for n in range(3)]
    assert draws == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_amount_is_the_sum_of_fine_steps(name: str) -> None:
    signal = shape_signal(name)
    times = [ORIGIN_MS + 10 * HOUR_MS + step * 777 for step in range(4000)]
    total = rate = 0
    for time_ms in range(times[0], times[-1]):  # millisecond by millisecond, no prefix sums
        if time_ms % 1000 == 0 or time_ms == times[0]:
            rate = signal.rate(time_ms)
        total += rate
    assert signal.amount_pico(times[-1]) - signal.amount_pico(times[0]) == total


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_never_falls_and_stays_within_the_rating(name: str) -> None:
    signal = shape_signal(name)
    rng = random.Random(1)
    times = sorted(rng.randrange(ORIGIN_MS, ORIGIN_MS + 7 * DAY_MS) for _ in range(3000))
    amounts = [signal.amount_micro(time_ms) for time_ms in times]
    assert amounts == sorted(amounts)
    assert max(signal.per_hour(time_ms) for time_ms in times) <= 1000 * 1.8
    assert amounts[-1] > 0


def test_same_seed_same_integers_and_another_seed_others() -> None:
    later_ms = ORIGIN_MS + 3 * DAY_MS + 12_345
    figures = {name: shape_signal(name).amount_pico(later_ms) for name in PARAMETERS}
    assert figures == {name: shape_signal(name).amount_pico(later_ms) for name in PARAMETERS}
    assert all(
        shape_signal(name, seed=8).amount_pico(later_ms) != amount
        for name, amount in figures.items()
    )


def test_known_integers_of_every_shape() -> None:
    """Pinned: a change here changes every simulated register of a given seed."""
    later_ms = ORIGIN_MS + DAY_MS
    assert {
        name: shape_signal(name).amount_micro(later_ms) for name in sorted(PARAMETERS)
    } == PINNED


PINNED = {
    "batches": 9_493_962_096,
    "belt": 8_559_975_906,
    "between": 11_499_897_060,
    "building": 8_899_181_976,
    "compressor": 18_161_198_844,
    "draws": 10_473_819_330,
    "heating": 10_961_286_720,
    "heats": 13_410_884_010,
    "plant": 2_750_691_882,
    "profile": 10_732_068_294,
    "solar": 2_798_648_028,
    "steady": 19_013_173_932,
}


def test_looking_ahead_or_in_another_order_changes_nothing() -> None:
    ahead, behind = shape_signal("steady"), shape_signal("steady")
    far = ahead.amount_pico(ORIGIN_MS + 5 * DAY_MS)
    near = ahead.amount_pico(ORIGIN_MS + DAY_MS)
    assert behind.amount_pico(ORIGIN_MS + DAY_MS) == near
    assert behind.amount_pico(ORIGIN_MS + 5 * DAY_MS) == far


def test_before_the_origin_is_an_error() -> None:
    with pytest.raises(ValueError, match="before the origin"):
        shape_signal("steady").amount_pico(ORIGIN_MS - 1)
    with pytest.raises(ValueError, match="whole minute"):
        Signal(lambda _: 1, ORIGIN_MS + 1)
    with pytest.raises(ValueError, match="backwards"):
        Signal(lambda _: -1, ORIGIN_MS).amount_pico(ORIGIN_MS)


def test_rate_units() -> None:
    one_kw = Signal(lambda _: rate_from_milli_per_hour(9_000_000), ORIGIN_MS)  # 9000 kW
    assert one_kw.amount_micro(ORIGIN_MS + HOUR_MS) == 9000 * 1_000_000
    seconds = range(ORIGIN_MS, ORIGIN_MS + MINUTE_MS, 1000)
    kw = [one_kw.per_hour(time_ms) for time_ms in seconds]
    assert sum(kw) / 60 == pytest.approx(9000)
    assert 8730 <= min(kw) < max(kw) <= 9270  # each second its own, by at most 3 %
    assert len({round(one) for one in kw}) > 4


def test_import_minus_export_is_load_minus_generation_at_every_millisecond() -> None:
    load, pv = shape_signal("compressor", kw=300), shape_signal("solar", kw=600)
    bought, sold = surplus([load], [pv], ORIGIN_MS), surplus([pv], [load], ORIGIN_MS)
    rng = random.Random(2)
    for _ in range(500):
        time_ms = rng.randrange(ORIGIN_MS, ORIGIN_MS + 2 * DAY_MS)
        left = bought.amount_pico(time_ms) - sold.amount_pico(time_ms)
        assert left == load.amount_pico(time_ms) - pv.amount_pico(time_ms)
        assert not (bought.rate(time_ms) and sold.rate(time_ms))
    noon_ms = ORIGIN_MS + 12 * HOUR_MS
    assert sold.amount_micro(noon_ms + HOUR_MS) > sold.amount_micro(noon_ms)


def test_tariff_registers_sum_to_the_whole() -> None:
    load = shape_signal("profile")

    def every_third_hour(third: int) -> Callable[[int], bool]:
        return lambda minute: minute // 60 % 3 == third

    parts = [gated(load, every_third_hour(third), ORIGIN_MS) for third in range(3)]
    time_ms = ORIGIN_MS + DAY_MS + 4321
    assert sum(part.amount_pico(time_ms) for part in parts) == load.amount_pico(time_ms)
    assert scaled(load, 500_000, ORIGIN_MS).amount_pico(time_ms) * 2 <= load.amount_pico(time_ms)


def test_weekend_and_lunch_of_an_office() -> None:
    table = Profile((10,) * 8 + (90,) * 4 + (50,) + (90,) * 5 + (10,) * 6, (12,) * 24)
    shape = build_shape("profile", Context(1, PLACE, {"o": table}), {"profile": "o", "noise": 0})
    midnight = ORIGIN_MS // MINUTE_MS
    assert shape(midnight + 10 * 60) == 900_000
    assert shape(midnight + 12 * 60) == 500_000
    assert shape(midnight + DAY_MS // MINUTE_MS + 10 * 60) == 120_000  # Saturday


def test_night_shift_runs_past_midnight() -> None:
    context = Context(1, PLACE, {})
    shape = build_shape("compressor", context, {"shifts": [[22, 30]], "weekend": False})
    midnight = ORIGIN_MS // MINUTE_MS
    assert shape(midnight + 23 * 60) > 0
    assert shape(midnight + 29 * 60) > 0  # Saturday 05:00 belongs to Friday's shift
    assert shape(midnight + 31 * 60) == 0
    assert shape(midnight + 47 * 60) == 0  # Saturday 23:00


def test_sun_over_zhangqiu() -> None:
    def hour(day: int, clock: float) -> int:
        minute = ORIGIN_MS // MINUTE_MS + day * 1440 + round(clock * 60)
        return elevation_sine_ppm(minute, PLACE.latitude_mdeg, PLACE.longitude_mdeg)

    assert hour(0, 0) < 0
    assert hour(0, 6) < 0  # sunrise in late November is about seven
    assert 480_000 < hour(0, 12.1) < 560_000  # 90 - 36.7 - 20 degrees: sine about 0.55
    assert 930_000 < hour(212, 12.1) < 990_000  # 21 June: 76.7 degrees, sine 0.973
    assert hour(0, 12.17) >= max(hour(0, 11), hour(0, 13.3))


def test_integer_sine() -> None:
    assert (sine_ppm(0), sine_ppm(90_000), sine_ppm(-90_000)) == (0, PPM, -PPM)
    assert abs(sine_ppm(30_000) - 500_000) <= 1700
    assert abs(cosine_ppm(60_000) - 500_000) <= 1700


def test_uniform_covers_its_range_and_seeds_differ() -> None:
    draws = {uniform(3, index, -2, 2) for index in range(200)}
    assert draws == {-2, -1, 0, 1, 2}
    assert derive_seed(1, "a") != derive_seed(1, "b") != derive_seed(2, "b")


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("square", {}, "unknown shape"),
        ("steady", {"volume": 3}, "volume"),
        ("profile", {"profile": "q"}, "no profile named"),
        ("heats", {"shifts": [[8, 7]]}, "must run forward"),
        ("building", {"profile": "g9"}, "no BDEW profile 'g9'"),
        ("heating", {"building": "XXX"}, "the district has no"),
        ("plant", {}, "the district has no"),
        ("between", {"start": 1, "end": 2}, "times with their offset"),
    ],
)
def test_bad_shapes_name_the_reason(name: str, parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_shape(name, Context(1, PLACE, {"p": PROFILE}), parameters)


def test_a_delayed_signal_gives_back_later_what_it_took() -> None:
    charge = shape_signal("belt")
    back = scaled(charge, 860_000, ORIGIN_MS, delay_min=360)
    rng = random.Random(5)
    for _ in range(200):  # whole minutes: inside them each sways as its own minute does
        time_ms = rng.randrange(ORIGIN_MS, ORIGIN_MS + 3 * DAY_MS, MINUTE_MS)
        taken = charge.amount_pico(time_ms) * 860_000 // PPM
        given = back.amount_pico(time_ms + 360 * MINUTE_MS)
        assert 0 <= taken - given <= QUANTUM * (time_ms - ORIGIN_MS)  # rates round down to it
        assert back.amount_pico(time_ms) <= charge.amount_pico(time_ms)
    assert back.amount_pico(ORIGIN_MS + 360 * MINUTE_MS) == 0


def test_a_micro_unit_is_a_million_pico_units() -> None:
    signal = Signal(lambda _: PICO_PER_MICRO, ORIGIN_MS)
    assert signal.amount_micro(ORIGIN_MS + MINUTE_MS) == MINUTE_MS
