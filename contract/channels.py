"""The channel catalogue: what a meter may measure, in which unit, and of which kind.

The table is ``channels.csv``. Rows are only ever appended, since a row's position is its index.
A cumulative channel counts up and is the truth for energy; an instantaneous channel is for
display and cross-checks. Import and export are two cumulative channels, both positive;
instantaneous power is positive for import.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from contract.units import Unit


class Kind(StrEnum):
    """How a channel behaves in time."""

    CUMULATIVE = "cumulative"
    INSTANTANEOUS = "instantaneous"


@dataclass(frozen=True, slots=True)
class Channel:
    """One row of the catalogue."""

    name: str
    index: int
    """Position in the catalogue: stable for ever."""
    quantity: str
    unit: Unit
    kind: Kind
    gap_limit_s: int
    """Longest distance of two good readings [s] between which a slice counts as measured."""
    description: str

    @property
    def cumulative(self) -> bool:
        """Whether the channel counts up, in micro-units of its unit."""
        return self.kind is Kind.CUMULATIVE


@cache
def catalogue() -> Mapping[str, Channel]:
    """Return the catalogue by channel name, in order of index; read-only."""
    table = files("contract").joinpath("channels.csv").read_text(encoding="utf-8")
    rows = [
        Channel(
            name=row["name"],
            index=index,
            quantity=row["quantity"],
            unit=Unit(row["unit"]),
            kind=Kind(row["kind"]),
            gap_limit_s=int(row["gap_limit_s"]),
            description=row["description"],
        )
        for index, row in enumerate(csv.DictReader(table.splitlines()))
    ]
    by_name = {row.name: row for row in rows}
    if len(by_name) != len(rows):
        raise ValueError("contract/channels.csv: a channel name stands twice")
    return MappingProxyType(by_name)
