"""The registers that stand behind one channel: exchanges, resets, new ratios, people's decisions.

A channel's readings are cut into *pieces*, each counted by one register under one multiplier, as
if it were alone: the first and the last reading of a piece always count, and no verdict looks
across a cut. The energy of the channel is the sum of its pieces. Where the register at a cut is
known it is a reading of both pieces, so that nothing between them is lost.

Pure: integers [micro-units of the display, ms UTC] in, integers out. Rules: docs/formats/events.md.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import numpy as np

from aggregator.batch import Int64

SINCE_EVER_MS = -(1 << 62)
FOR_EVER_MS = 1 << 62
MAX_ENERGY_MICRO = 1 << 60
"""A register behind its multiplier beyond this counts as unknown, as readings beyond it do."""
_TOO_LARGE = 1 << 62
"""A corrected reading beyond what counts [micro-units]: it is left out like any such reading."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One register ends at `at_ms` and another begins; readings at `at_ms` are the new one's.

    `final_micro` is what the old one showed last, `start_micro` what the new one showed first; None
    when nobody knows: then what was used since the last, or until the first, reading is
    undetermined.
    """

    at_ms: int
    final_micro: int | None = None
    start_micro: int | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """Readings in [from_ms, until_ms) are to be multiplied: a wrong unit, a wrong decimal."""

    from_ms: int
    until_ms: int
    factor: Fraction


@dataclass(frozen=True, slots=True)
class Shift:
    """Readings in [from_ms, until_ms), by the gateway's clock, were taken `offset_ms` later.

    A clock that was an hour ahead needs an offset of minus an hour.
    """

    edge: str
    from_ms: int
    until_ms: int
    offset_ms: int

    @property
    def touched(self) -> tuple[int, int]:
        """First and last time [ms] from which or to which readings move."""
        return (
            min(self.from_ms, self.from_ms + self.offset_ms),
            max(self.until_ms, self.until_ms + self.offset_ms),
        )


@dataclass(frozen=True, slots=True)
class Registers:
    """All that is declared about one channel. Immutable."""

    multipliers: tuple[tuple[int, int], ...] = ((SINCE_EVER_MS, 1),)
    """(since [ms], CT x VT), ascending; the first row also holds for all time before it."""
    cuts: tuple[Cut, ...] = ()
    """Ascending, one per time."""
    accepted: frozenset[int] = frozenset()
    """Times of readings whose step from the reading before is real, however large."""
    rejected: tuple[tuple[int, int], ...] = ()
    """[from_ms, until_ms): readings that do not count."""
    replaced: Mapping[int, int] = field(default_factory=dict)
    """Time of a reading -> what it should have been [micro-units]."""
    corrections: tuple[Correction, ...] = ()
    shifts: tuple[Shift, ...] = ()
    profiles: tuple[tuple[int, str], ...] = ()
    """(since [ms], digest of the profile that spreads gaps which begin from then on), ascending."""
    edges: tuple[tuple[int, str], ...] = ()
    """(since [ms], the gateway whose readings count; "" for any), ascending, the first also for all
    time before it. Empty where no other gateway than the one named ever read the meter."""
    commissioned_ms: int = SINCE_EVER_MS
    """Readings before it do not count: the register knows the meter only since then."""
    integrated_from_ms: int | None = None
    """Since when no register counts, but the integral of a rate; None: a register does."""
    limits: tuple[int, int, int] | None = (0, 0, 0)
    """Modulus, rating per hour and display step, as the edge's meta in force says, before the
    multiplier [micro-units]; 0 where it says nothing; None: nobody noted them, any will do."""
    unsure: tuple[int, int] | None = None
    """Of what figures follow: first and last time between which some may follow something else,
    since they were being rewritten [ms]. Nobody declares this."""

    @property
    def plain(self) -> bool:
        """Whether one register under one multiplier counts, and every reading as it came."""
        return len(self.multipliers) == 1 and not (self._piecewise or self.edited or self.edges)

    @property
    def _piecewise(self) -> bool:
        return bool(self.cuts or self.accepted)

    @property
    def edited(self) -> bool:
        """Whether people's words change readings."""
        return bool(self.rejected or self.replaced or self.corrections or self.shifts)

    def multiplier(self, time_ms: int) -> int:
        """Return the multiplier in force."""
        found = self.multipliers[0][1]
        for since_ms, multiplier in self.multipliers:
            if since_ms <= time_ms:
                found = multiplier
        return found

    def profile(self, time_ms: int) -> str:
        """Return the profile in force; "" for none."""
        begun = [digest for since_ms, digest in self.profiles if since_ms <= time_ms]
        return begun[-1] if begun else ""

    def edge(self, time_ms: int) -> str:
        """Return the gateway whose readings go before others'; "" for none."""
        begun = [edge for since_ms, edge in self.edges if since_ms <= time_ms]
        return begun[-1] if begun else ""

    def largest_multiplier(self) -> int:
        """Return the largest of all times."""
        return max(multiplier for _, multiplier in self.multipliers)

    def borders(self) -> list[int]:
        """Return the times at which another register or multiplier begins, ascending [ms]."""
        return sorted(
            {cut.at_ms for cut in self.cuts} | {since for since, _ in self.multipliers[1:]}
        )

    def next_change(self, time_ms: int) -> int:
        """Return the first time after `time_ms` at which a piece begins, or FOR_EVER_MS."""
        return min(
            (at for at in {*self.borders(), *self.accepted} if at > time_ms), default=FOR_EVER_MS
        )

    def moved(self) -> Iterator[tuple[int, int]]:
        """Yield the spans [from, to] in which readings vanish, or from and to which they move."""
        yield from self.rejected
        for shift in self.shifts:
            yield shift.touched


@dataclass(frozen=True, slots=True)
class Piece:
    """Readings of one register, values times the multiplier [micro-units]."""

    time_ms: Int64
    value: Int64
    multiplier: int
    until_ms: int
    """Where the next piece begins, or would with a reading there."""
    trusted: bool
    """A person has accepted its only step: neither rating nor modulus are asked."""


@dataclass(frozen=True, slots=True)
class Edited:
    """Readings as they count; `keep` is false for those that do not."""

    time_ms: Int64
    value: Int64
    keep: np.ndarray
    clocked: np.ndarray
    """A clock event says when they were really taken."""


def edit(registers: Registers, edges: Sequence[str], time_ms: Int64, value: Int64) -> Edited:
    """Apply decisions and corrections to one channel's readings, in any order.

    edges: who read each of them. First the clock, then the unit, then what a person says of the
    reading that then stands at that time.
    """
    time_ms, value = time_ms.copy(), value.copy()
    clocked = np.zeros(len(value), np.bool_)
    if registers.shifts:
        read_ms, who = time_ms.copy(), np.array(edges)
        for shift in registers.shifts:
            rows = (shift.from_ms <= read_ms) & (read_ms < shift.until_ms) & (who == shift.edge)
            time_ms[rows] = read_ms[rows] + shift.offset_ms
            clocked |= rows
    for row in range(len(value)):
        for correction in registers.corrections:
            if correction.from_ms <= time_ms[row] < correction.until_ms:
                product = round(int(value[row]) * correction.factor)
                value[row] = max(-_TOO_LARGE, min(product, _TOO_LARGE))
    for at_ms, micro in registers.replaced.items():
        value[time_ms == at_ms] = micro
    keep = np.ones(len(value), np.bool_)
    for from_ms, until_ms in registers.rejected:
        keep &= ~((from_ms <= time_ms) & (time_ms < until_ms))
    return Edited(time_ms, value, keep, clocked)


def pieces(registers: Registers, time_ms: Int64, value: Int64) -> Iterator[Piece]:
    """Cut edited readings of one channel, ascending in time, into pieces; at least one reading.

    Pieces without a reading of their own, declared or read, are left out.
    """
    times, values = time_ms.tolist(), value.tolist()
    cuts = {cut.at_ms: cut for cut in registers.cuts}
    since_ms, opening = SINCE_EVER_MS, None
    for at_ms in (*registers.borders(), FOR_EVER_MS):
        low, high = bisect_left(times, since_ms), bisect_left(times, at_ms)
        if at_ms in cuts:
            closing = known(cuts[at_ms].final_micro, registers.multiplier(since_ms))
            next_opening = known(cuts[at_ms].start_micro, registers.multiplier(at_ms))
        else:
            closing = next_opening = _between(registers, times, values, at_ms)
        own = list(zip(times[low:high], values[low:high], strict=True))
        if opening is not None and (own or closing is not None):
            own = [(since_ms, opening), *(pair for pair in own if pair[0] != since_ms)]
        if closing is not None and own:
            own.append((at_ms, closing))
        yield from _accepted(own, registers, registers.multiplier(since_ms), at_ms)
        since_ms, opening = at_ms, next_opening


def known(register_micro: int | None, multiplier: int) -> int | None:
    """Return a declared register, or None when nobody knows it or it cannot be."""
    if register_micro is None or abs(register_micro) * multiplier > MAX_ENERGY_MICRO:
        return None
    return register_micro


def _accepted(
    readings: list[tuple[int, int]], registers: Registers, multiplier: int, until_ms: int
) -> Iterator[Piece]:
    """Yield one register's readings; a step that a person accepted is a piece of its own."""
    first = 0
    for i in range(1, len(readings)):
        if readings[i][0] in registers.accepted:
            if i - 1 > first:
                yield _piece(readings[first:i], multiplier, readings[i - 1][0])
            yield _piece(readings[i - 1 : i + 1], multiplier, readings[i][0], trusted=True)
            first = i
    if readings:
        yield _piece(
            readings[first:], multiplier, min(until_ms, registers.next_change(readings[-1][0]))
        )


def _piece(
    readings: Sequence[tuple[int, int]], multiplier: int, until_ms: int, *, trusted: bool = False
) -> Piece:
    time_ms, value = zip(*readings, strict=True)
    return Piece(
        np.array(time_ms, np.int64),
        np.array(value, np.int64) * multiplier,
        multiplier,
        until_ms,
        trusted,
    )


def _between(registers: Registers, times: list[int], values: list[int], time_ms: int) -> int | None:
    """Interpolate the register at a time; None when it did not just go on across it."""
    after = bisect_left(times, time_ms)
    if not 0 < after < len(times):
        return None
    (t0, t1), (v0, v1) = times[after - 1 : after + 1], values[after - 1 : after + 1]
    if v1 < v0 or any(t0 < cut.at_ms <= t1 for cut in registers.cuts):
        return None
    return v0 + (2 * (v1 - v0) * (time_ms - t0) + t1 - t0) // (2 * (t1 - t0))


def differing(old: Registers, new: Registers) -> tuple[int, int] | None:
    """Return first and last time at which two declarations differ [ms]; None when they agree."""
    times: set[int] = set(old.unsure or ())
    since = sorted({since for row in (old, new) for since, _ in row.multipliers} | {SINCE_EVER_MS})
    for low, high in pairwise((*since, FOR_EVER_MS)):
        if old.multiplier(low) != new.multiplier(low):
            times |= {low, high}
    since = sorted({since for row in (old, new) for since, _ in row.profiles})
    for low, high in pairwise((*since, FOR_EVER_MS)):
        if old.profile(low) != new.profile(low):
            times |= {low, high}
    since = sorted({since for row in (old, new) for since, _ in row.edges})
    for low, high in pairwise((*since, FOR_EVER_MS)):
        if old.edge(low) != new.edge(low):
            times |= {low, high}
    if old.commissioned_ms != new.commissioned_ms:
        times |= {old.commissioned_ms, new.commissioned_ms}
    if old.integrated_from_ms != new.integrated_from_ms:
        ends = (old.integrated_from_ms, new.integrated_from_ms)
        times |= {FOR_EVER_MS if end is None else end for end in ends}
    if None not in (old.limits, new.limits) and old.limits != new.limits:
        times |= {SINCE_EVER_MS, FOR_EVER_MS}
    times |= {cut.at_ms for cut in set(old.cuts) ^ set(new.cuts)}
    times |= old.accepted ^ new.accepted
    times |= {time_ms for time_ms, _ in set(old.replaced.items()) ^ set(new.replaced.items())}
    for row in set(old.corrections) ^ set(new.corrections):
        times |= {row.from_ms, row.until_ms}
    for span in set(old.rejected) ^ set(new.rejected):
        times |= set(span)
    if old.shifts != new.shifts:  # another order changes something too: the later word counts
        for shift in set(old.shifts) ^ set(new.shifts) or old.shifts:
            times |= set(shift.touched)
    return (min(times), max(times)) if times else None


def to_text(registers: Registers) -> str:
    """Write what is declared as one line of JSON; the same declaration gives the same text."""
    return json.dumps(
        {
            "multipliers": registers.multipliers,
            "cuts": [[cut.at_ms, cut.final_micro, cut.start_micro] for cut in registers.cuts],
            "accepted": sorted(registers.accepted),
            "rejected": registers.rejected,
            "replaced": sorted(registers.replaced.items()),
            "corrections": [[c.from_ms, c.until_ms, str(c.factor)] for c in registers.corrections],
            "shifts": [[s.edge, s.from_ms, s.until_ms, s.offset_ms] for s in registers.shifts],
            **({"profiles": registers.profiles} if registers.profiles else {}),
            **({"edges": registers.edges} if registers.edges else {}),
            "commissioned": registers.commissioned_ms,
            "limits": registers.limits,
            **({"unsure": registers.unsure} if registers.unsure else {}),
            **(
                {}
                if registers.integrated_from_ms is None
                else {"integrated_from": registers.integrated_from_ms}
            ),
        },
        separators=(",", ":"),
    )


def from_text(text: str) -> Registers:
    """Read what `to_text` wrote."""
    said = json.loads(text)
    limits = said.get("limits")  # texts of before have none
    unsure = said.get("unsure")
    return Registers(
        multipliers=tuple((since_ms, multiplier) for since_ms, multiplier in said["multipliers"]),
        cuts=tuple(Cut(*cut) for cut in said["cuts"]),
        accepted=frozenset(said["accepted"]),
        rejected=tuple((from_ms, until_ms) for from_ms, until_ms in said["rejected"]),
        replaced=dict(said["replaced"]),
        corrections=tuple(
            Correction(from_ms, until_ms, Fraction(factor))
            for from_ms, until_ms, factor in said["corrections"]
        ),
        shifts=tuple(Shift(*shift) for shift in said["shifts"]),
        profiles=tuple((since_ms, digest) for since_ms, digest in said.get("profiles", ())),
        edges=tuple((since_ms, edge) for since_ms, edge in said.get("edges", ())),
        commissioned_ms=said.get("commissioned", SINCE_EVER_MS),  # texts of before have none
        integrated_from_ms=said.get("integrated_from"),
        limits=None if limits is None else (limits[0], limits[1], limits[2]),
        unsure=None if unsure is None else (unsure[0], unsure[1]),
    )
