"""What people declare about registers, written to be read (docs/formats/events.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tests.oracle.register import Channel, Reading, Row, ledger

Read = tuple[int, int] | tuple[int, int, str]
"""Time [ms], what was shown, and the gateway that read it, else gw-1."""


@dataclass(frozen=True)
class Declared:
    ratios: dict[int, int]  # since ms -> multiplier; the earliest holds before it too
    changes: dict[int, tuple[int | None, int | None]] = field(default_factory=dict)
    accepted: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    replaced: dict[int, int] = field(default_factory=dict)
    wrong_unit: tuple[int, int, int] = (0, 0, 1)  # from, until, factor
    wrong_clock: tuple[int, int, int] = (0, 0, 0)  # from, until, offset; of gw-1
    primary: dict[int, str] = field(default_factory=dict)  # since ms -> gateway; "" is any


def as_they_count(declared: Declared, came: Sequence[Read], gap_ms: int) -> list[Reading]:
    polls: list[tuple[int, bool, str, int]] = []
    for time, value, *by in came:
        edge = by[0] if by else "gw-1"
        since, until, offset = declared.wrong_clock
        at = time + offset if since <= time < until and edge == "gw-1" else time
        since, until, factor = declared.wrong_unit
        micro = value * factor if since <= at < until else value
        micro = declared.replaced.get(at, micro)
        if at not in declared.rejected:
            polls.append((at, is_other(declared, at, edge), edge, micro))
    return without_needless([(at, other, micro) for at, other, _, micro in sorted(polls)], gap_ms)


def is_other(declared: Declared, time: int, edge: str) -> bool:
    """Whether the register names another gateway for this time."""
    since = max((since for since in declared.primary if since <= time), default=None)
    return since is not None and declared.primary[since] not in ("", edge)


def without_needless(polls: Sequence[tuple[int, bool, int]], gap_ms: int) -> list[Reading]:
    """(time, of another gateway, value), the primary's first where times are the same: one each.

    Another's counts where the primary one read nothing for longer than a gap may be.
    """
    if not polls:
        return []
    mine, last = [time for time, other, _ in polls if not other], polls[-1][0]
    out: dict[int, int] = {}
    for time, other, value in polls:
        before = max((t for t in mine if t <= time), default=None)
        after = min((t for t in mine if t >= time), default=last)
        if not other or before is None or after - before > gap_ms:
            out.setdefault(time, value)
    return sorted(out.items())


def ratio_at(declared: Declared, time: int) -> int:
    past = [since for since in declared.ratios if since <= time]
    return declared.ratios[max(past) if past else min(declared.ratios)]


def on_the_way(a: Reading, b: Reading, time: int) -> int | None:
    if b[1] < a[1]:
        return None
    share = (b[1] - a[1]) * (time - a[0]) * 2 + (b[0] - a[0])
    return a[1] + share // (2 * (b[0] - a[0]))


def lives(declared: Declared, readings: Sequence[Reading]) -> list[tuple[int, list[Reading]]]:
    """(multiplier, readings) of each register, before the multiplier."""
    if not readings:  # declarations alone tell nothing
        return []
    since = sorted(declared.ratios)
    new_ratios = {b for a, b in pairwise(since) if declared.ratios[a] != declared.ratios[b]}
    borders = sorted({*declared.changes, *new_ratios})
    shown: dict[int, tuple[int | None, int | None]] = {}
    for border in borders:
        if border in declared.changes:
            shown[border] = declared.changes[border]
            continue
        before = [r for r in readings if r[0] < border]
        after = [r for r in readings if r[0] >= border]
        shown[border] = (None, None)
        if (
            before
            and after
            and not any(before[-1][0] < change <= after[0][0] for change in declared.changes)
        ):
            there = on_the_way(before[-1], after[0], border)
            shown[border] = (there, there)
    out = []
    ends = [None, *borders, None]
    for start, end in pairwise(ends):
        own = {
            time: value
            for time, value in readings
            if (start is None or time >= start) and (end is None or time < end)
        }
        first = shown[start][1] if start is not None else None
        last = shown[end][0] if end is not None else None
        if start is not None and first is not None and (own or last is not None):
            own[start] = first
        if end is not None and last is not None and own:
            own[end] = last
        out.append((ratio_at(declared, -1 if start is None else start), sorted(own.items())))
    return out


def figures(
    channel: Channel, declared: Declared, came: Sequence[Read], grid_ms: int
) -> dict[int, Row]:
    """Rows of a channel whose limits are given before any multiplier."""
    total: dict[int, Row] = {}
    readings = as_they_count(declared, came, channel.gap_ms)
    for _, limits, part in stretches(channel, declared, readings):
        for start, row in ledger(limits, part, grid_ms).rows.items():
            into = total.setdefault(start, Row())
            for name in vars(row):
                old, more = getattr(into, name), getattr(row, name)
                setattr(into, name, old | more if name == "flags" else old + more)
    return total


def stretches(
    channel: Channel, declared: Declared, counting: Sequence[Reading]
) -> Iterator[tuple[int, Channel, list[Reading]]]:
    """(multiplier, limits behind it, readings times it) of what is judged as if alone."""
    for ratio, life in lives(declared, counting):
        scaled = replace(
            channel,
            modulus=channel.modulus * ratio,
            limit=channel.limit * ratio,
            slack=channel.slack * ratio,
        )
        believed = replace(scaled, modulus=0, limit=0)
        stretch: list[Reading] = []
        for time, value in [(time, value * ratio) for time, value in life]:
            if time in declared.accepted and stretch:
                yield ratio, scaled, stretch
                yield ratio, believed, [stretch[-1], (time, value)]
                stretch = []
            stretch.append((time, value))
        yield ratio, scaled, stretch
