"""Faults as data: `kinds.csv` says what there is, a script is a table of named moments. Pure.

    at_s,kind,target,for_s,amount
    2.5,network-slow,works-gw1,4,2000
    3.0,aggregator-kill,aggregator,1.5,

A fault begins `at_s` after the first one could, and is healed `for_s` later. What `amount` counts
says the kind's unit. Two faults of one part of one target do not overlap.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from types import MappingProxyType

MAX_S = 1e7


class ScriptError(ValueError):
    """A table of faults cannot be used; the message names line and reason."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of kinds.csv. least, most: bounds of `amount` in `unit`; None: it has none.

    counts: what a wire counts of it ("" where nobody does).
    """

    name: str
    part: str
    least_s: float
    most_s: float
    least: float | None
    most: float | None
    unit: str
    needs: str
    counts: str
    meaning: str


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """What happens to `target` from `at_s` on, for `for_s` [s]."""

    at_s: float
    kind: str
    target: str
    for_s: float
    amount: float | None = None

    @property
    def part(self) -> str:
        """Which part of the target it takes hold of."""
        return kinds()[self.kind].part

    @property
    def end_s(self) -> float:
        """When it is healed."""
        return round(self.at_s + self.for_s, 3)

    def __str__(self) -> str:
        unit = kinds()[self.kind].unit
        amount = "" if self.amount is None else f" {self.amount:g} {unit}"
        return f"{self.kind} {self.target}{amount} for {self.for_s:g} s"


COLUMNS = tuple(field.name for field in fields(Fault))
Targets = Mapping[str, Sequence[str]]
"""Part -> what there is of it."""


@cache
def kinds() -> Mapping[str, Kind]:
    """All kinds by name, in the table's order."""
    table = files("simulators.chaos").joinpath("kinds.csv").read_text(encoding="utf-8")
    rows = [
        Kind(
            name=row["kind"],
            part=row["part"],
            least_s=float(row["least_s"]),
            most_s=float(row["most_s"]),
            least=_number(row["least"]),
            most=_number(row["most"]),
            unit=row["unit"],
            needs=row["needs"],
            counts=row["counts"],
            meaning=row["meaning"],
        )
        for row in csv.DictReader(table.splitlines())
    ]
    return MappingProxyType({row.name: row for row in rows})


def kinds_table() -> str:
    """A line for every kind, for people."""
    lines = []
    for kind in kinds().values():
        amount = "" if kind.least is None else f" [{kind.least:g} to {kind.most:g} {kind.unit}]"
        needs = f" (needs {kind.needs})" if kind.needs else ""
        lines.append(f"{kind.name:<22} {kind.meaning}{amount}{needs}")
    return "\n".join(lines)


def possible(abilities: Iterable[str], targets: Targets) -> tuple[Kind, ...]:
    """The kinds that an installation with these `abilities` (`needs` of the table) can have."""
    have = {"", *abilities}
    return tuple(k for k in kinds().values() if k.needs in have and targets.get(k.part))


def read_script(text: str, abilities: Iterable[str], targets: Targets) -> tuple[Fault, ...]:
    """The faults of a script in order of time; ScriptError."""
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ScriptError(f"line 1: the columns are {','.join(COLUMNS)}")
    allowed = {kind.name: kind for kind in possible(abilities, targets)}
    faults: list[Fault] = []
    for row in rows:
        try:
            faults.append(_fault(row, allowed, targets))
        except ValueError as error:
            raise ScriptError(f"line {rows.line_num}: {error}") from None
    faults.sort()
    check_apart(faults)
    return tuple(faults)


def write_script(faults: Iterable[Fault]) -> str:
    """The script that `read_script` reads back."""
    lines = [",".join(COLUMNS)]
    for fault in faults:
        amount = "" if fault.amount is None else f"{fault.amount:g}"
        lines.append(f"{fault.at_s:g},{fault.kind},{fault.target},{fault.for_s:g},{amount}")
    return "\n".join(lines) + "\n"


def check_apart(faults: Iterable[Fault]) -> None:
    """ScriptError when two faults take hold of one part of one target at once."""
    last: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        before = last.get((fault.part, fault.target))
        if before is not None and fault.at_s < before.end_s:
            raise ScriptError(
                f"{fault.kind} of {fault.target} at {fault.at_s:g} s begins before "
                f"{before.kind} ends at {before.end_s:g} s"
            )
        last[fault.part, fault.target] = fault


def _fault(row: Mapping[str, str], allowed: Mapping[str, Kind], targets: Targets) -> Fault:
    if None in row or None in row.values():
        raise ValueError(f"{len(COLUMNS)} values expected")
    kind = allowed.get(row["kind"])
    if kind is None:
        raise ValueError(f"no kind {row['kind']!r} here; there are {', '.join(allowed)}")
    if row["target"] not in targets[kind.part]:
        known = ", ".join(targets[kind.part])
        raise ValueError(f"{kind.name}: no target {row['target']!r}; there are {known}")
    amount = _number(row["amount"])
    if (amount is None) != (kind.least is None):
        raise ValueError(f"{kind.name}: amount is {f'in {kind.unit}' if kind.unit else 'empty'}")
    return Fault(_seconds(row["at_s"]), kind.name, row["target"], _seconds(row["for_s"]), amount)


def _seconds(text: str) -> float:
    value = _number(text)
    if value is None or not 0 <= value <= MAX_S:
        raise ValueError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value
