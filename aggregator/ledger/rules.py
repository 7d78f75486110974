"""The rules by which readings are judged (VEE), as rows: tables/rules.csv.

The kernels apply them; the rows name them for people, and tests hold the parameters equal.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType


class RuleId(StrEnum):
    """Every row of the table."""

    IMPOSSIBLE_TIME = "impossible-time"
    VALUE_RANGE = "value-range"
    DUPLICATE_TIME = "duplicate-time"
    SPIKE_AND_RETURN = "spike-and-return"
    STEP_ABOVE_RATING = "step-above-rating"
    STEP_ABOVE_HALF_MODULUS = "step-above-half-modulus"
    BACKWARD_STEP = "backward-step"
    ROLLOVER = "rollover"
    LONG_GAP = "long-gap"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it finds, since when it is applied, and what then happens."""

    id: RuleId
    since: date
    severity: str
    """info, warning or error."""
    effect: str
    """What becomes of the reading, or of the energy of the step to it."""
    parameters: Mapping[str, str]
    counter: str
    """Name of the aggregator's counter of its verdicts; "" where they are not counted."""
    what: str


@cache
def rules() -> Mapping[RuleId, Rule]:
    """Return all rules by id."""
    text = files("aggregator.ledger").joinpath("tables", "rules.csv").read_text("utf-8")
    return MappingProxyType(
        {RuleId(row["id"]): _rule(row) for row in csv.DictReader(text.splitlines())}
    )


def _rule(row: Mapping[str, str]) -> Rule:
    pairs = (pair.partition("=") for pair in row["parameters"].split())
    return Rule(
        RuleId(row["id"]),
        date.fromisoformat(row["since"]),
        row["severity"],
        row["effect"],
        MappingProxyType({name: value for name, _, value in pairs}),
        row["counter"],
        row["what"],
    )
