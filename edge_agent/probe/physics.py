"""How well the values a device map makes of a meter's answers agree with physics. Pure.

Each rule looks at values that must agree whoever made the meter: power with voltage, current and
power factor, the sum with the phases, heat with flow and temperatures, the gain of a count with
the rate beside it. It gives reasons, in words, with weights: a relation between independent
values tells more than a value in its usual range, and what cannot be tells most.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edge_agent.maps.base import DeviceMap

FITS = 3
"""A score from here on is more than chance: what is put into a configuration."""
BROKEN = -8
"""Weight of what cannot be."""
RELATION = 6
RANGE = 2

NOMINAL_V = (
    57.7, 100, 110, 120, 127, 220, 230, 240, 277, 380, 400, 415, 480, 660, 690,
    3464, 3811, 5774, 6000, 6600, 10_000, 20_207, 35_000,
)  # fmt: skip
"""Voltages of networks, and of the secondary side of transformers [V]."""
NOMINAL_HZ = (50, 60)
MOST_KWH = 1e8
"""No meter's count stands higher in one unit of its display [kWh, m3, GJ, t]."""
MUCH = 1e5
"""Hardly a meter sees more of anything in an hour [kW, m3/h, GJ/h, t/h]."""
LEAST = 1e-9
"""No meter shows a number nearer to 0, but words in the wrong order often read so."""
WATER_GJ_PER_M3_K = 4.13e-3
"""Heat in hot water; 2 % less or more between 20 and 120 degC."""

RATES = (
    ("energy_import", "power", 1), ("energy_export", "power", -1), ("heat", "heat_flow", 1),
    ("volume", "flow", 1), ("volume_standard", "flow_standard", 1), ("mass", "mass_flow", 1),
)  # fmt: skip
"""Count, its rate per hour, and the sign with which the rate drives it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a map made of one reading of a meter."""

    at_s: float
    """When, by a clock that only runs on [s]."""
    values: Mapping[str, float]
    """Channel -> value in the catalogue's unit."""
    implausible: tuple[str, ...] = ()
    """Channels outside what the map itself allows."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks for a map (weight above 0) or against it."""

    weight: int
    text: str


@dataclass(frozen=True, slots=True)
class Fit:
    """A map and what speaks for and against it."""

    device: DeviceMap
    reasons: tuple[Reason, ...]
    values: Mapping[str, float]
    """What was read last."""

    @property
    def held(self) -> int:
        """Channels that hold a value."""
        return len(self.values)

    @property
    def counts(self) -> Mapping[str, float]:
        """The counts among the values."""
        counts = {r.channel for r in self.device.registers if r.cumulative}
        return {name: value for name, value in self.values.items() if name in counts}

    @property
    def score(self) -> int:
        """Sum of the weights."""
        return sum(reason.weight for reason in self.reasons)

    @property
    def fits(self) -> bool:
        """Whether it is more than chance."""
        return self.score >= FITS


def judge(
    device: DeviceMap, first: Snapshot, later: Snapshot | None, known: tuple[Reason, ...] = ()
) -> Fit:
    """Weigh one map against what was read once, and again some time later.

    `known` = what else is known of the meter, e.g. who its own address says made it.
    """
    newest = later or first
    reasons = [*known, *_held(device, newest)]
    for rule in RULES:
        reasons += rule(newest.values)
    if later is not None:
        reasons += _gains(device, first, later)
    reasons.sort(key=lambda reason: -abs(reason.weight))
    return Fit(device, tuple(reasons), newest.values)


def rank(fits: list[Fit]) -> list[Fit]:
    """Best first: by score, then by how many channels hold a value, then by name."""
    return sorted(fits, key=lambda fit: (-fit.score, -fit.held, fit.device.model))


def _held(device: DeviceMap, snapshot: Snapshot) -> Iterator[Reason]:
    asked, held = len(device.registers), len(snapshot.values)
    if 2 * held < asked:
        yield Reason(BROKEN, f"only {held} of its {asked} values can be read")
    elif held < asked:
        missing = [r.channel for r in device.registers if r.channel not in snapshot.values]
        yield Reason(-min(2 * len(missing), 6), f"no value for {', '.join(missing)}")
    else:
        yield Reason(1, f"all its {asked} values can be read")
    if device.protocol != "modbus" and 2 * held >= asked:
        yield Reason(3, "the meter's own frames name these values")
    for channel in snapshot.implausible:
        yield Reason(-4, f"{channel} {_n(snapshot.values[channel])} is outside what the map allows")
    for channel, value in snapshot.values.items():
        if value != 0 and not LEAST < abs(value) < 1e12:
            yield Reason(BROKEN, f"{channel} {value:.3g} is no number a meter shows")


def _voltages(values: Mapping[str, float]) -> Iterator[Reason]:
    phases = _of(values, "voltage", "voltage_a", "voltage_b", "voltage_c")
    live = [volts for volts in phases if volts]
    alternating = "frequency" in values or "power_factor" in values or len(phases) > 1
    if not phases or not alternating:
        return
    shown = ", ".join(map(_n, phases))
    if not live:
        yield Reason(-6, "voltage 0 V, yet the meter runs")
        return
    if not all(_nominal(volts) for volts in live):
        yield Reason(BROKEN, f"voltage {shown} V belongs to no network")
        return
    yield Reason(RANGE + (len(live) == 3), f"voltage {shown} V belongs to a network")
    if max(live) > 1.15 * min(live):
        yield Reason(-3, "the phases' voltages differ")
    lines = _of(values, "voltage_ab", "voltage_bc", "voltage_ca")
    if lines and len(live) == 3:
        root = (sum(lines) / len(lines)) / (sum(live) / 3)
        good = abs(root / math.sqrt(3) - 1) < 0.05
        text = f"line voltage is {root:.3g} x phase voltage"
        yield Reason(3 if good else -4, text if good else text + ", not 1.73")


def _nominal(volts: float) -> bool:
    return any(abs(volts / nominal - 1) < 0.13 for nominal in NOMINAL_V)


def _frequency(values: Mapping[str, float]) -> Iterator[Reason]:
    hertz = values.get("frequency")
    if hertz is None:
        return
    if any(abs(hertz - nominal) <= 1 for nominal in NOMINAL_HZ):
        yield Reason(3, f"frequency {_n(hertz)} Hz")
    else:
        yield Reason(BROKEN if hertz else -3, f"frequency {_n(hertz)} Hz belongs to no network")


def _apparent(values: Mapping[str, float]) -> float | None:
    """Sum of voltage times current [kVA]; None when they are not all there."""
    pairs = [("voltage", "current")] + [(f"voltage_{p}", f"current_{p}") for p in "abc"]
    found = [values[u] * abs(values[i]) for u, i in pairs if u in values and i in values]
    return sum(found) / 1000 if found else None


def _power(values: Mapping[str, float]) -> Iterator[Reason]:
    """P = sum of U x I x power factor; without one at most U x I."""
    factor = values.get("power_factor")
    if factor is not None:
        good = abs(factor) <= 1.001
        yield Reason(1 if good else BROKEN, f"power factor {_n(factor)}")
        if not good:
            return
    power, apparent = values.get("power"), _apparent(values)
    if power is None or apparent is None:
        return
    least = 0.01 + 0.06 * apparent
    if apparent <= 0.02:
        if abs(power) > least:
            yield Reason(BROKEN, f"power {_n(power)} kW without current")
    elif factor:
        made = apparent * abs(factor)
        good = abs(abs(power) - made) <= least
        text = f"power {_n(power)} kW and U x I x power factor = {_n(made)} kW"
        yield Reason(RELATION, f"{text} agree") if good else Reason(BROKEN, f"{text} disagree")
    elif abs(power) > apparent + least:
        yield Reason(BROKEN, f"power {_n(power)} kW is more than U x I = {_n(apparent)} kVA")
    elif abs(power) > 0.2 * apparent:
        yield Reason(3, f"power {_n(power)} kW is of U x I = {_n(apparent)} kVA")


def _triangle(values: Mapping[str, float]) -> Iterator[Reason]:
    """S = U x I, and S^2 = P^2 + Q^2."""
    shown, apparent = values.get("apparent_power"), _apparent(values)
    if shown is None:
        return
    if apparent is not None and max(shown, apparent) > 0.05:
        good = abs(shown - apparent) <= 0.06 * apparent + 0.01
        word = "agree" if good else "disagree"
        text = f"apparent power {_n(shown)} kVA and U x I = {_n(apparent)} kVA {word}"
        yield Reason(3 if good else -5, text)
    active, reactive = values.get("power"), values.get("reactive_power")
    if active is not None and reactive is not None and shown > 0.05:
        good = abs(math.hypot(active, reactive) - shown) <= 0.08 * shown + 0.01
        word = "agree" if good else "disagree"
        yield Reason(3 if good else -5, f"active, reactive and apparent power {word}")


def _phases(values: Mapping[str, float]) -> Iterator[Reason]:
    phases = _of(values, "power_a", "power_b", "power_c")
    total = values.get("power")
    if len(phases) < 3 or total is None or not any(phases):
        return
    summed = sum(phases)
    good = abs(summed - total) <= 0.04 * sum(map(abs, phases)) + 0.01
    word = "agree" if good else "disagree"
    text = f"power {_n(total)} kW and the phases' {_n(summed)} kW {word}"
    yield Reason(4 if good else -5, text)


def _tariffs(values: Mapping[str, float]) -> Iterator[Reason]:
    names = [name for name in values if name.startswith("energy_import_")]
    total, summed = values.get("energy_import"), sum(values[name] for name in names)
    if len(names) < 2 or not total or not summed:
        return
    good = abs(summed - total) <= 0.001 * total + 0.5
    word = "agree" if good else "disagree"
    yield Reason(4 if good else -4, f"count {_n(total)} kWh and its tariffs' sum {word}")


def _counts(values: Mapping[str, float]) -> Iterator[Reason]:
    for name in dict.fromkeys(count for count, _, _ in RATES):
        if abs(values.get(name, 0.0)) > MOST_KWH:
            yield Reason(BROKEN, f"{name} {values[name]:.3g} is more than any meter counts")
    for name in dict.fromkeys(rate for _, rate, _ in RATES):
        if abs(values.get(name, 0.0)) > MUCH:
            yield Reason(-6, f"{name} {values[name]:.3g} is more than nearly any meter sees")


def _heat(values: Mapping[str, float]) -> Iterator[Reason]:
    """Heat flow = flow x difference of temperatures x what water carries."""
    supply, back = values.get("temperature_supply"), values.get("temperature_return")
    if supply is None or back is None:
        return
    if not all(-10 <= degrees <= 200 for degrees in (supply, back)):
        yield Reason(BROKEN, f"temperatures {_n(supply)} and {_n(back)} degC are no water's")
        return
    yield Reason(RANGE, f"temperatures {_n(supply)} and {_n(back)} degC")
    shown, flow = values.get("heat_flow"), values.get("flow")
    made = abs(supply - back) * WATER_GJ_PER_M3_K * (flow or 0.0)
    if shown is not None and made > 0.001:
        good = abs(abs(shown) - made) <= 0.15 * made + 0.001
        text = f"heat {_n(shown)} GJ/h and flow x temperatures = {_n(made)} GJ/h"
        yield Reason(RELATION, f"{text} agree") if good else Reason(BROKEN, f"{text} disagree")


def _gas(values: Mapping[str, float]) -> Iterator[Reason]:
    """Standard flow = flow x pressure x temperature; pressure may be over that of the air."""
    standard, flow = values.get("flow_standard"), values.get("flow")
    pressure, degrees = values.get("pressure"), values.get("temperature")
    if standard is None or not flow or pressure is None or degrees is None or degrees < -100:
        return
    ratio, cooling = standard / flow, 293.15 / (273.15 + degrees)
    good = any(
        abs(ratio / (kpa / 101.325 * cooling) - 1) < 0.1
        for kpa in (pressure, pressure + 101.325)
        if kpa > 0
    )
    text = f"standard flow {_n(standard)} and flow {_n(flow)} m3/h at {_n(pressure)} kPa"
    yield Reason(RELATION, f"{text} agree") if good else Reason(-5, f"{text} disagree")


def _steam(values: Mapping[str, float]) -> Iterator[Reason]:
    """A tonne of steam carries 2.3 to 3.6 GJ."""
    heat, mass = values.get("heat_flow"), values.get("mass_flow")
    if heat is None or not mass:
        return
    content = heat / mass
    good = 2.3 <= content <= 3.6
    text = f"{_n(content)} GJ in a tonne of steam"
    yield Reason(RELATION, text) if good else Reason(-6, f"{text} cannot be")


RULES: tuple[Callable[[Mapping[str, float]], Iterator[Reason]], ...] = (
    _voltages, _frequency, _power, _triangle, _phases, _tariffs, _counts, _heat, _gas, _steam,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gain:
    """What a count gained between two readings, and what the rate beside it makes in that time."""

    count: str
    rate: str
    seconds: float
    gain: float
    made: float | None
    """None = the map has no rate for it."""
    step: float

    @property
    def ratio(self) -> float | None:
        """Gain by what the rate makes; None while the display is too coarse to tell."""
        if self.made is None or not 3 * self.step <= max(self.gain, self.made):
            return None
        if self.gain <= 0 or self.made <= 0:  # one that stands may be shown once a minute
            return math.inf if self.gain > 0 else None
        return self.gain / self.made

    def __str__(self) -> str:
        text = f"{self.count} gained {_n(self.gain)} in {self.seconds:.0f} s"
        return text if self.made is None else f"{text}, {self.rate} makes {_n(self.made)}"


def gains(device: DeviceMap, first: Snapshot, later: Snapshot) -> Iterator[Gain]:
    """The counts of a map that were read twice."""
    steps = {r.channel: float(r.step or 0) for r in device.registers if r.cumulative}
    took_h = (later.at_s - first.at_s) / 3600
    for count, rate, sign in RATES:
        if count not in first.values or count not in later.values or count not in steps:
            continue
        made = None
        if rate in first.values and rate in later.values:
            made = max(0.0, sign * (first.values[rate] + later.values[rate]) / 2 * took_h)
        gain = later.values[count] - first.values[count]
        yield Gain(count, rate, took_h * 3600, gain, made, steps[count])


def _gains(device: DeviceMap, first: Snapshot, later: Snapshot) -> Iterator[Reason]:
    """Counts never fall, and gain what the rate beside them says."""
    for found in gains(device, first, later):
        if found.gain < -found.step / 2:
            yield Reason(BROKEN, f"{found.count} went down by {_n(-found.gain)}")
        elif found.made is not None and found.ratio is not None:
            good = abs(found.gain - found.made) <= max(2 * found.step, 0.3 * found.made)
            yield Reason(RELATION if good else BROKEN, str(found))


def _of(values: Mapping[str, float], *names: str) -> list[float]:
    return [values[name] for name in names if name in values]


def _n(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
