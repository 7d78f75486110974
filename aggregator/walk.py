"""Walks along the readings of one channel as its registers counted, for the proof.

Code of its own: nothing here is the kernel's or the book's. Events are the rollovers of a register
whose modulus is known (docs/formats/ledger.md) and what people have declared
(docs/formats/events.md); any other fall is none, so its step must stand in the ledger as held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import Int64
from aggregator.ledger.registers import SINCE_EVER_MS, Registers, known
from aggregator.register.profiles import Profile

_TIME_TOLERANCE_MS = 60_000
_HOUR_MS = 3_600_000
_QUARTER_MS, _WEEK_MS, _BEIJING_MS = 900_000, 7 * 86_400_000, 8 * 3_600_000
_NEIGHBOURS = 12
"""Readings beside a fall that are looked at: further away none is left out for it."""

Bools = NDArray[np.bool_]
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
    commissioned_ms: int = SINCE_EVER_MS
    """Readings before it do not count."""
    gap_limit_ms: int = 0
    """Longest step that is not spread by a profile."""
    profiles: tuple[tuple[int, Profile], ...] = ()
    """Since when which one spreads gaps that begin from then on, ascending."""

    def behind(self, multiplier: int) -> "ChannelFacts":
        """Return the facts of one register under a multiplier."""
        return ChannelFacts(
            multiplier,
            self.modulus_micro * multiplier,
            self.limit_micro_per_h * multiplier,
            self.slack_micro * multiplier,
        )


@dataclass(frozen=True, slots=True)
class Position:
    """Where the registers stood at one moment."""

    row: int
    """Last row of the walk that is not later."""
    time_ms: int
    level_micro: int
    """Register times multiplier."""
    shown_micro: int
    """What the display showed; between two readings, to the nearest micro-unit."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Readings that count, register after register, with those that people declared.

    Per row, ascending in time (two rows share a time where one register follows another):
    `time_ms`; `level` [micro-units, behind the multiplier]; `ratio`: that multiplier; `joined`: a
    step leads here from the row before, else another register begins; `gain`: what that step gained
    by a rollover [micro-units]; `odd`: that step awaits a decision.
    """

    time_ms: Int64
    level: Int64
    ratio: Int64
    joined: Bools
    gain: Int64
    odd: Bools
    gap_limit_ms: int = 0
    profiles: tuple[tuple[int, Profile], ...] = ()

    def at(self, time_ms: int) -> Position | None:
        """Return where the registers stood; None before the first reading.

        Inside a step the part of it that is over is rounded once, half away from zero, as the
        ledger does at the borders of intervals. Where nobody knows what a register showed, and
        after the last reading, it is what was known last.
        """
        row = int(np.searchsorted(self.time_ms, time_ms, "right")) - 1
        if row < 0:
            return None
        here = self.of_row(row)
        if row + 1 == len(self.time_ms) or not self.joined[row + 1]:
            return here
        there = self.of_row(row + 1)
        elapsed, span = time_ms - here.time_ms, there.time_ms - here.time_ms
        energy = there.level_micro - here.level_micro + int(self.gain[row + 1])
        level = here.level_micro + self._share(row, energy, elapsed, span)
        ratio, wrap = int(self.ratio[row + 1]), int(self.gain[row + 1])
        shown = (2 * (level % wrap if wrap else level) + ratio) // (2 * ratio)
        return Position(row, time_ms, level, shown)

    def _share(self, row: int, energy: int, elapsed: int, span: int) -> int:
        """Return the part of a step after a row that is over."""
        start = int(self.time_ms[row])
        begun = [profile for since, profile in self.profiles if since <= start]
        if span > self.gap_limit_ms and begun and not self.odd[row + 1]:
            whole = _weight(begun[-1], start, start + span)
            if whole:
                return _share(energy, _weight(begun[-1], start, start + elapsed), whole)
        return _share(energy, elapsed, span)

    def of_row(self, row: int) -> Position:
        """Return where the registers stood at a row."""
        level = int(self.level[row])
        return Position(row, int(self.time_ms[row]), level, level // int(self.ratio[row]))

    def rollovers(self, first: Position, last: Position) -> tuple[int, int]:
        """Return how many there were after `first` up to `last`, and their sum [micro-units]."""
        gain = self.gain[first.row + 1 : last.row + 1]
        return int(np.count_nonzero(gain)), sum(gain[gain != 0].tolist())

    def changes(self, first: Position, last: Position) -> tuple[int, int]:
        """Return how often the level changed with the register or its multiplier, and the sum.

        The sum is what must be added to the difference of the levels [micro-units].
        """
        rows = np.flatnonzero(~self.joined[first.row + 1 : last.row + 1]) + first.row + 1
        jumps = [int(self.level[row - 1]) - int(self.level[row]) for row in rows.tolist()]
        return sum(jump != 0 for jump in jumps), sum(jumps)

    def held_ms(self, from_ms: int, to_ms: int) -> int:
        """Return the time inside held steps in [from_ms, to_ms)."""
        rows = np.flatnonzero(self.odd)
        since = np.maximum(self.time_ms[rows - 1], from_ms)
        until = np.minimum(self.time_ms[rows], to_ms)
        return int(np.maximum(until - since, 0).sum())


def walk(time_ms: Int64, register_micro: Int64, facts: ChannelFacts) -> Walk:
    """Walk along readings of one channel, strictly ascending in time, as displayed."""
    if facts.registers is None:
        found = _of_one(time_ms, register_micro, facts)
    else:
        found = _of_many(time_ms, register_micro, facts, facts.registers)
    return replace(found, gap_limit_ms=facts.gap_limit_ms, profiles=facts.profiles)


def _of_many(
    time_ms: Int64, register_micro: Int64, facts: ChannelFacts, registers: Registers
) -> Walk:
    """Walk along the readings of registers that follow each other."""
    readings = list(zip(time_ms.tolist(), register_micro.tolist(), strict=True))
    parts = [_of_one(np.empty(0, np.int64), np.empty(0, np.int64), facts)]
    for ratio, life, accepted in _lives(registers, readings):
        if life:
            times, shown = (np.array(column, np.int64) for column in zip(*life, strict=True))
            own = ChannelFacts(ratio) if accepted else facts.behind(ratio)
            parts.append(_of_one(times, shown, own))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS
    }
    return Walk(**columns)


_COLUMNS = ("time_ms", "level", "ratio", "joined", "gain", "odd")


def _weight(profile: Profile, from_ms: int, to_ms: int) -> int:
    """Sum up weight x ms, quarter by quarter, whole weeks at once."""
    week = sum(profile.weekday) * 5 + sum(profile.weekend) * 2
    weeks, rest = divmod(to_ms - from_ms, _WEEK_MS)
    total, end_ms = weeks * week * _QUARTER_MS, from_ms + rest
    while from_ms < end_ms:
        until = min(end_ms, (from_ms // _QUARTER_MS + 1) * _QUARTER_MS)
        day, quarter = divmod((from_ms + _BEIJING_MS) // _QUARTER_MS, 96)
        weights = profile.weekend if (day + 3) % 7 > 4 else profile.weekday
        total += weights[quarter] * (until - from_ms)
        from_ms = until
    return total


def _of_one(time_ms: Int64, shown: Int64, facts: ChannelFacts) -> Walk:
    """Walk along the readings of one register."""
    level = shown * facts.multiplier
    kept = _kept(time_ms, level, facts)
    time_ms, level = time_ms[kept], level[kept]
    joined = np.ones(len(level), np.bool_)
    joined[:1] = False
    gain, odd = np.zeros(len(level), np.int64), np.zeros(len(level), np.bool_)
    for row in (np.flatnonzero(_unusual(time_ms, level, facts)) + 1).tolist():
        a, b = ((int(time_ms[i]), int(level[i])) for i in (row - 1, row))
        kind = _step(a, b, facts)
        gain[row] = facts.modulus_micro if kind == "wrap" else 0
        odd[row] = kind == "odd"
    ratio = np.full(len(level), facts.multiplier, np.int64)
    return Walk(time_ms, level, ratio, joined, gain, odd)


def _unusual(time_ms: Int64, level: Int64, facts: ChannelFacts) -> Bools:
    """Tell which steps need a look: falls, and rises near or above what is plausible."""
    rise = np.diff(level)
    if facts.limit_micro_per_h:
        elapsed_h = (np.diff(time_ms) + _TIME_TOLERANCE_MS) / _HOUR_MS
        most = facts.limit_micro_per_h * elapsed_h + facts.slack_micro
        return (rise < 0) | (rise > 0.999_999 * most - 2)
    return rise < 0 if not facts.modulus_micro else (rise < 0) | (rise > facts.modulus_micro // 2)


def _kept(time_ms: Int64, level: Int64, facts: ChannelFacts) -> Bools:
    """Tell which readings count. Only the neighbourhood of a fall can tell."""
    kept = np.ones(len(level), np.bool_)
    falls = np.flatnonzero(np.diff(level) < 0).tolist()
    while falls:
        low = high = falls.pop(0)
        while falls and falls[0] <= high + 2 * _NEIGHBOURS:
            high = falls.pop(0)
        first, end = max(0, low - _NEIGHBOURS), high + 2 + _NEIGHBOURS
        near = list(zip(time_ms[first:end].tolist(), level[first:end].tolist(), strict=True))
        for i in range(len(near)):
            kept[first + i] = not _left_out(near, i, facts)
    return kept


def _share(amount: int, part: int, whole: int) -> int:
    """Return amount x part / whole, rounded half away from zero."""
    size = (2 * abs(amount) * part + whole) // (2 * whole)
    return size if amount >= 0 else -size


def _lives(
    registers: Registers, readings: Sequence[Reading]
) -> Iterator[tuple[int, Sequence[Reading], bool]]:
    """Yield per register its multiplier and all it is known to have shown, as read or declared.

    A step that a person accepted is a register of its own, which does not wrap: True. Of a channel
    of which no reading counts, declarations alone tell nothing.
    """
    if not readings:
        return
    ratios = dict(registers.multipliers[1:])
    declared = {cut.at_ms: cut for cut in registers.cuts}
    ratio, life = registers.multipliers[0][1], list[Reading]()
    changes = sorted(ratios.keys() | declared.keys())
    for i, (time, value) in enumerate(readings):
        while changes and changes[0] <= time:
            at = changes.pop(0)
            if at in declared:
                final = known(declared[at].final_micro, ratio)
                start = known(declared[at].start_micro, ratios.get(at, ratio))
            elif i == 0 or any(readings[i - 1][0] < t <= time for t in declared):
                final = start = None
            else:
                final = start = _on_the_way(readings[i - 1], (time, value), at)
            yield from _ended(registers, ratio, life, at, final)
            ratio, life = ratios.get(at, ratio), [] if start is None else [(at, start)]
        if time in registers.accepted and life and life[-1][0] != time:
            yield ratio, life, False
            yield ratio, [life[-1], (time, value)], True
            life = []
        if not life or life[-1][0] != time:
            life.append((time, value))
    for at in changes:
        final = known(declared[at].final_micro, ratio) if at in declared else None
        yield from _ended(registers, ratio, life, at, final)
        ratio = ratios.get(at, ratio)
        start = known(declared[at].start_micro, ratio) if at in declared else None
        life = [] if start is None else [(at, start)]
    yield ratio, life, False


def _ended(
    registers: Registers, ratio: int, life: list[Reading], time: int, final: int | None
) -> Iterator[tuple[int, Sequence[Reading], bool]]:
    """Yield a register that ends at a time, with what it is known to have shown last."""
    if final is None or not life:
        yield ratio, life, False
    elif time in registers.accepted:
        yield ratio, life, False
        yield ratio, [life[-1], (time, final)], True
    else:
        yield ratio, [*life, (time, final)], False


def _on_the_way(a: Reading, b: Reading, time: int) -> int | None:
    """Return what a register showed between two readings; None when it fell."""
    rise, span = b[1] - a[1], b[0] - a[0]
    return None if rise < 0 else a[1] + (2 * rise * (time - a[0]) + span) // (2 * span)


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
        if not modulus and not facts.limit_micro_per_h:
            return "on"
        return "on" if rise <= (fastest if facts.limit_micro_per_h else modulus // 2) else "odd"
    if a[1] >= modulus or b[1] < 0:
        return "odd"
    if facts.limit_micro_per_h:
        return "wrap" if rise + modulus <= min(fastest, modulus // 2) else "odd"
    return "wrap" if a[1] >= modulus - modulus // 10 and b[1] < modulus // 10 else "odd"
