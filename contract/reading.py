"""A reading as observed: one value of one channel of one meter at one time."""

import re
from dataclasses import dataclass
from enum import IntEnum

MIN_TIME_MS = 0
"""Earliest time on the wire [ms UTC]."""
MAX_TIME_MS = 2**47
"""Latest time on the wire [ms UTC]: year 6429. What is plausible is for the door to say."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


class Quality(IntEnum):
    """What the edge knows against a reading. Numbers are the wire's and never change."""

    GOOD = 0
    CLOCK = 1
    """The gateway's clock was not synchronised when the reading was taken."""
    RANGE = 2
    """Outside of what the device map allows; kept as read."""
    MANUAL = 4
    """Entered by a person."""
    FREEZE = 5
    """From the meter's own frozen registers; the time is the freeze's."""


QUALITY_CODES = frozenset(int(code) for code in Quality)
COUNTING_CODES = frozenset({int(Quality.GOOD), int(Quality.MANUAL), int(Quality.FREEZE)})
"""Qualities with which a reading enters the ledger; others are kept raw and shown."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value as observed.

    ``value`` of a cumulative channel is an int [micro-units] of what the meter's display shows,
    before CT x VT; of an instantaneous channel a finite float [catalogue unit].
    """

    meter: str
    channel: str
    time_ms: int
    value: int | float
    quality: Quality = Quality.GOOD


def is_id(text: object) -> bool:
    """Tell whether ``text`` is an id: ``[a-z0-9][a-z0-9-]{0,62}``."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def check_id(text: object, where: str) -> str:
    """Return ``text`` when it is an id, else raise ValueError naming ``where``."""
    if isinstance(text, str) and is_id(text):
        return text
    raise ValueError(f"{where}: {text!r:.80} is not an id ([a-z0-9][a-z0-9-]{{0,62}})")
