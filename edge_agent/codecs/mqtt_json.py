"""Devices that publish JSON by themselves: what a meter's topics said since the last question."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadTopics:
    """Ask for the newest message of each topic of one meter that was not handed out before."""

    meter: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `age_s` = how long ago it came [s]."""

    topic: str
    payload: bytes
    age_s: float
