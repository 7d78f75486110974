"""Which instantaneous channel says how fast a cumulative one moves (table rates.csv).

A rate is in the unit of its channel per hour; with direction -1 what it shows below zero counts.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from contract.channels import catalogue


class Rate(NamedTuple):
    """What measures how fast a register should move."""

    channel: str
    direction: int
    """+1, or -1 when the channel counts what the rate shows below zero."""


@cache
def rates() -> Mapping[str, Rate]:
    """Return the table by cumulative channel."""
    text = files("aggregator.register").joinpath("rates.csv").read_text("utf-8")
    found = {
        row["channel"]: Rate(row["rate"], int(row["direction"]))
        for row in csv.DictReader(text.splitlines())
    }
    for channel, rate in found.items():
        if not catalogue()[channel].cumulative or catalogue()[rate.channel].cumulative:
            raise ValueError(f"rates.csv: {channel} is not the integral of {rate.channel}")
    return MappingProxyType(found)
