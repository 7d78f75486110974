"""What a meter's own values say of its wiring and its ratios. Pure.

Only what shows in the meter itself: transformers ten times too large make current, power and count
wrong alike, and only a rating, a clamp or a second meter tells.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edge_agent.doctor import Finding
from edge_agent.probe.physics import Gain

SMALL_SHARE = 0.02
"""Of the voltage times the current: a power below tells nothing of its sign."""
APART = 0.15
"""Share by which a power may differ from voltage x current x power factor."""
_TURN = math.radians(120)
_UNITS = (("voltage", "V"), ("current", "A"), ("power", "kW"))


def shown(meter: str, values: Mapping[str, float]) -> Iterator[Finding]:
    """The values to hold beside a clamp and the display."""
    parts = []
    for quantity, unit in _UNITS:
        numbers = [values[n] for n in (quantity, *_phases(quantity)) if n in values]
        if numbers:
            parts.append(f"{' '.join(f'{number:.4g}' for number in numbers)} {unit}")
    parts += [
        f"{n} {v:.10g}" for n, v in values.items() if n in ("energy_import", "volume", "heat")
    ]
    if parts:
        yield Finding(meter, good=True, text=f"shows {', '.join(parts)}")


def wiring(
    meter: str, values: Mapping[str, float], rating: float | None = None
) -> Iterator[Finding]:
    """What one poll's voltages, currents and powers say of the wiring of a meter.

    `rating` = largest plausible power, before CT x VT [kW]; None = not known.
    """
    powers = {
        p: (values[f"voltage_{p}"] * abs(values[f"current_{p}"]) / 1000, values[f"power_{p}"])
        for p in "abc"
        if all(f"{name}_{p}" in values for name in ("voltage", "current", "power"))
    }
    swapped = list(_swapped(meter, powers))
    yield from swapped or _reversed(meter, powers, values.get("power", 0.0))
    for p, (apparent, kilowatts) in powers.items():
        if apparent > 0 and abs(kilowatts) > (1 + APART) * apparent:
            text = f"phase {p.upper()}: {abs(kilowatts):g} kW, but U x I is {apparent:.3g} kVA"
            hint = "ratio of current or voltage read wrong, or the wrong device map"
            yield Finding(meter, good=False, text=text, hint=hint)
    yield from _ratio(meter, values)
    power = abs(values.get("power", 0.0))
    if rating is not None and power > rating:
        text = f"power {power:.4g} kW is above the rating of {rating:g} kW"
        yield Finding(meter, good=False, text=text, hint=_TEN)


_TEN = "ratio wrong by ten? check CT and VT, the side (before or after them) and the map's scale"


def _reversed(
    meter: str, powers: Mapping[str, tuple[float, float]], total: float
) -> Iterator[Finding]:
    for p, (apparent, kilowatts) in powers.items():
        if kilowatts < -SMALL_SHARE * apparent < 0 < total:
            text = f"phase {p.upper()} gives {-kilowatts:g} kW while the sum takes in"
            hint = (
                "current transformer reversed (S1 and S2, or its direction on the cable), unless "
                "something feeds in on this phase"
            )
            yield Finding(meter, good=False, text=text, hint=hint)


def _swapped(meter: str, powers: Mapping[str, tuple[float, float]]) -> Iterator[Finding]:
    """Two currents on each other's voltages: their factors are those of a third of a turn more."""
    if len(powers) < 3 or min(apparent for apparent, _ in powers.values()) <= 0:
        return
    factors = {p: kilowatts / apparent for p, (apparent, kilowatts) in powers.items()}
    # The three stand a third of a turn apart; the one nearest to 1 is taken for the right one.
    right, *others = sorted(factors, key=lambda p: -abs(factors[p]))
    if abs(factors[right]) > 1.02:
        return
    sign = math.copysign(1, factors[right])
    angle = math.acos(min(1.0, abs(factors[right])))
    wanted = sorted(math.cos(angle + turn) for turn in (_TURN, -_TURN))
    found = sorted(sign * factors[p] for p in others)
    if all(abs(one - other) < APART for one, other in zip(wanted, found, strict=True)):
        values = ", ".join(f"{factors[p]:.2f}" for p in "abc")
        first, second = sorted(p.upper() for p in others)
        text = f"power factors of the phases are {values}"
        hint = f"phases swapped: the currents of {first} and {second} with each other's voltage"
        yield Finding(meter, good=False, text=text, hint=hint)


def _ratio(meter: str, values: Mapping[str, float]) -> Iterator[Finding]:
    """A total power that is ten times, or a tenth of, what phases or voltage and current say."""
    total = values.get("power")
    if not total:
        return
    summed = _sum_of(values, _phases("power"))
    if summed and (ten := _power_of_ten(total / summed)):
        text = f"total power {total:g} kW is {ten:g} x the phases' {summed:g} kW"
        yield Finding(meter, good=False, text=text, hint=_TEN)
    factor = values.get("power_factor")
    if not factor or not 0 < abs(factor) <= 1:
        return
    pairs = [("voltage", "current"), *zip(_phases("voltage"), _phases("current"), strict=True)]
    found = [values[u] * abs(values[i]) for u, i in pairs if u in values and i in values]
    made = sum(found) / 1000 * abs(factor)
    if made and (ten := _power_of_ten(abs(total) / made)):
        text = f"power {total:g} kW is {ten:g} x U x I x power factor, {made:.4g} kW"
        yield Finding(meter, good=False, text=text, hint=_TEN)


def counting(meter: str, gains: Iterable[Gain]) -> Iterator[Finding]:
    """Whether the counts gained what the rates beside them say."""
    for found in gains:
        if found.gain < -found.step / 2:
            hint = "a display that is not steady, or the wrong device map"
            text = f"{found.count} went down by {-found.gain:g}"
            yield Finding(meter, good=False, text=text, hint=hint)
        elif found.ratio is not None:
            good = 0.6 < found.ratio < 1.6
            ten = _power_of_ten(found.ratio) if math.isfinite(found.ratio) else None
            hint = "" if good else _TEN if ten else "count and rate are not of one side of CT x VT"
            yield Finding(meter, good=good, text=str(found), hint=hint)


def _power_of_ten(ratio: float) -> float | None:
    """10, 100, 1000 or their inverse when the ratio is near to one of them."""
    tens: Sequence[float] = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)
    return next((ten for ten in tens if abs(ratio / ten - 1) < APART), None)


def _phases(quantity: str) -> tuple[str, ...]:
    return tuple(f"{quantity}_{p}" for p in "abc")


def _sum_of(values: Mapping[str, float], names: Sequence[str]) -> float | None:
    return sum(values[n] for n in names) if all(n in values for n in names) else None
