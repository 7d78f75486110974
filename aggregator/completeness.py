"""How complete a site's settled day is, and what its missing slots are put down to. Pure.

A channel cannot have missed more slots for its gateway's absence than the gateway was away for; of
what else is missing, polls are the cause when polls failed that day. What is left was not read
though nothing failed: no such register, thinned out, or refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from aggregator.points import Points
from contract.interval import DAY_MS
from contract.stored import COMPLETE, COMPLETENESS_DAY

CAUSES = ("offline", "unpolled", "unread")
"""Fields of `completeness_day`, and its `cause`."""
ENOUGH = 0.97
"""Share of slots received from which on no cause is named: single readings are lost everywhere."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Slots of one channel on that day."""

    edge: str
    """"" when the register does not say."""
    received: int
    expected: int


@dataclass(frozen=True, slots=True)
class _Edge:
    offline: int
    """Slots in which it was offline."""
    failed: bool
    """Whether polls of its meters failed."""


def completeness(
    channels: Iterable[Channel], history: Points, day_ms: int, grid_ms: int
) -> Mapping[str, Any]:
    """Return the fields of `completeness_day`.

    history: points of `edge` of the site in the day, and long enough before it to tell how each
    edge was at its start; until it has said something an edge counts as online.
    """
    edges = _edges(history, day_ms, grid_ms)
    only = next(iter(edges.values())) if len(edges) == 1 else None
    found = dict.fromkeys(COMPLETENESS_DAY.integers, 0)
    for channel in channels:
        edge = edges.get(channel.edge) or (None if channel.edge else only) or _Edge(0, failed=False)
        missing = max(0, channel.expected - channel.received)
        offline = min(missing, edge.offline)
        found["received"] += channel.received
        found["expected"] += channel.expected
        found["offline"] += offline
        found["unpolled" if edge.failed else "unread"] += missing - offline
    complete = found["received"] >= ENOUGH * found["expected"]
    return found | {"cause": COMPLETE if complete else max(CAUSES, key=found.__getitem__)}


def _edges(history: Points, day_ms: int, grid_ms: int) -> Mapping[str, _Edge]:
    middles = np.arange(day_ms + grid_ms // 2, day_ms + DAY_MS, grid_ms)
    found = {}
    for index, (_, _, edge) in enumerate(history.keys):
        own = history.take(history.key == index)
        own = own.take(np.argsort(own.time_ms, kind="stable"))
        at = np.searchsorted(own.time_ms, middles, "right") - 1
        online = np.append(own.columns["online"], 1)  # the last: nothing was said before
        failures = own.columns["failures"][own.time_ms >= day_ms]
        failed = bool((np.diff(failures) > 0).any())  # a counter that begins anew falls
        found[edge] = _Edge(int((online[at] == 0).sum()), failed)
    return found
