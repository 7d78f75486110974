"""What a person might say of energy that is held: found in the readings, never stored.

Judges with the verdict kernel and the pieces of the book. A fact is proposed only if, judged again
with it, the held step is gone and no other one has come. Pure: readings as they count, in; rules:
docs/formats/events.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from aggregator.batch import Int64
from aggregator.directory import SeriesKey
from aggregator.judging import held_by
from aggregator.kernels.neighbourhood import NEIGHBOURS
from aggregator.kernels.verdict import BAD, ROLLOVER_STEP, verdicts
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.ledger.registers import SINCE_EVER_MS, Cut, Registers, pieces
from aggregator.proof import ChannelFacts
from aggregator.verdict import RuleId
from contract.channels import catalogue
from contract.units import from_micro

AUTHOR = "proposal"
"""Stands for the person until one puts a name there."""
CONFIRMING = 2
"""Readings that must go on from a new level before anybody is asked to believe it."""
_SHOWN = 3
"""Readings shown on either side."""
_MOST_SHOWN = 24
_SLICE = NEIGHBOURS + 2


class What(StrEnum):
    """What was found."""

    FALL = "fall"
    RISE = "rise"
    LEFT_OUT = "left_out"
    """A reading that does not count; nothing is held for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A reading, or a register that a cut declares, and how it was judged."""

    time_ms: int
    shown_micro: int
    """As displayed, before CT x VT."""
    declared: bool
    counts: bool
    rule: RuleId | None
    """The rule that says something of it or of the step to it."""
    piece: int
    """Number of the register that it belongs to."""
    before: int
    """Index of the reading before it that counts, in its piece; -1 = none."""
    held_micro: int | None
    """Energy of the step to it when that is held."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd, the facts that would clear it, and the readings that show it."""

    what: What
    rule: RuleId
    from_ms: int
    """Time of the reading before."""
    at_ms: int
    held_micro: int
    """Signed energy, behind the multiplier [micro-units]."""
    waits_for: int
    """Readings that must still confirm the new level; 0 = enough did, or none is needed."""
    proposals: Sequence[MeterEvent]
    """Any one of them clears it."""
    evidence: Sequence[Seen]


def findings(
    key: SeriesKey, facts: ChannelFacts, time_ms: Int64, shown_micro: Int64
) -> Iterator[Finding]:
    """Yield what is odd among one channel's readings as they count, ascending in time.

    Every verdict is right that has NEIGHBOURS readings before it.
    """
    if len(time_ms):
        yield from _Search(key, _one_register(facts), time_ms, shown_micro).findings()


def judge(facts: ChannelFacts, time_ms: Int64, shown_micro: Int64) -> Sequence[Seen]:
    """Judge readings as the book does; `facts` before any multiplier."""
    registers = facts.registers or Registers()
    read = set(time_ms.tolist())
    at_cut = {cut.at_ms: cut for cut in registers.cuts}
    seen: list[Seen] = []
    for number, piece in enumerate(pieces(registers, time_ms, shown_micro)):
        limits = facts.behind(piece.multiplier)
        if piece.trusted:
            limits = replace(limits, modulus_micro=0, limit_micro_per_h=0)
        good, kind = verdicts(
            piece.time_ms,
            piece.value,
            limits.modulus_micro,
            limits.limit_micro_per_h,
            limits.slack_micro,
        )
        before = -1
        for i, (time, value) in enumerate(
            zip(piece.time_ms.tolist(), piece.value.tolist(), strict=True)
        ):
            shown = value // piece.multiplier
            declared = time not in read or (time in at_cut and _is_declared(at_cut[time], i))
            rule, held = None, None
            if not good[i]:
                rule = RuleId.SPIKE_AND_RETURN
            elif kind[i] == BAD:
                held = value - seen[before].shown_micro * piece.multiplier
                rule = held_by(held, limits.limit_micro_per_h)
            elif kind[i] == ROLLOVER_STEP:
                rule = RuleId.ROLLOVER
            seen.append(Seen(time, shown, declared, bool(good[i]), rule, number, before, held))
            if good[i]:
                before = len(seen) - 1
    return seen


def _is_declared(cut: Cut, i: int) -> bool:
    """Tell whether the row at a cut's own time, i-th of its piece, is what the cut says."""
    return cut.start_micro is not None if i == 0 else cut.final_micro is not None


def _one_register(facts: ChannelFacts) -> ChannelFacts:
    """Return the facts before any multiplier, with what is declared spelt out."""
    if facts.registers is not None:
        return facts
    ratio = facts.multiplier
    return ChannelFacts(
        1,
        facts.modulus_micro // ratio,
        facts.limit_micro_per_h // ratio,
        facts.slack_micro // ratio,
        Registers(((SINCE_EVER_MS, ratio),)),
    )


@dataclass(frozen=True, slots=True)
class _Level:
    """Readings that agree with each other: indexes of the first and the last that count."""

    first: int
    last: int
    ends: bool
    """A held step borders it on its far side, not far away."""


class _Search:
    """One channel's readings, judged once."""

    def __init__(
        self, key: SeriesKey, facts: ChannelFacts, time_ms: Int64, shown_micro: Int64
    ) -> None:
        self._key = key
        self._facts = facts
        self._registers = facts.registers or Registers()
        self._time_ms = time_ms
        self._shown_micro = shown_micro
        self._seen = judge(facts, time_ms, shown_micro)

    def findings(self) -> Iterator[Finding]:
        for i, one in enumerate(self._seen):
            if one.held_micro is not None:
                yield self._held(i, one, one.held_micro)
            elif not one.counts and self._seen[i - 1].counts:
                yield self._left_out(i, one)

    def _left_out(self, i: int, one: Seen) -> Finding:
        last = i
        while last + 1 < len(self._seen) and not self._seen[last + 1].counts:
            last += 1
        return Finding(
            What.LEFT_OUT,
            RuleId.SPIKE_AND_RETURN,
            self._seen[one.before].time_ms,
            one.time_ms,
            0,
            0,
            (),
            self._around(i - 1, last + 1),
        )

    def _held(self, i: int, one: Seen, held_micro: int) -> Finding:
        after, before = self._level_after(i), self._level_before(one.before)
        confirmed = sum(s.counts for s in self._seen[i + 1 : after.last + 1])
        waits_for = max(0, CONFIRMING - confirmed)
        offered = self._offers(i, one, held_micro, after, before, waits_for)
        end_ms = self._seen[after.last].time_ms
        cleared = [event for event in offered if self._clears(event, one, end_ms)]
        return Finding(
            What.RISE if held_micro > 0 else What.FALL,
            one.rule or RuleId.BACKWARD_STEP,
            self._seen[one.before].time_ms,
            one.time_ms,
            held_micro,
            # A level that was left again needs no confirmation, and an accepted rise none either.
            0 if after.ends or held_micro > 0 else waits_for,
            tuple(cleared),
            self._around(
                before.first if before.ends else one.before, after.last if after.ends else i
            ),
        )

    def _level_after(self, i: int) -> _Level:
        last = i
        for j in range(i + 1, min(len(self._seen), i + 1 + NEIGHBOURS)):
            if self._seen[j].piece != self._seen[i].piece:
                break
            if self._seen[j].held_micro is not None:
                return _Level(i, last, ends=True)
            if self._seen[j].counts:
                last = j
        return _Level(i, last, ends=False)

    def _level_before(self, i: int) -> _Level:
        first = i
        for _ in range(NEIGHBOURS):
            if self._seen[first].held_micro is not None:
                return _Level(first, i, ends=True)
            if self._seen[first].before < 0:
                break
            first = self._seen[first].before
        return _Level(first, i, ends=False)

    def _offers(
        self, i: int, one: Seen, held_micro: int, after: _Level, before: _Level, waits_for: int
    ) -> Iterator[MeterEvent]:
        """Yield what might be said, the likeliest first."""
        old, unit = self._seen[one.before], catalogue()[self._key.channel].unit
        way = f"{from_micro(old.shown_micro)} to {from_micro(one.shown_micro)} {unit}"
        if after.ends:
            why = f"{one.rule}: {way}, and back"
            yield self._reject(after, why)
        if before.ends:
            why = f"{one.rule}: {way}, where it was before"
            yield self._reject(before, why)
        if held_micro > 0:
            yield self._event(EventKind.ACCEPT, one, f"{one.rule}: {way}, and real")
            if waits_for and not after.ends:
                yield self._reject(_Level(i, after.last, ends=False), f"{one.rule}: {way}")
        if waits_for == 0 and not one.declared:
            why = f"{one.rule}: {way}, {CONFIRMING} readings confirm it"
            kinds = [EventKind.EXCHANGE]
            if held_micro < 0:  # a register that was set back begins near nothing
                near_zero = one.shown_micro * 100 < old.shown_micro
                kinds.insert(0 if near_zero else 1, EventKind.RESET)
            for kind in kinds:
                yield self._event(
                    kind, one, why, final_micro=old.shown_micro, start_micro=one.shown_micro
                )

    def _reject(self, level: _Level, why: str) -> MeterEvent:
        first, last = self._seen[level.first], self._seen[level.last]
        until_ms = None if first is last else last.time_ms + 1
        return self._event(EventKind.REJECT, first, why, until_ms=until_ms)

    def _event(
        self,
        kind: EventKind,
        one: Seen,
        why: str,
        *,
        until_ms: int | None = None,
        final_micro: int | None = None,
        start_micro: int | None = None,
    ) -> MeterEvent:
        return MeterEvent(
            kind,
            self._key.region,
            self._key.site,
            one.time_ms,
            AUTHOR,
            why,
            self._key.meter,
            self._key.channel,
            until_ms=until_ms,
            final_micro=final_micro,
            start_micro=start_micro,
        )

    def _clears(self, event: MeterEvent, one: Seen, end_ms: int) -> bool:
        """Tell whether the step to a reading is held no more once an event is told.

        No other step may be held for it instead. Looks at the readings around only.
        """
        since_ms = min(self._seen[one.before].time_ms, event.at_ms)
        low = max(0, int(np.searchsorted(self._time_ms, since_ms)) - _SLICE)
        high = int(np.searchsorted(self._time_ms, end_ms, "right")) + _SLICE
        time_ms, shown = self._time_ms[low:high], self._shown_micro[low:high]
        was = _held_times(judge(self._facts, time_ms, shown))
        if event.kind is EventKind.REJECT:
            from_ms, until_ms = event.span
            kept = (time_ms < from_ms) | (time_ms >= until_ms)
            if not kept.any():
                return False
            now = _held_times(judge(self._facts, time_ms[kept], shown[kept]))
        else:
            told = replace(self._facts, registers=_with(self._registers, event))
            now = _held_times(judge(told, time_ms, shown))
        return now <= was - {one.time_ms}

    def _around(self, first: int, last: int) -> Sequence[Seen]:
        low = max(0, first - _SHOWN)
        high = min(last + 1 + _SHOWN, low + _MOST_SHOWN)
        shown: dict[tuple[int, int], Seen] = {}
        for one in self._seen[low:high]:
            # A reading at which one piece ends and the next begins is shown once.
            there = shown.get((one.time_ms, one.shown_micro))
            if there is None or there.rule is None:
                shown[one.time_ms, one.shown_micro] = one
        return tuple(shown.values())


def _held_times(seen: Sequence[Seen]) -> set[int]:
    return {one.time_ms for one in seen if one.held_micro is not None}


def _with(registers: Registers, event: MeterEvent) -> Registers:
    if event.kind is EventKind.ACCEPT:
        return replace(registers, accepted=registers.accepted | {event.at_ms})
    cut = Cut(event.at_ms, event.final_micro, event.start_micro)
    others = [other for other in registers.cuts if other.at_ms != event.at_ms]
    cuts = tuple(sorted([*others, cut], key=lambda one: one.at_ms))
    return replace(registers, cuts=cuts)
