"""The rules by which readings are judged (VEE), as dated rows: tables/rules.csv.

A rule's rows follow each other without gap or overlap, from 2020 on, so that every reading is
judged by exactly one row of it. Parameters of the verdict kernel are compiled; tests hold the rows
equal to them. What becomes of readings: docs/formats/ledger.md.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from itertools import pairwise
from types import MappingProxyType

from aggregator.verdict import Outcome, RuleId
from contract.interval import BEIJING_OFFSET_MS, DAY_MS

FIRST_DAY = date(2020, 1, 1)
"""No reading is older (the door), so this is since ever."""
_EPOCH = date(1970, 1, 1)
_COLUMNS = (
    "id", "valid_from", "valid_until", "severity", "effect", "parameters", "counter", "what",
)  # fmt: skip
_SEVERITIES = ("info", "warning", "error")
_EFFECTS = (*(outcome for outcome in Outcome if outcome), "quarantined", "estimated")
_HOURS_OF_DAY = 24


class RuleTableError(ValueError):
    """The table cannot be used; the message names line and column."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule while it is valid: what it finds, and what then happens."""

    id: RuleId
    valid_from: date
    """First Beijing day on which readings are judged by it."""
    valid_until: date | None
    """First day on which they no longer are; None: it is in force."""
    severity: str
    """info, warning or error."""
    effect: str
    """An outcome; or quarantined (outside the ledger), or estimated (said by the figure)."""
    parameters: Mapping[str, str]
    counter: str
    """Name of the aggregator's counter of its verdicts; "" where they are not counted."""
    what: str


Rules = Mapping[RuleId, Sequence[Rule]]
"""Every rule with its rows, ascending in time."""


@cache
def rules() -> Rules:
    """Return the rules that the aggregator applies."""
    return load_rules(files("aggregator.ledger").joinpath("tables", "rules.csv").read_text("utf-8"))


def rule_at(table: Rules, id_: RuleId, time_ms: int) -> Rule:
    """Return the row of a rule that judges a reading of this time [ms UTC]."""
    day = date.fromordinal(_EPOCH.toordinal() + (time_ms + BEIJING_OFFSET_MS) // DAY_MS)
    rows = table[id_]
    return next((row for row in reversed(rows) if row.valid_from <= day), rows[0])


def load_rules(text: str) -> Rules:
    """Read a table.

    Raises:
        RuleTableError: a cell cannot be read, or the rows of a rule leave a gap or overlap.
    """
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise RuleTableError(f"line 1: the columns are {', '.join(_COLUMNS)}")
    found: dict[RuleId, list[tuple[int, Rule]]] = {}
    for line, row in enumerate(reader, 2):
        rule = _rule(line, row)
        found.setdefault(rule.id, []).append((line, rule))
    missing = [id_ for id_ in RuleId if id_ not in found]
    if missing:
        raise RuleTableError(f"no row of {', '.join(missing)}")
    return MappingProxyType({id_: tuple(_in_line(rows)) for id_, rows in found.items()})


def _in_line(rows: Iterable[tuple[int, Rule]]) -> Iterator[Rule]:
    """Yield one rule's rows in the order of their days, which follow each other."""
    ordered = sorted(rows, key=lambda row: row[1].valid_from)
    line, first = ordered[0]
    if first.valid_from != FIRST_DAY:
        raise RuleTableError(f"line {line} ({first.id}): valid_from: {FIRST_DAY} expected")
    for (_, before), (line, after) in pairwise(ordered):
        if before.valid_until != after.valid_from:
            how = "gap" if before.valid_until and before.valid_until < after.valid_from else None
            raise RuleTableError(
                f"line {line} ({after.id}): valid_from: {how or 'overlap'}: the row before is "
                f"valid until {before.valid_until or 'further notice'}"
            )
    line, last = ordered[-1]
    if last.valid_until is not None:
        raise RuleTableError(f"line {line} ({last.id}): valid_until: gap: no row follows")
    yield from (rule for _, rule in ordered)


def _rule(line: int, row: Mapping[str, str]) -> Rule:
    def refuse(column: str, reason: str) -> RuleTableError:
        return RuleTableError(f"line {line} ({row['id']}): {column}: {reason}")

    if row["id"] not in {str(id_) for id_ in RuleId}:
        raise refuse("id", "no such rule")
    days: list[date | None] = []
    for column in ("valid_from", "valid_until"):
        try:
            days.append(date.fromisoformat(row[column]) if row[column] else None)
        except ValueError:
            raise refuse(column, f"{row[column]!r} is not a date") from None
    valid_from, valid_until = days
    if valid_from is None or (valid_until is not None and valid_until <= valid_from):
        raise refuse("valid_until", "not after valid_from")
    if row["severity"] not in _SEVERITIES:
        raise refuse("severity", f"one of {', '.join(_SEVERITIES)} expected")
    if row["effect"] not in _EFFECTS:
        raise refuse("effect", f"one of {', '.join(_EFFECTS)} expected")
    pairs = (pair.partition("=") for pair in row["parameters"].split())
    parameters = {name: value for name, _, value in pairs}
    if row["id"] == RuleId.STUCK_REGISTER:
        hours, percent = parameters.get("hours", ""), parameters.get("percent", "")
        if not hours.isdecimal() or not int(hours) or _HOURS_OF_DAY % int(hours):
            raise refuse("parameters", "hours: a whole number that divides 24 expected")
        if not percent.isdecimal() or not int(percent):
            raise refuse("parameters", "percent: a whole number above 0 expected")
    return Rule(
        RuleId(row["id"]),
        valid_from,
        valid_until,
        row["severity"],
        row["effect"],
        MappingProxyType(parameters),
        row["counter"],
        row["what"],
    )
