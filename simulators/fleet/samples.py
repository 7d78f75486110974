"""What a run is, second by second, and whether it kept pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulators.fleet.edges import Tally
from simulators.fleet.plan import Plan

ROOM_S = 0.5


@dataclass(frozen=True, slots=True)
class Second:
    """One second, at `at_s` since the start; unsettled: batches due and not acknowledged then."""

    at_s: float
    offered: int
    acked: int
    resent_batches: int
    late_batches: int
    unsettled: int
    ack_p50_ms: int | None
    ack_p99_ms: int | None
    lateness_max_ms: int | None

    @staticmethod
    def of(plan: Plan, at_s: float, tally: Tally, unsettled: int) -> Second:
        """Sum up what was counted in a second."""
        return Second(
            at_s=round(at_s, 2),
            offered=tally.due_batches * plan.readings_per_batch,
            acked=tally.acked_batches * plan.readings_per_batch,
            resent_batches=tally.resent_batches,
            late_batches=tally.late_batches,
            unsettled=unsettled,
            ack_p50_ms=tally.due_to_ack.percentile(50),
            ack_p99_ms=tally.due_to_ack.percentile(99),
            lateness_max_ms=tally.lateness.largest,
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """Readings per second offered and acknowledged, and the lag [readings] early and late."""

    offered_per_s: float
    acked_per_s: float
    lag_first: float
    lag_last: float
    sustained: bool


def pace(plan: Plan, seconds: Sequence[Second]) -> Pace:
    """Judge the measured seconds.

    Sustained: the lag does not grow. The unacknowledged readings of the last third are not more
    than those of the first third and half a second's worth of what is offered. What comes in bursts
    is judged by as many whole bursts as there are in a third.
    """
    if len(seconds) < 3:
        return Pace(0, 0, 0, 0, sustained=False)
    took = seconds[-1].at_s - seconds[0].at_s
    took *= len(seconds) / (len(seconds) - 1)  # the first second too
    offered = sum(second.offered for second in seconds) / took
    acked = sum(second.acked for second in seconds) / took
    third = len(seconds) // 3
    if plan.aligned:
        period_s = plan.commit_ms / 1_000
        third = max(1, int(third // period_s * period_s))
    first, last = (
        sum(second.unsettled for second in part) / third * plan.readings_per_batch
        for part in (seconds[:third], seconds[-third:])
    )
    return Pace(offered, acked, first, last, sustained=last <= first + ROOM_S * offered)
