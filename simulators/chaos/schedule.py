"""From a seed to a schedule of faults. Pure: the same arguments give the same faults for ever."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from simulators.chaos.faults import Fault, Kind, Targets

_T = TypeVar("_T")
MEAN_GAP_S = 1.0
"""Between the beginnings of two faults."""


def draw_schedule(
    seed: int, seconds: float, kinds: Sequence[Kind], targets: Targets
) -> tuple[Fault, ...]:
    """Faults over `seconds`, all healed by then. A longer time only adds to a shorter one's."""
    draw = random.Random(seed)
    busy_until: dict[tuple[str, str], float] = {}
    faults: list[Fault] = []
    at_s = 0.0
    while kinds:
        at_s = round(at_s - MEAN_GAP_S * math.log(1 - draw.random()), 1)
        kind = _one(draw, kinds)
        target = _one(draw, targets[kind.part])
        for_s = round(_between(draw, kind.least_s, kind.most_s), 1)
        amount = None
        if kind.least is not None and kind.most is not None:
            amount = float(round(_between(draw, kind.least, kind.most)))
        if at_s >= seconds:
            break
        thing = (kind.part, target)
        end_s = round(at_s + for_s, 1)
        if at_s < busy_until.get(thing, 0.0) or end_s > seconds:
            continue
        busy_until[thing] = end_s
        faults.append(Fault(at_s, kind.name, target, for_s, amount))
    return tuple(sorted(faults))


def _one(draw: random.Random, among: Sequence[_T]) -> _T:
    return among[int(draw.random() * len(among))]


def _between(draw: random.Random, low: float, high: float) -> float:
    return low + (high - low) * draw.random()
