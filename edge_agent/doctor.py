"""`nenghao edge doctor`: what ails this gateway, in words for the person in front of it. Pure.

Everything is judged from one round of polls and from what the machine and the outbox's file say.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

NOISY_BYTES_A_DAY = 100_000_000
"""Above this an SD card of some gigabytes lasts for years no more."""
SMALL_SHARE = 0.02
"""Of the voltage times the current: a power below tells nothing of its sign."""
APART = 0.15
"""Share by which a power may differ from voltage x current x power factor."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is as it should be, or not; `hint` says what to look at."""

    where: str
    good: bool
    text: str
    hint: str = ""


def cycle_budget(bus: str, latencies_s: Sequence[float], period_s: float) -> Finding:
    """Whether all meters of a wire can be asked within the period [s]."""
    needed_s = sum(latencies_s)
    text = f"{len(latencies_s)} meters need {needed_s:.1f} s, you asked {period_s:g} s"
    if needed_s <= 0.8 * period_s:
        return Finding(bus, good=True, text=text)
    hint = f"poll each {_next_period(needed_s)} s, or spread the meters over more wires"
    return Finding(bus, good=False, text=text, hint=hint)


def _next_period(needed_s: float) -> int:
    """The shortest usual period with a fifth to spare."""
    usual = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900)
    return next((period for period in usual if needed_s <= 0.8 * period), 3600)


def histogram(latencies_ms: Iterable[int]) -> str:
    """Answers by duration, in steps that double."""
    bounds = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    counts = dict.fromkeys((*bounds, 0), 0)
    for latency in latencies_ms:
        counts[next((bound for bound in bounds if latency <= bound), 0)] += 1
    named = ((f"<= {bound} ms" if bound else "longer", n) for bound, n in counts.items())
    return ", ".join(f"{name}: {n}" for name, n in named if n) or "no answer"


def wiring(meter: str, values: Mapping[str, float]) -> Iterator[Finding]:
    """What one poll's voltages, currents and powers say of the wiring of a meter."""
    for phase in "abc":
        volts, amperes, kilowatts = (
            values.get(f"{name}_{phase}") for name in ("voltage", "current", "power")
        )
        if volts is None or amperes is None or kilowatts is None:
            continue
        apparent = volts * abs(amperes) / 1000
        if kilowatts < -SMALL_SHARE * apparent < 0 < values.get("power", 0.0):
            yield Finding(
                meter,
                good=False,
                text=f"phase {phase.upper()} gives {-kilowatts:g} kW while the sum takes in",
                hint="current transformer reversed (S1 and S2, or its direction on the cable)",
            )
        elif apparent > 0 and abs(kilowatts) > (1 + APART) * apparent:
            yield Finding(
                meter,
                good=False,
                text=f"phase {phase.upper()}: {abs(kilowatts):g} kW, but U x I is "
                f"{apparent:.3g} kVA",
                hint="ratio of current or voltage read wrong, or the wrong device map",
            )
    yield from _phases_swapped(meter, values)
    yield from _ratio(meter, values)


def _phases_swapped(meter: str, values: Mapping[str, float]) -> Iterator[Finding]:
    """Currents on the wrong voltages: the sum is small beside U x I, phase by phase of any sign."""
    phases = [
        (values[f"voltage_{p}"] * abs(values[f"current_{p}"]) / 1000, values[f"power_{p}"])
        for p in "abc"
        if all(f"{name}_{p}" in values for name in ("voltage", "current", "power"))
    ]
    if len(phases) < 3 or min(apparent for apparent, _ in phases) <= 0:
        return
    factors = [kilowatts / apparent for apparent, kilowatts in phases]
    if any(factor < -0.3 for factor in factors) and any(0 < factor < 0.6 for factor in factors):
        shown = ", ".join(f"{factor:.2f}" for factor in factors)
        yield Finding(
            meter,
            good=False,
            text=f"power factors of the phases are {shown}",
            hint="phases swapped: the current of one phase with the voltage of another",
        )


def _ratio(meter: str, values: Mapping[str, float]) -> Iterator[Finding]:
    """A total power that is ten times, or a tenth of, what the phases say."""
    names = ("power_a", "power_b", "power_c")
    total = values.get("power")
    if total is None or not all(name in values for name in names):
        return
    summed = sum(values[name] for name in names)
    if not summed or not total:
        return
    for ten in (10.0, 100.0, 1000.0):
        for factor in (ten, 1 / ten):
            if abs(total / summed / factor - 1) < APART:
                yield Finding(
                    meter,
                    good=False,
                    text=f"total power {total:g} kW is {factor:g} x the phases' {summed:g} kW",
                    hint="scale or ratio wrong by ten: check the map, CT and VT",
                )


def outbox_health(
    *,
    free_bytes: int,
    used_bytes: int,
    limit_bytes: int,
    bytes_a_day: float | None,
    unacked: int,
    lost: int,
) -> Iterator[Finding]:
    """Room, horizon and wear of the disk.

    `bytes_a_day`: as the kernel counts,
    None = not known.
    """
    room = min(limit_bytes, used_bytes + free_bytes)
    horizon = "" if not bytes_a_day else f", {room / bytes_a_day:.0f} days at the present rate"
    yield Finding(
        "outbox",
        good=room >= limit_bytes,
        text=f"room for {room / 1e6:.0f} MB of {limit_bytes / 1e6:.0f} MB{horizon}",
        hint="" if room >= limit_bytes else "the disk has less room than outbox.max_bytes",
    )
    if bytes_a_day is not None:
        good = bytes_a_day <= NOISY_BYTES_A_DAY
        text = f"about {bytes_a_day / 1e6:.1f} MB a day are written"
        hint = "" if good else "longer commit_period_s or poll period: the card wears"
        yield Finding("disk", good=good, text=text, hint=hint)
    yield Finding("uplink", good=unacked < 1000, text=f"{unacked} batches not acknowledged yet")
    if lost:
        yield Finding("disk", good=False, text=f"{lost} batches lost to damage", hint="new SD card")
