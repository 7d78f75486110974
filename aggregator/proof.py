"""The proof that no energy is lost: registers as read against the figures as stored.

Per cumulative channel, from its first to its last reading:

    (register end - register start) x multiplier + declared events = booked + held

in whole micro-units. Nothing here is the kernel's or the book's: readings are walked with code of
their own, and the stored figures are only added up. Events are the rollovers of a register whose
modulus is known (docs/formats/ledger.md) and what people have declared (docs/formats/events.md);
any other fall is none, so its step must stand in the ledger as held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from aggregator.batch import Int64
from aggregator.ledger.registers import Registers

_TIME_TOLERANCE_MS = 60_000
_HOUR_MS = 3_600_000
_NEIGHBOURS = 12
"""Readings beside a fall that are looked at: further away none is left out for it."""

Reading = tuple[int, int]
"""Time [ms] and register times multiplier [micro-units]."""


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What must be known of a channel beside its readings; 0 = not known.

    The rest is already times `multiplier`: `modulus_micro`, `limit_micro_per_h` (largest plausible
    rate) and `slack_micro` (what the rounding of the display may add to a step). With `registers`
    it is before any multiplier, and `multiplier` is 1.
    """

    multiplier: int = 1
    modulus_micro: int = 0
    limit_micro_per_h: int = 0
    slack_micro: int = 0
    registers: Registers | None = None
    """What is declared of the channel; None when that is no more than the multiplier."""

    def behind(self, multiplier: int) -> "ChannelFacts":
        """Return the facts of one register under a multiplier."""
        return ChannelFacts(
            multiplier,
            self.modulus_micro * multiplier,
            self.limit_micro_per_h * multiplier,
            self.slack_micro * multiplier,
        )


@dataclass(frozen=True, slots=True)
class ChannelProof:
    """One line of the proof. Registers as displayed, before CT x VT; all else in energy.

    `difference_micro` is left minus right of the identity above: 0 when the channel closes.
    """

    received: int
    first_ms: int | None
    last_ms: int | None
    register_start_micro: int | None
    register_end_micro: int | None
    multiplier: int
    events_micro: int
    booked_micro: int
    held_micro: int
    difference_micro: int

    @property
    def closes(self) -> bool:
        """Whether not a micro-unit is missing or too much."""
        return self.difference_micro == 0


def prove(
    time_ms: Int64, register_micro: Int64, facts: ChannelFacts, booked_micro: int, held_micro: int
) -> ChannelProof:
    """Prove one channel from all of its readings that count.

    Args:
        time_ms: strictly ascending.
        register_micro: what the display showed [micro-units], before the multiplier.
        facts: multiplier and limits of the channel.
        booked_micro: sum of `amount` over all its base intervals.
        held_micro: sum of `amount_held` over the same.
    """
    if len(time_ms) == 0:
        return ChannelProof(
            received=0,
            first_ms=None,
            last_ms=None,
            register_start_micro=None,
            register_end_micro=None,
            multiplier=facts.multiplier,
            events_micro=0,
            booked_micro=booked_micro,
            held_micro=held_micro,
            difference_micro=-booked_micro - held_micro,
        )
    start, end = int(register_micro[0]), int(register_micro[-1])
    if facts.registers is None:
        multiplier = facts.multiplier
        events = facts.modulus_micro * _rollovers(time_ms, register_micro, facts)
    else:
        multiplier = facts.registers.multiplier(int(time_ms[-1]))
        readings = list(zip(time_ms.tolist(), register_micro.tolist(), strict=True))
        energy = sum(
            _energy(life, ChannelFacts(ratio) if accepted else facts.behind(ratio))
            for ratio, life, accepted in _lives(facts.registers, readings)
        )
        events = energy - (end - start) * multiplier
    return ChannelProof(
        received=len(time_ms),
        first_ms=int(time_ms[0]),
        last_ms=int(time_ms[-1]),
        register_start_micro=start,
        register_end_micro=end,
        multiplier=multiplier,
        events_micro=events,
        booked_micro=booked_micro,
        held_micro=held_micro,
        difference_micro=(end - start) * multiplier + events - booked_micro - held_micro,
    )


def _energy(life: Sequence[Reading], facts: ChannelFacts) -> int:
    """Return what one register counted, behind its multiplier [micro-units]."""
    if not life:
        return 0
    times, values = (np.array(column, np.int64) for column in zip(*life, strict=True))
    wraps = _rollovers(times, values, facts)
    return (life[-1][1] - life[0][1]) * facts.multiplier + wraps * facts.modulus_micro


def _lives(
    registers: Registers, readings: Sequence[Reading]
) -> Iterator[tuple[int, Sequence[Reading], bool]]:
    """Yield per register its multiplier and all it is known to have shown, as read or declared.

    A step that a person accepted is a register of its own, which does not wrap: True.
    """
    ratios = dict(registers.multipliers[1:])
    declared = {cut.at_ms: cut for cut in registers.cuts}
    ratio, life = registers.multipliers[0][1], list[Reading]()
    changes = sorted(ratios.keys() | declared.keys())
    for i, (time, value) in enumerate(readings):
        while changes and changes[0] <= time:
            at = changes.pop(0)
            if at in declared:
                final, start = declared[at].final_micro, declared[at].start_micro
            elif i == 0 or any(readings[i - 1][0] < t <= time for t in declared):
                final = start = None
            else:
                final = start = _on_the_way(readings[i - 1], (time, value), at)
            if final is not None and life:
                life.append((at, final))
            yield ratio, life, False
            ratio, life = ratios.get(at, ratio), [] if start is None else [(at, start)]
        if time in registers.accepted and life:
            yield ratio, life, False
            yield ratio, [life[-1], (time, value)], True
            life = []
        if not life or life[-1][0] != time:
            life.append((time, value))
    for at in changes:
        final = declared[at].final_micro if at in declared else None
        if final is not None and life:
            life.append((at, final))
        yield ratio, life, False
        ratio = ratios.get(at, ratio)
        start = declared[at].start_micro if at in declared else None
        life = [] if start is None else [(at, start)]
    yield ratio, life, False


def _on_the_way(a: Reading, b: Reading, time: int) -> int | None:
    """Return what a register showed between two readings; None when it fell."""
    rise, span = b[1] - a[1], b[0] - a[0]
    return None if rise < 0 else a[1] + (2 * rise * (time - a[0]) + span) // (2 * span)


def _rollovers(time_ms: Int64, register_micro: Int64, facts: ChannelFacts) -> int:
    """Count how often the register wrapped. Only the neighbourhood of a fall can tell."""
    if not facts.modulus_micro:
        return 0
    falls = np.flatnonzero(np.diff(register_micro) < 0).tolist()
    count = 0
    while falls:
        low = high = falls.pop(0)
        while falls and falls[0] <= high + 2 * _NEIGHBOURS:
            high = falls.pop(0)
        near = slice(max(0, low - _NEIGHBOURS), high + 2 + _NEIGHBOURS)
        count += _wraps_among(
            [
                (time, value * facts.multiplier)
                for time, value in zip(
                    time_ms[near].tolist(), register_micro[near].tolist(), strict=True
                )
            ],
            facts,
        )
    return count


def _wraps_among(readings: Sequence[Reading], facts: ChannelFacts) -> int:
    """Count the wraps from one reading that counts to the next."""
    kept = [one for i, one in enumerate(readings) if not _left_out(readings, i, facts)]
    return sum(_step(a, b, facts) == "wrap" for a, b in pairwise(kept))


def _left_out(readings: Sequence[Reading], i: int, facts: ChannelFacts) -> bool:
    """Tell whether reading i does not count: a dip, a peak, or one of a dip of two."""

    def odd(a: int, b: int) -> bool:
        return _step(readings[a], readings[b], facts) == "odd"

    def falls(a: int, b: int) -> bool:
        return readings[b][1] < readings[a][1]

    last = len(readings) - 1
    if not 0 < i < last:
        return False
    if not odd(i - 1, i + 1):
        if falls(i - 1, i) and (odd(i - 1, i) or odd(i, i + 1)):
            return True
        if falls(i, i + 1) and odd(i, i + 1) and (i + 2 > last or odd(i, i + 2)):
            return True

    def dip_of_two(a: int) -> bool:
        if a < 1 or a + 2 > last or not (falls(a - 1, a) and falls(a - 1, a + 1)):
            return False
        if odd(a, a + 1) or odd(a - 1, a + 2):
            return False
        return odd(a + 1, a + 2) or (not facts.limit_micro_per_h and odd(a - 1, a))

    def peak_before() -> bool:
        return i >= 2 and falls(i - 1, i) and odd(i - 1, i) and not odd(i - 2, i)

    def peak_after() -> bool:
        return i + 2 <= last and falls(i + 1, i + 2) and odd(i + 1, i + 2) and not odd(i, i + 2)

    return (dip_of_two(i) and not peak_before()) or (dip_of_two(i - 1) and not peak_after())


def _step(a: Reading, b: Reading, facts: ChannelFacts) -> str:
    """Name the step between two readings: 'on', 'wrap' or 'odd'."""
    modulus, rise = facts.modulus_micro, b[1] - a[1]
    fastest = facts.limit_micro_per_h * (b[0] - a[0] + _TIME_TOLERANCE_MS) // _HOUR_MS
    fastest += facts.slack_micro
    if rise >= 0:
        return "on" if rise <= (fastest if facts.limit_micro_per_h else modulus // 2) else "odd"
    if a[1] >= modulus or b[1] < 0:
        return "odd"
    if facts.limit_micro_per_h:
        return "wrap" if rise + modulus <= min(fastest, modulus // 2) else "odd"
    return "wrap" if a[1] >= modulus - modulus // 10 and b[1] < modulus // 10 else "odd"
