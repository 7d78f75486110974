"""What energy travels in, and which channels of a meter say how much of it (table carriers.csv).

A meter may have many cumulative channels (tariff registers, reactive energy, steam by mass and by
heat); only the *accounted* ones enter totals, else the same energy would count twice.
"""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType


class CarrierKind(StrEnum):
    """What a carrier is to an energy account."""

    ELECTRICITY = "electricity"
    FUEL = "fuel"
    HEAT = "heat"
    MEDIUM = "medium"
    """耗能工质: costs energy to make; in totals only where a factor set says so."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """One row of the table."""

    id: str
    name_zh: str
    name_en: str
    kind: CarrierKind
    forward: tuple[str, ...]
    """Channels that count what flows in the meter's direction, best first; one is accounted."""
    reverse: str
    """Channel that counts what flows against it; "" when there is none."""

    def accounted(self, channels: Collection[str]) -> Mapping[str, int]:
        """Return the accounted ones of a meter's channels with their sign: +1 forward, -1 back.

        Gas as metered (`volume`) is never accounted, only standard volume; steam by heat when the
        meter has it, else by mass.
        """
        signs = {channel: 1 for channel in self.forward if channel in channels}
        best = next(iter(signs), None)
        chosen = {} if best is None else {best: 1}
        if self.reverse and self.reverse in channels:
            chosen[self.reverse] = -1
        return chosen


@cache
def carriers() -> Mapping[str, Carrier]:
    """Return the table by carrier id."""
    text = files("aggregator.register").joinpath("carriers.csv").read_text("utf-8")
    rows = (
        Carrier(
            id=row["carrier"],
            name_zh=row["name_zh"],
            name_en=row["name_en"],
            kind=CarrierKind(row["kind"]),
            forward=tuple(row["forward"].split()),
            reverse=row["reverse"],
        )
        for row in csv.DictReader(text.splitlines())
    )
    return MappingProxyType({row.id: row for row in rows})
