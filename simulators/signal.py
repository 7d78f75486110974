"""Signals: a flow (power, volume flow, mass flow) over time, and the exact amount that has flowed.

A signal has a mean rate for each UTC minute, an integer number of pico-units per millisecond (1e-12
kWh/ms = 3.6 mW) in steps of QUANTUM, and moves around it second by second: by whole percent that
add up to nothing over the minute and are the same for all signals. So the amount up to any
millisecond is an exact integer, and sums and differences of signals are exact too. Amounts count
from `origin_ms`; a day of minutes is computed when it is first asked for and kept as prefix sums,
so every further look-up is O(1).

units: `unit` below is the catalogue unit of the channel: kWh, kvarh, m3, t, GJ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

from simulators.noise import uniform

MINUTE_MS = 60_000
DAY_MINUTES = 1440
PICO_PER_MICRO = 1_000_000
QUANTUM = 100
"""Rates are multiples of it, so that a percent of a sum is the sum of the percents."""
SWAY_PERCENT = 3
_MINUTES_KEPT = 4096

RateFunction = Callable[[int], int]
"""UTC minute since the epoch -> rate [pico-units per ms], at least 0."""


def rate_from_milli_per_hour(milli_per_hour: int) -> int:
    """Rate [pico-units per ms] from thousandths of the unit per hour, e.g. watts for kWh."""
    return milli_per_hour * 2500 // 9


@lru_cache(maxsize=_MINUTES_KEPT)
def sway_percent(minute: int) -> tuple[int, ...]:
    """How far the seconds of a UTC minute lie from its mean [percent]; together nothing."""
    half = [uniform(minute, second, -SWAY_PERCENT, SWAY_PERCENT) for second in range(30)]
    return (*half, *(-percent for percent in reversed(half)))


@lru_cache(maxsize=_MINUTES_KEPT)
def _sway_sums(minute: int) -> tuple[int, ...]:
    return tuple(accumulate((percent * 1000 for percent in sway_percent(minute)), initial=0))


def _swayed(minute: int, rest_ms: int) -> int:
    """Percent x ms from the beginning of a minute."""
    second, ms = divmod(rest_ms, 1000)
    return _sway_sums(minute)[second] + sway_percent(minute)[second] * ms


class Signal:
    """A rate second by second, and its running integral."""

    def __init__(self, rate: RateFunction, origin_ms: int) -> None:
        """`origin_ms` [UTC ms, a whole minute]: where the amount is 0."""
        if origin_ms % MINUTE_MS:
            raise ValueError(f"signal origin {origin_ms} is not a whole minute")
        self._rate = rate
        self._origin_minute = origin_ms // MINUTE_MS
        self._rates: list[int] = []
        self._amounts: list[int] = [0]  # pico-units at the start of each minute

    def minute_rate(self, minute: int) -> int:
        """Mean rate [pico-units per ms] of one UTC minute since the epoch."""
        index = minute - self._origin_minute
        self._cover(index)
        return self._rates[index]

    def rate(self, time_ms: int) -> int:
        """Rate [pico-units per ms] at a moment."""
        minute, rest_ms = divmod(time_ms, MINUTE_MS)
        mean = self.minute_rate(minute)
        return mean + mean // QUANTUM * sway_percent(minute)[rest_ms // 1000]

    def per_hour(self, time_ms: int) -> float:
        """Rate [unit per hour] at a moment, for displays of power and flow."""
        return self.rate(time_ms) * 3.6e-6

    def amount_pico(self, time_ms: int) -> int:
        """Exact amount [pico-units] from the origin to a moment."""
        minute, rest_ms = divmod(time_ms, MINUTE_MS)
        index = minute - self._origin_minute
        self._cover(index)
        mean = self._rates[index]
        return self._amounts[index] + mean * rest_ms + mean // QUANTUM * _swayed(minute, rest_ms)

    def amount_micro(self, time_ms: int) -> int:
        """Amount [micro-units] from the origin to a moment, rounded down."""
        return self.amount_pico(time_ms) // PICO_PER_MICRO

    def _cover(self, index: int) -> None:
        if index < 0:
            raise ValueError("time lies before the origin of the signal")
        while index >= len(self._rates):
            first = self._origin_minute + len(self._rates)
            day = [self._rate(minute) for minute in range(first, first + DAY_MINUTES)]
            day = [rate - rate % QUANTUM for rate in day]
            if min(day) < 0:
                raise ValueError("a signal never runs backwards; split it into two directions")
            sums = accumulate((rate * MINUTE_MS for rate in day), initial=self._amounts[-1])
            next(sums)
            self._amounts.extend(sums)
            self._rates.extend(day)


def surplus(plus: Sequence[Signal], minus: Sequence[Signal], origin_ms: int) -> Signal:
    """The part of sum(plus) - sum(minus) that is above zero, minute by minute.

    A boundary meter's import is `surplus(loads, generation)`, its export `surplus(generation,
    loads)`; then import - export = loads - generation holds exactly at every millisecond.
    """

    def rate(minute: int) -> int:
        net = sum(signal.minute_rate(minute) for signal in plus)
        net -= sum(signal.minute_rate(minute) for signal in minus)
        return max(net, 0)

    return Signal(rate, origin_ms)


def scaled(base: Signal, ppm: int, origin_ms: int, delay_min: int = 0) -> Signal:
    """`base` times ppm/1e6: heat from fuel, reactive from active energy.

    delay_min: how much later it flows, as what a battery gives back of what it took. What `base`
    did before the origin does not come.
    """
    origin_minute = origin_ms // MINUTE_MS

    def rate(minute: int) -> int:
        at = minute - delay_min
        return base.minute_rate(at) * ppm // 1_000_000 if at >= origin_minute else 0

    return Signal(rate, origin_ms)


def gated(base: Signal, is_open: Callable[[int], bool], origin_ms: int) -> Signal:
    """`base` in the minutes for which `is_open(minute)`, else 0: a tariff register."""
    return Signal(lambda minute: base.minute_rate(minute) if is_open(minute) else 0, origin_ms)
