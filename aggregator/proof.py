"""The proof that no energy is lost: registers as read against the figures as stored.

Per cumulative channel, from its first to its last reading:

    (register end - register start) x multiplier + declared events = booked + held

in whole micro-units. Nothing here is the kernel's: readings are walked with code of their own, and
the stored figures are only added up. The one declared event so far is the rollover of a register
whose modulus is known (docs/formats/ledger.md); a fall that is no rollover is no event, so its
step must stand in the ledger as held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.batch import Int64

_TIME_TOLERANCE_MS = 60_000
_HOUR_MS = 3_600_000
_NEIGHBOURS = 4
"""Readings beside a fall that are looked at."""

Reading = tuple[int, int]
"""Time [ms] and register times multiplier [micro-units]."""


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What must be known of a channel beside its readings; 0 = not known.

    The rest is already times `multiplier`: `modulus_micro`, `limit_micro_per_h` (largest plausible
    rate) and `slack_micro` (what the rounding of the display may add to a step).
    """

    multiplier: int = 1
    modulus_micro: int = 0
    limit_micro_per_h: int = 0
    slack_micro: int = 0


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
    events = facts.modulus_micro * _rollovers(time_ms, register_micro, facts)
    return ChannelProof(
        received=len(time_ms),
        first_ms=int(time_ms[0]),
        last_ms=int(time_ms[-1]),
        register_start_micro=start,
        register_end_micro=end,
        multiplier=facts.multiplier,
        events_micro=events,
        booked_micro=booked_micro,
        held_micro=held_micro,
        difference_micro=(end - start) * facts.multiplier + events - booked_micro - held_micro,
    )


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
    """Walk from one trusted reading to the next, stepping over lone wrong ones."""
    count, at = 0, 0
    while at + 1 < len(readings):
        ahead = readings[at : at + 5]
        if _one_is_wrong(ahead, facts):
            to = at + 2
        elif _two_are_wrong(ahead, facts):
            to = at + 3
        else:
            to = at + 1
        count += _step(readings[at], readings[to], facts) == "wrap"
        at = to
    return count


def _one_is_wrong(ahead: Sequence[Reading], facts: ChannelFacts) -> bool:
    """Tell whether the reading after the first is a dip or a spike that the next one undoes."""
    if len(ahead) < 3 or _step(ahead[0], ahead[2], facts) == "odd":
        return False
    here, wrong, after = ahead[:3]
    into, out = _step(here, wrong, facts), _step(wrong, after, facts)
    if wrong[1] < here[1]:
        return "odd" in (into, out)
    dip_follows = len(ahead) > 3 and _step(wrong, ahead[3], facts) != "odd"
    return after[1] < wrong[1] and out == "odd" and not dip_follows


def _two_are_wrong(ahead: Sequence[Reading], facts: ChannelFacts) -> bool:
    """Tell whether the two readings after the first lie below it and the third goes on from it."""
    if len(ahead) < 4 or _step(ahead[0], ahead[3], facts) == "odd":
        return False
    here, first, second, after = ahead[:4]
    below = first[1] < here[1] and second[1] < here[1]
    if not below or _step(first, second, facts) == "odd":
        return False
    into_odd = _step(here, first, facts) == "odd"
    return _step(second, after, facts) == "odd" or (not facts.limit_micro_per_h and into_odd)


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
