"""Where the sun stands, in integers: enough for the output of a roof, the same on every machine.

Sines come from Bhaskara I's rational approximation (error below 0.0017 of full scale), the
declination from Cooper (1969): 23.45 deg * sin(360/365 * (284 + n)). The equation of time (up to
16 minutes) and the drift of the leap year (a day) are left out. pvlib replaces this where a plant
is to be judged, not merely to be there.
"""

from __future__ import annotations

from simulators.noise import PPM

DAY_MINUTES = 1440


def sine_ppm(millidegrees: int) -> int:
    """sin [ppm] of an angle [1/1000 degree], any sign and size."""
    angle = millidegrees % 360_000
    sign = 1
    if angle >= 180_000:
        angle -= 180_000
        sign = -1
    product = angle * (180_000 - angle)
    return sign * (4 * product * PPM // (40_500_000_000 - product))


def cosine_ppm(millidegrees: int) -> int:
    """cos [ppm] of an angle [1/1000 degree]."""
    return sine_ppm(millidegrees + 90_000)


def elevation_sine_ppm(minute_utc: int, latitude_mdeg: int, longitude_mdeg: int) -> int:
    """sin of the sun's elevation [ppm], negative at night.

    minute_utc: minutes since the epoch; latitude north and longitude east [1/1000 degree].
    """
    day_of_year = (minute_utc // DAY_MINUTES) * 4 % 1461 // 4 + 1
    declination_mdeg = 23_450 * sine_ppm(360_000 * (284 + day_of_year) // 365) // PPM
    solar_minute = minute_utc % DAY_MINUTES + longitude_mdeg * 4 // 1000
    hour_angle_mdeg = (solar_minute - 720) * 250
    high = sine_ppm(latitude_mdeg) * sine_ppm(declination_mdeg)
    turning = cosine_ppm(latitude_mdeg) * cosine_ppm(declination_mdeg) // PPM
    return (high + turning * cosine_ppm(hour_angle_mdeg)) // PPM
