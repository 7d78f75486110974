"""OPC UA: the question for the values of some nodes."""

import re
from dataclasses import dataclass

NODE = re.compile(r"(ns=[0-9]{1,5};)?[isgb]=[^\s].{0,250}")
"""Form of a node id as servers print it: ns=2;s=Meter.Energy."""


@dataclass(frozen=True, slots=True)
class ReadNodes:
    """Ask for the values of a meter's nodes, in their order."""

    meter: str
    nodes: tuple[str, ...]
