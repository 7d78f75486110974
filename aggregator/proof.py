"""The proof that no energy is lost: registers as read against the figures as stored.

Per cumulative channel, from its first to its last reading:

    (register end - register start) x multiplier + declared events = booked + held

in whole micro-units. Nothing here is the kernel's: readings are walked with code of their own, and
the stored figures are only added up. The one declared event so far is the rollover of a register
whose modulus is known (docs/formats/ledger.md); a fall that is no rollover is no event, so its
step must stand in the ledger as held.
"""

from dataclasses import dataclass

import numpy as np

from aggregator.batch import Int64

_TIME_TOLERANCE_MS = 60_000
_HOUR_MS = 3_600_000
_LOOK_AHEAD = 2
"""A fall after which one of the next two readings is back at the old level was a glitch."""


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What must be known of a channel beside its readings; 0 = not known.

    `modulus_micro` and `limit_micro_per_h` (largest plausible rate) are already times `multiplier`.
    """

    multiplier: int = 1
    modulus_micro: int = 0
    limit_micro_per_h: int = 0


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
    if not facts.modulus_micro:
        return 0
    falls = np.flatnonzero(np.diff(register_micro) < 0)
    return sum(_is_rollover(time_ms, register_micro, int(at), facts) for at in falls)


def _is_rollover(time_ms: Int64, register_micro: Int64, at: int, facts: ChannelFacts) -> bool:
    """Tell whether the fall from reading `at` to the next one is the register wrapping."""
    ahead = register_micro[at + 2 : at + 2 + _LOOK_AHEAD]
    if (ahead >= register_micro[at]).any():
        return False
    if _wraps(time_ms, register_micro, at, at + 1, facts):
        return True
    # the reading before the fall may be a spike on a register that wrapped underneath it
    return (
        at > 0
        and register_micro[at + 1] < register_micro[at - 1]
        and _wraps(time_ms, register_micro, at - 1, at + 1, facts)
    )


def _wraps(time_ms: Int64, register_micro: Int64, a: int, b: int, facts: ChannelFacts) -> bool:
    modulus = facts.modulus_micro
    before, after = (int(register_micro[i]) * facts.multiplier for i in (a, b))
    if not (0 <= after < before < modulus):
        return False
    energy = after - before + modulus
    if facts.limit_micro_per_h:
        elapsed_ms = int(time_ms[b]) - int(time_ms[a]) + _TIME_TOLERANCE_MS
        plausible = facts.limit_micro_per_h * elapsed_ms // _HOUR_MS
        return energy <= min(plausible, modulus // 2)
    return before >= modulus - modulus // 10 and after < modulus // 10
