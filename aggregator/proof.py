"""The proof that no energy is lost: registers as read against the figures as stored.

Per cumulative channel, from its first to its last reading or between any two borders of intervals:

    level at the end - level at the start + events = booked + held

in whole micro-units. The level is the register times its multiplier. The readings are walked with
code of the proof's own (aggregator/walk.py); the stored figures are only added up.
"""

from dataclasses import dataclass

from aggregator.batch import Int64
from aggregator.walk import ChannelFacts, Position, Walk, walk

__all__ = ["ChannelFacts", "ChannelProof", "prove", "prove_walk"]


@dataclass(frozen=True, slots=True)
class ChannelProof:
    """One line of the proof. Registers as displayed, before CT x VT; all else in energy.

    `difference_micro` is left minus right of the identity above: 0 when the channel closes.
    """

    received: int
    """Readings that count."""
    first_ms: int | None
    """When the register was at its start: the border, or the first reading when that is later."""
    last_ms: int | None
    """When it was at its end: the border, or the last reading when that is earlier."""
    register_start_micro: int | None
    register_end_micro: int | None
    level_start_micro: int
    level_end_micro: int
    multiplier: int
    """In force at the end."""
    rollovers: int
    register_changes: int
    """Exchanges, resets and new multipliers that changed the level."""
    events_micro: int
    """What both added."""
    booked_micro: int
    held_micro: int
    held_ms: int
    """Time inside held steps."""
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
    found = walk(time_ms, register_micro, facts)
    return prove_walk(found, facts, None, None, len(time_ms), booked_micro, held_micro)


def prove_walk(
    found: Walk,
    facts: ChannelFacts,
    from_ms: int | None,
    to_ms: int | None,
    received: int,
    booked_micro: int,
    held_micro: int,
) -> ChannelProof:
    """Prove one channel in [from_ms, to_ms), two borders of intervals; None: from the start on.

    Args:
        found: the walk along all readings that count, or along those in the period and so many
            on either side that the nearest verdicts are sure.
        facts: those it was walked with.
        from_ms: UTC; None: the first reading.
        to_ms: UTC; None: the last reading.
        received: how many readings in the period count.
        booked_micro: sum of `amount` over the base intervals that start in the period.
        held_micro: sum of `amount_held` over the same.
    """
    start, end = _borders(found, from_ms, to_ms)
    if start is None or end is None:
        events = rollovers = changes = held_ms = 0
    else:
        rollovers, gained = found.rollovers(start, end)
        changes, jumped = found.changes(start, end)
        events = gained + jumped
        held_ms = found.held_ms(
            start.time_ms if from_ms is None else from_ms, end.time_ms if to_ms is None else to_ms
        )
    level_start = start.level_micro if start else 0
    level_end = end.level_micro if end else 0
    if facts.registers is None or end is None:
        multiplier = facts.multiplier
    else:
        multiplier = facts.registers.multiplier(end.time_ms)
    return ChannelProof(
        received=received,
        first_ms=start.time_ms if start else None,
        last_ms=end.time_ms if end else None,
        register_start_micro=start.shown_micro if start else None,
        register_end_micro=end.shown_micro if end else None,
        level_start_micro=level_start,
        level_end_micro=level_end,
        multiplier=multiplier,
        rollovers=rollovers,
        register_changes=changes,
        events_micro=events,
        booked_micro=booked_micro,
        held_micro=held_micro,
        held_ms=held_ms,
        difference_micro=level_end - level_start + events - booked_micro - held_micro,
    )


def _borders(
    found: Walk, from_ms: int | None, to_ms: int | None
) -> tuple[Position | None, Position | None]:
    """Return where the registers stood at start and end; None when nothing was read by then."""
    if len(found.time_ms) == 0:
        return None, None
    end = found.of_row(len(found.time_ms) - 1) if to_ms is None else found.at(to_ms)
    if end is None:
        return None, None
    start = None if from_ms is None else found.at(from_ms)
    return start or found.of_row(0), end
