"""The topic grammar. Nothing else builds or parses a topic.

``nenghao/1/{region}/{site}/{edge}/{kind}``; region is a GB/T 2260 code such as 370114 (章丘区).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from contract import CONTRACT_VERSION
from contract.reading import check_id

_REGION = re.compile(r"[0-9]{6}", re.ASCII)
_PREFIX = f"nenghao/{CONTRACT_VERSION}"
_LEVELS = 6


class MessageKind(StrEnum):
    """The kinds of message; the last level of a topic."""

    META = "meta"
    DATA = "data"
    STATE = "state"
    ACK = "ack"
    CMD = "cmd"
    REPLY = "reply"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where an edge agent stands. Raises ValueError when a part breaks the grammar."""

    region: str
    site: str
    edge: str

    def __post_init__(self) -> None:
        check_region(self.region, "region")
        check_id(self.site, "site")
        check_id(self.edge, "edge")


def check_region(text: object, where: str) -> str:
    """Return ``text`` when it is a six-digit GB/T 2260 code, else raise ValueError."""
    if isinstance(text, str) and _REGION.fullmatch(text):
        return text
    raise ValueError(f"{where}: {text!r:.80} is not a six-digit GB/T 2260 code")


def topic(address: Address, kind: MessageKind) -> str:
    """Return the topic of one kind of message of one edge."""
    return f"{_PREFIX}/{address.region}/{address.site}/{address.edge}/{kind.value}"


def parse_topic(text: str) -> tuple[Address, MessageKind]:
    """Return address and kind of a topic; ValueError when it is not of version 1's grammar."""
    levels = text.split("/")
    if len(levels) != _LEVELS or not text.startswith(_PREFIX + "/"):
        raise ValueError(f"topic {text!r:.200} is not {_PREFIX}/region/site/edge/kind")
    region, site, edge, kind = levels[2:]
    return Address(region, site, edge), MessageKind(kind)


def filter_for(kind: MessageKind, region: str = "+") -> str:
    """Return the subscription filter for one kind of message of all edges of a region."""
    if region != "+":
        check_region(region, "region")
    return f"{_PREFIX}/{region}/+/+/{kind.value}"
