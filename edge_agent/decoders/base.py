"""From a raw number to a value: scale, rounding, plausible range. Pure.

What cannot become a reading is dropped and counted by reason:

- ``no_value``: the product's "no value" pattern, a float NaN or infinity;
- ``range``: a count below 0 or beyond what the contract carries exactly;
- ``unit``: the meter sends a unit that is none of the channel's quantity;
- ``unknown``: an entry by hand for a channel the meter's map has not.

A value the map calls implausible is kept and marked `Quality.RANGE`.

Cumulative channels become integer micro-units without passing through a double: an integer
is multiplied as an integer. A float is rounded to the map's step, because its last digits are an
accident of base 2 and what counts is what the display shows. An instantaneous float32 is given
with the seven digits it holds: 230.1, not 230.10000610351562.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, Protocol

from contract.reading import Quality, Reading
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from edge_agent.maps.base import Point

NO_VALUE = "no_value"
OUT_OF_RANGE = "range"
WRONG_UNIT = "unit"
UNKNOWN_CHANNEL = "unknown"

Converted = tuple[int | float, Quality] | str
"""A value and its quality, or the reason why there is none."""
Convert = Callable[[float], Converted]


@cache
def converter(register: Point) -> Convert:
    """Return the function from a register's raw number to its value."""
    if not register.cumulative:
        return _instantaneous(register)
    if register.type.startswith("float"):
        return _cumulative_float(register)
    return _cumulative_integer(register)


def decimal_converted(register: Point, value: Any) -> Converted:
    """A number of a server, by the shortest decimal that means the same: what its screen shows."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NO_VALUE
    number = Decimal(repr(value))
    if not number.is_finite() or abs(number.adjusted()) > 20:
        return NO_VALUE
    sign, digits, exponent = number.as_tuple()
    raw = int("".join(map(str, digits))) * (-1 if sign else 1)
    scale = register.scale * Decimal(1).scaleb(int(exponent))
    return converter(replace(register, scale=scale))(raw)


def readings_of_numbers(
    meter: str,
    registers: Sequence[Point],
    numbers: Sequence[Any],
    time_ms: int,
    drops: Counter[str],
) -> list[Reading]:
    """Make readings of a server's numbers, one for each register, as `Decoder.decode` does."""
    readings = []
    for register, number in zip(registers, numbers, strict=True):
        done = decimal_converted(register, number)
        if isinstance(done, str):
            drops[done] += 1
        else:
            readings.append(Reading(meter, register.channel, time_ms, done[0], done[1]))
    return readings


def _micro(value: Decimal | None) -> int | None:
    return None if value is None else int(value * MICRO)


def _checked(micro: int, modulus: int | None) -> Converted:
    if not 0 <= micro <= MAX_CUMULATIVE_MICRO:
        return OUT_OF_RANGE
    if modulus is not None and micro >= modulus:
        return micro, Quality.RANGE
    return micro, Quality.GOOD


def _cumulative_integer(register: Point) -> Convert:
    up, down = (register.scale * MICRO).as_integer_ratio()
    modulus = _micro(register.modulus)

    def exact(raw: float) -> Converted:
        return _checked(int(raw) * up, modulus)

    def rounded(raw: float) -> Converted:
        return _checked((2 * int(raw) * up + down) // (2 * down), modulus)

    return exact if down == 1 else rounded


def _cumulative_float(register: Point) -> Convert:
    step = _micro(register.step) or 1
    modulus = _micro(register.modulus)
    steps_per_raw = Fraction(register.scale) * MICRO / step
    up, down = steps_per_raw.numerator, steps_per_raw.denominator

    def convert(raw: float) -> Converted:
        if not math.isfinite(raw):
            return NO_VALUE
        top, bottom = raw.as_integer_ratio()  # exact: the same on every machine
        steps = (2 * top * up + bottom * down) // (2 * bottom * down)
        return _checked(steps * step, modulus)

    return convert


def _instantaneous(register: Point) -> Convert:
    # Dividing by 10 gives 230.1 where multiplying by 0.1 gives 230.10000000000002.
    up, down = (float(part) for part in register.scale.as_integer_ratio())
    low = -math.inf if register.low is None else float(register.low)
    high = math.inf if register.high is None else float(register.high)
    seven_digits = register.type == "float32"

    def convert(raw: float) -> Converted:
        value = raw * up / down
        if not math.isfinite(value):
            return NO_VALUE
        if seven_digits:
            value = float(f"{value:.7g}")
        return value, Quality.GOOD if low <= value <= high else Quality.RANGE

    return convert


class Decoder(Protocol):
    """The questions to one meter and how to make readings of the answers."""

    @property
    def questions(self) -> Sequence[Any]:
        """What to ask the meter at each poll, in this order; see `codecs`."""
        ...

    def decode(self, index: int, answer: Any, time_ms: int, drops: Counter[str]) -> list[Reading]:
        """Make readings of the answer to question `index`; never raises on what a meter sends.

        Args:
            index: place of the question in `questions`.
            answer: what the link returned.
            time_ms: when the meter was read [ms UTC].
            drops: counts what became no reading, by reason.
        """
        ...
