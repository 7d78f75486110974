"""The rules of docs/formats/ledger.md, written to be read: lists, fractions, no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fractions import Fraction

ROLLOVER, HELD, SUSPECT, ESTIMATED, PROFILED = 1, 2, 4, 8, 16
Profile = tuple[Sequence[int], Sequence[int]]  # 96 weights of a weekday, 96 of a weekend day


@dataclass(frozen=True)
class Channel:
    modulus: int = 0  # 0: unknown
    limit: int = 0  # per hour, 0: unknown
    slack: int = 0
    gap_ms: int = 1_800_000


@dataclass(frozen=True)
class Step:
    start_ms: int
    end_ms: int
    delta: int  # register at the end minus register at the start
    event: int  # modulus when the register rolled over, else 0
    held: bool
    across_suspect: bool


@dataclass
class Row:
    amount: int = 0
    amount_estimated: int = 0
    amount_held: int = 0
    measured_ms: int = 0
    estimated_ms: int = 0
    held_ms: int = 0
    received: int = 0
    flags: int = 0

    def values(self) -> tuple[int, ...]:
        return (
            self.amount,
            self.amount_estimated,
            self.amount_held,
            self.measured_ms,
            self.estimated_ms,
            self.held_ms,
            self.received,
            self.flags,
        )


@dataclass
class Ledger:
    good: list[bool] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    rows: dict[int, Row] = field(default_factory=dict)


Reading = tuple[int, int]  # time in ms, register in micro-units


def allowed(channel: Channel, elapsed_ms: int) -> int:
    return channel.limit * (elapsed_ms + 60_000) // 3_600_000 + channel.slack


def step_kind(channel: Channel, a: Reading, b: Reading) -> str:
    """'forward', 'rollover' or 'bad'."""
    elapsed, delta, modulus = b[0] - a[0], b[1] - a[1], channel.modulus
    if delta >= 0:
        if channel.limit:
            return "forward" if delta <= allowed(channel, elapsed) else "bad"
        return "bad" if modulus and delta > modulus // 2 else "forward"
    if not modulus or a[1] >= modulus or b[1] < 0:
        return "bad"
    wrapped = delta + modulus
    if channel.limit:
        fits = wrapped <= modulus // 2 and wrapped <= allowed(channel, elapsed)
    else:
        fits = a[1] >= modulus - modulus // 10 and b[1] < modulus // 10
    return "rollover" if fits else "bad"


def verdicts(channel: Channel, readings: Sequence[Reading]) -> list[bool]:
    """True for each reading that counts."""
    n = len(readings)

    def has(*indexes: int) -> bool:
        return all(0 <= i < n for i in indexes)

    def ok(i: int, j: int) -> bool:
        return step_kind(channel, readings[i], readings[j]) != "bad"

    def falls(i: int, j: int) -> bool:
        return readings[j][1] < readings[i][1]

    def dip(i: int) -> bool:
        return (
            has(i - 1, i + 1)
            and falls(i - 1, i)
            and ok(i - 1, i + 1)
            and not (ok(i - 1, i) and ok(i, i + 1))
        )

    def peak(i: int) -> bool:
        if not has(i - 1, i + 1) or not falls(i, i + 1) or ok(i, i + 1) or not ok(i - 1, i + 1):
            return False
        return not (has(i + 2) and ok(i, i + 2))  # else the next reading is a dip

    def dip_of_two(i: int) -> bool:
        """Readings i and i + 1 lie below i - 1, agree, and i + 2 goes on from i - 1."""
        if not has(i - 1, i + 2):
            return False
        below = falls(i - 1, i) and falls(i - 1, i + 1)
        if not (below and ok(i, i + 1) and ok(i - 1, i + 2)):
            return False
        return not ok(i + 1, i + 2) or (channel.limit == 0 and not ok(i - 1, i))

    def first_of_two(i: int) -> bool:
        before_is_peak = has(i - 2) and falls(i - 1, i) and not ok(i - 1, i) and ok(i - 2, i)
        return dip_of_two(i) and not before_is_peak

    def second_of_two(i: int) -> bool:
        next_is_peak = has(i + 2) and falls(i + 1, i + 2) and not ok(i + 1, i + 2) and ok(i, i + 2)
        return dip_of_two(i - 1) and not next_is_peak

    return [not (dip(i) or peak(i) or first_of_two(i) or second_of_two(i)) for i in range(n)]


def share(amount: int, part: int, whole: int) -> int:
    """amount x part / whole, rounded half away from zero."""
    exact = Fraction(abs(amount) * part, whole)
    rounded = int(exact + Fraction(1, 2))
    return rounded if amount >= 0 else -rounded


def weight(profile: Profile | None, start_ms: int, end_ms: int) -> int:
    """Sum of weight x ms; without a profile every ms weighs the same."""
    if profile is None:
        return end_ms - start_ms
    total, at = 0, start_ms
    while at < end_ms:
        day, quarter = divmod((at + 8 * 3_600_000) // 900_000, 96)
        until = min(end_ms, (at // 900_000 + 1) * 900_000)
        total += profile[(day + 3) % 7 >= 5][quarter] * (until - at)  # 1970-01-01: a Thursday
        at = until
    return total


def ledger(
    channel: Channel,
    readings: Sequence[Reading],
    grid_ms: int,
    frozen: AbstractSet[int] = frozenset(),
    profiles: Mapping[int, Profile] | None = None,
) -> Ledger:
    """All figures of one channel from all of its readings.

    frozen: times of readings that are no polls; profiles: since when which one holds.
    """
    out = Ledger(good=verdicts(channel, readings))

    def row(time_ms: int) -> Row:
        return out.rows.setdefault(time_ms // grid_ms * grid_ms, Row())

    previous = None
    for i, (time_ms, value) in enumerate(readings):
        if not out.good[i]:
            continue
        row(time_ms).received += time_ms not in frozen
        if previous is not None:
            a = readings[previous]
            kind = step_kind(channel, a, (time_ms, value))
            out.steps.append(
                Step(
                    a[0],
                    time_ms,
                    value - a[1],
                    event=channel.modulus if kind == "rollover" else 0,
                    held=kind == "bad",
                    across_suspect=previous != i - 1,
                )
            )
        previous = i

    for step in out.steps:
        total, whole = step.delta + step.event, step.end_ms - step.start_ms
        start = step.start_ms
        estimated = not step.held and whole > channel.gap_ms
        past = [since for since in profiles or {} if since <= step.start_ms]
        profile = profiles[max(past)] if profiles and past and estimated else None
        if weight(profile, step.start_ms, step.end_ms) == 0:
            profile = None
        heavy = weight(profile, step.start_ms, step.end_ms)
        while start < step.end_ms:
            end = min(step.end_ms, (start // grid_ms + 1) * grid_ms)
            slice_ = share(total, weight(profile, step.start_ms, end), heavy) - share(
                total, weight(profile, step.start_ms, start), heavy
            )
            target = row(start)
            if step.held:
                target.amount_held += slice_
                target.held_ms += end - start
                target.flags |= HELD
            elif estimated:
                target.amount += slice_
                target.amount_estimated += slice_
                target.estimated_ms += end - start
                target.flags |= ESTIMATED | (PROFILED if profile else 0)
            else:
                target.amount += slice_
                target.measured_ms += end - start
            if step.event:
                target.flags |= ROLLOVER
            if step.across_suspect:
                target.flags |= SUSPECT
            start = end
    return out


def border_register(
    found: Ledger, readings: Sequence[Reading], border_ms: int
) -> tuple[int, int] | None:
    """(register, sum of events so far) at a border; None before the first, after the last."""
    good = [r for r, counts in zip(readings, found.good, strict=True) if counts]
    if not good or not good[0][0] <= border_ms <= good[-1][0]:
        return None
    register, events = good[0][1], 0
    for step in found.steps:
        if step.end_ms <= border_ms:
            register, events = register + step.delta, events + step.event
        elif step.start_ms < border_ms:
            register += share(
                step.delta + step.event, border_ms - step.start_ms, step.end_ms - step.start_ms
            )
    return register, events
