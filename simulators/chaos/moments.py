"""When each fault was planned, when it was, what it touched: `times.csv` of a run. Pure."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.chaos.faults import Fault, kinds

LATE_S = 1.0
"""A fault that begins or ends so much after its time is said to be late."""
COLUMNS = (
    "kind", "target", "at_s", "began_s", "end_s", "ended_s", "healed_s", "touched", "counts",
)  # fmt: skip


@dataclass(slots=True)
class Moment:
    """One fault as it was; None: not yet. Times [s] since the first one could begin."""

    fault: Fault
    began_s: float | None = None
    """It had taken hold."""
    ended_s: float | None = None
    """What heals it began ..."""
    healed_s: float | None = None
    """... and was done."""
    touched: int | None = None
    """What it hit, as `counts` of its kind says; None as well: nobody counts that."""

    @property
    def late_s(self) -> float:
        """By how much it began or ended after its time."""
        planned = ((self.began_s, self.fault.at_s), (self.ended_s, self.fault.end_s))
        return max([0.0, *(was - due for was, due in planned if was is not None)])

    def over(self) -> str:
        """What is said once it is healed."""
        kind = kinds()[self.fault.kind]
        hit = "" if self.touched is None else f": {self.touched} {kind.counts}"
        return f"{kind.name} {self.fault.target} is over{hit}"


def times_table(moments: Sequence[Moment]) -> str:
    """The file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for one in moments:
        fault = one.fault
        planned_and_was = (fault.at_s, one.began_s, fault.end_s, one.ended_s, one.healed_s)
        times = ["" if time_s is None else f"{time_s:.3f}" for time_s in planned_and_was]
        counts = kinds()[fault.kind].counts
        table.writerow((fault.kind, fault.target, *times, one.touched, counts))
    return text.getvalue()


def report(moments: Sequence[Moment]) -> list[str]:
    """What each wire's troubles touched, and a warning of what was late or touched nothing."""
    sums: dict[str, Counter[str]] = {}
    for one in moments:
        if one.touched is not None:
            sums.setdefault(one.fault.target, Counter())[one.fault.kind] += one.touched
    lines = []
    for target in sorted(sums):
        hit = [f"{kind} {n} {kinds()[kind].counts}" for kind, n in sorted(sums[target].items())]
        lines.append(f"wire of {target}: {', '.join(hit)}")
    late = [one for one in moments if one.late_s > LATE_S]
    if late:
        most = max(late, key=lambda one: one.late_s)
        lines.append(
            f"warning: {len(late)} of {len(moments)} faults were more than {LATE_S:g} s late, "
            f"most of all {_name(most)} by {most.late_s:.1f} s (times.csv)"
        )
    idle = [one for one in moments if one.touched == 0]
    if idle:
        lines.append(
            f"warning: {len(idle)} of {len(moments)} faults touched nothing, first of all "
            f"{_name(idle[0])} (times.csv)"
        )
    return lines


def _name(moment: Moment) -> str:
    return f"{moment.fault.kind} {moment.fault.target} at {moment.fault.at_s:g} s"
