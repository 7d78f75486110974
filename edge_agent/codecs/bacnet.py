"""BACnet: the question for the present values of some objects of a device."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

OBJECT_TYPES: Mapping[str, int] = {
    "accumulator": 23,
    "analog-input": 0,
    "analog-output": 1,
    "analog-value": 2,
    "integer-value": 45,
    "large-analog-value": 46,
    "positive-integer-value": 48,
    "pulse-converter": 24,
}
"""Object types whose present value is a number, with their numbers (ASHRAE 135, clause 21)."""
LAST_INSTANCE = 4_194_302
_OBJECT = re.compile(r"([a-z-]+),([0-9]{1,7})")


def is_object(text: str) -> bool:
    """Whether `text` names an object as in ``analog-input,12``."""
    found = _OBJECT.fullmatch(text)
    return found is not None and found[1] in OBJECT_TYPES and int(found[2]) <= LAST_INSTANCE


@dataclass(frozen=True, slots=True)
class ReadObjects:
    """Ask for the present values of a meter's objects, in their order."""

    meter: str
    objects: tuple[str, ...]
