"""Which rule says what of which reading (docs/formats/ledger.md), written to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.oracle.lives import Declared, is_other, stretches, without_needless
from tests.oracle.register import Channel, Reading, ledger

GOOD, CLOCK, RANGE = 0, 1, 2
LARGEST = 2**60


@dataclass(frozen=True)
class Came:
    """A reading as it came, in a batch of this number."""

    time: int
    value: int
    quality: int = GOOD
    seq: int = 1
    edge: str = "gw-1"


Said = dict[tuple[int, str], tuple[int, str]]
"""(time, rule) -> value as displayed, outcome."""


def verdicts(
    channel: Channel, declared: Declared, came: Sequence[Came], commissioned: int = 0
) -> Said:
    said: Said = {}
    counting: list[tuple[int, bool, str, int, int]] = []  # time, another's, edge, seq, value

    def left_out(time: int, rule: str, value: int) -> None:
        said[time, rule] = min(said.get((time, rule), (value, "")), (value, ""))[0], "left_out"

    since, until, offset = declared.wrong_clock
    first, last, factor = declared.wrong_unit
    for one in came:
        told = since <= one.time < until and one.edge == "gw-1"
        at = one.time + offset if told else one.time
        value = one.value * factor if first <= at < last else one.value
        value = declared.replaced.get(at, value)
        if at in declared.rejected:
            continue
        if at < commissioned:
            left_out(at, "before-commissioning", value)
        elif one.quality == CLOCK and not told:
            left_out(at, "clock-not-set", value)
        elif one.quality == RANGE or abs(value) > LARGEST // max(declared.ratios.values()):
            left_out(at, "value-range", value)
        else:
            counting.append((at, is_other(declared, at, one.edge), one.edge, one.seq, value))
    kept: dict[tuple[int, bool], int] = {}  # what two gateways say at one time is no conflict
    for at, other, _, _, value in sorted(counting):
        if value != kept.setdefault((at, other), value):
            said.setdefault((at, "duplicate-time"), (value, "left_out"))

    polls = [(at, other, value) for at, other, _, _, value in sorted(counting)]
    readings = without_needless(polls, channel.gap_ms)
    for ratio, limits, part in stretches(channel, declared, readings):
        said |= _of_register(ratio, limits, part)
    return said


def _of_register(ratio: int, limits: Channel, part: Sequence[Reading]) -> Said:
    said: Said = {}
    found = ledger(limits, part, 900_000)
    shown = {time: value // ratio for time, value in part}
    for (time, _), good in zip(part, found.good, strict=True):
        if not good:
            said[time, "spike-and-return"] = shown[time], "left_out"
    for step in found.steps:
        at = step.end_ms
        if step.held:
            rule = "step-above-rating" if limits.limit else "step-above-half-modulus"
            said[at, rule if step.delta >= 0 else "backward-step"] = shown[at], "held"
        elif step.event:
            said[at, "rollover"] = shown[at], "booked"
    return said
