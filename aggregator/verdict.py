"""Verdicts: what a rule says of one reading. Rare, small, and stored beside the reading.

The rules themselves are rows of a table (aggregator/ledger/rules.py).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class RuleId(StrEnum):
    """Every rule. The order is stored (`number`): new ones go to the end."""

    IMPOSSIBLE_TIME = "impossible-time"
    VALUE_RANGE = "value-range"
    DUPLICATE_TIME = "duplicate-time"
    SPIKE_AND_RETURN = "spike-and-return"
    STEP_ABOVE_RATING = "step-above-rating"
    STEP_ABOVE_HALF_MODULUS = "step-above-half-modulus"
    BACKWARD_STEP = "backward-step"
    ROLLOVER = "rollover"
    LONG_GAP = "long-gap"
    BEFORE_COMMISSIONING = "before-commissioning"
    CLOCK_NOT_SET = "clock-not-set"
    STUCK_REGISTER = "stuck-register"

    @property
    def number(self) -> int:
        """Place in this list: tells verdicts about one reading apart where a key needs a number."""
        return list(RuleId).index(self)


class Outcome(StrEnum):
    """What became of the reading, or of the energy of the step to it."""

    LEFT_OUT = "left_out"
    HELD = "held"
    BOOKED = "booked"
    FLAGGED = "flagged"
    """Shown only: no energy is moved."""
    WITHDRAWN = ""
    """In a write: the verdict holds no longer. Never read."""


class Verdict(NamedTuple):
    """One rule about one reading; (series, time, rule) is the key."""

    series: int
    """Index in the directory."""
    time_ms: int
    """Of the reading [ms UTC], where a clock event has put it."""
    rule: RuleId
    value: int
    """What the display showed [micro-units, before CT x VT]; of a stuck register the mean rate that
    was measured meanwhile [micro-units per hour, before CT x VT]."""
    outcome: Outcome

    @property
    def key(self) -> tuple[int, int, int]:
        """Series, time and number of the rule: the order in which verdicts are read."""
        return self.series, self.time_ms, self.rule.number


def changes(old: Iterable[Verdict], new: Iterable[Verdict]) -> list[Verdict]:
    """Return what must be written for `new` to stand where `old` stood."""
    stands, told = set(old), {verdict.key: verdict for verdict in new}
    gone = (v._replace(value=0, outcome=Outcome.WITHDRAWN) for v in stands if v.key not in told)
    fresh = (verdict for verdict in told.values() if verdict not in stands)
    return sorted([*gone, *fresh], key=lambda verdict: verdict.key)
