"""What a meter of a carrier can show, derived from the flow through it.

A site's signals are kWh, standard m3 of gas, m3 of water, t of steam or coal, GJ of heat. A
product may show more than that one: reactive energy, tariff registers, the volume at line
conditions, voltages. These follow here from the same signals by fixed, plausible ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

from simulators.noise import uniform
from simulators.signal import Signal, gated, scaled

MAIN_CHANNEL: Mapping[str, str] = {
    "electricity": "energy_import",
    "natural_gas": "volume_standard",
    "water": "volume",
    "steam": "mass",
    "heat": "heat",
    "raw_coal": "mass",
}
"""The channel in which a carrier's signals are written."""

REACTIVE_PPM = 328_684  # tan(acos 0.95)
POWER_FACTOR = 0.95
BEIJING_HOURS = 8

# Per unit of the main channel [ppm].
_RATIOS: Mapping[str, Mapping[str, int]] = {
    "natural_gas": {"volume": 310_000},  # metered at about 0.33 MPa absolute, 20 degC
    "steam": {"heat": 2_780_000},  # GJ per t of saturated steam at 0.8 MPa
    "heat": {"volume": 11_900_000},  # m3 per GJ at 20 K between supply and return
    "water": {},
    "raw_coal": {},
}
_LEVELS: Mapping[tuple[str, str], float] = {
    ("natural_gas", "temperature"): 18.0,
    ("natural_gas", "pressure"): 330.0,
    ("steam", "temperature"): 175.0,
    ("steam", "pressure"): 900.0,
    ("water", "temperature"): 16.0,
    ("water", "pressure"): 450.0,
    ("heat", "temperature_supply"): 62.0,
    ("heat", "temperature_return"): 42.0,
    ("heat", "temperature"): 62.0,
    ("heat", "pressure"): 600.0,
}
_FLOWS: Mapping[str, str] = {
    "flow": "volume",
    "flow_standard": "volume_standard",
    "mass_flow": "mass",
    "heat_flow": "heat",
}

TariffHours = Mapping[str, frozenset[int]]
"""Tariff name (sharp, peak, flat, valley, deep_valley) -> Beijing hours in which it runs."""


@dataclass(frozen=True, slots=True)
class Flows:
    """What passes a meter: forward (import, or the one direction) and backward (export).

    two_way: whether anything can flow backward at all.
    """

    carrier: str
    forward: Signal
    backward: Signal
    origin_ms: int
    two_way: bool


def cumulative_signal(channel: str, flows: Flows, tariff: TariffHours) -> Signal:
    """The signal behind one counter; ValueError when the carrier has no such quantity."""
    origin_ms = flows.origin_ms
    if channel == MAIN_CHANNEL[flows.carrier]:
        return flows.forward
    if flows.carrier == "electricity":
        if channel == "energy_export":
            return flows.backward
        if channel == "reactive_energy_import":
            return scaled(flows.forward, REACTIVE_PPM, origin_ms)
        if channel == "reactive_energy_export":
            return scaled(flows.backward, REACTIVE_PPM, origin_ms)
        hours = tariff.get(channel.removeprefix("energy_import_"))
        if channel.startswith("energy_import_"):
            return gated(flows.forward, _in_hours(hours or frozenset()), origin_ms)
    elif channel in _RATIOS[flows.carrier]:
        return scaled(flows.forward, _RATIOS[flows.carrier][channel], origin_ms)
    raise ValueError(f"a {flows.carrier} meter has no {channel!r}")


def usual_share_ppm(channel: str, flows: Flows, tariff: TariffHours) -> int:
    """About how much a counter gains per unit of full flow [ppm]: for its starting value."""
    if channel.endswith("_export"):
        return 200_000 if flows.two_way else 0
    if channel.startswith("energy_import_"):
        hours = tariff.get(channel.removeprefix("energy_import_"), frozenset())
        return len(hours) * 1_000_000 // 24
    if channel == "reactive_energy_import":
        return REACTIVE_PPM
    return _RATIOS.get(flows.carrier, {}).get(channel, 1_000_000)


def _in_hours(hours: frozenset[int]) -> Callable[[int], bool]:
    return lambda minute: (minute // 60 + BEIJING_HOURS) % 24 in hours


def instantaneous_value(
    channel: str, flows: Flows, time_ms: int, multiplier: int, seed: int
) -> float:
    """A display value [catalogue unit, before CT x VT] at a moment; ValueError when unknown."""
    jitter = uniform(seed, time_ms // 1000, -1000, 1000) / 1000
    if flows.carrier == "electricity":
        kw = (flows.forward.per_hour(time_ms) - flows.backward.per_hour(time_ms)) / multiplier
        return _electric(channel, kw, jitter)
    if channel in _FLOWS:
        quantity = _FLOWS[channel]
        ratio = 1_000_000
        if quantity != MAIN_CHANNEL[flows.carrier]:
            ratio = _RATIOS[flows.carrier].get(quantity, 0)
        return flows.forward.per_hour(time_ms) * ratio / 1_000_000 / multiplier
    level = _LEVELS.get((flows.carrier, channel))
    if level is None:
        raise ValueError(f"a {flows.carrier} meter has no {channel!r}")
    return level * (1 + 0.02 * jitter)


def _electric(channel: str, kw: float, jitter: float) -> float:
    phase_voltage = 230.0 + 2.5 * jitter
    match channel.rsplit("_", 1):
        case ["power"]:
            return kw
        case ["power", "a" | "b" | "c"]:
            return kw / 3
        case ["reactive", "power"]:
            return kw * REACTIVE_PPM / 1_000_000
        case ["apparent", "power"]:
            return abs(kw) / POWER_FACTOR
        case ["power", "factor"]:
            return POWER_FACTOR if kw >= 0 else -POWER_FACTOR
        case ["frequency"]:
            return 50.0 + 0.03 * jitter
        case ["voltage"] | ["voltage", "a" | "b" | "c"]:
            return phase_voltage
        case ["voltage", "ab" | "bc" | "ca"]:
            return phase_voltage * sqrt(3)
        case ["current"] | ["current", "a" | "b" | "c"]:
            phases = 1 if channel == "current" else 3
            return abs(kw) * 1000 / POWER_FACTOR / phases / phase_voltage
        case ["temperature"]:
            return 35.0 + jitter
        case _:
            raise ValueError(f"an electricity meter has no {channel!r}")
