"""Profiles: how energy is spread inside a gap, by weights of a day's quarters. Dated rows.

Of two rows in force the meter's own stands before its carrier's at the site.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

MAX_WEIGHT = 10_000
_LENGTHS = (24, 96)


@dataclass(frozen=True, slots=True)
class Profile:
    """What holds for one meter, or one carrier's meters of a site, until its next row."""

    site: str
    meter: str
    """"": all meters of the carrier at the site."""
    carrier: str
    """"": the one meter."""
    weekday: tuple[int, ...]
    """Of the 96 quarters of an hour of a day from Monday to Friday, at +08:00."""
    weekend: tuple[int, ...]
    valid_from_ms: int
    """UTC; 0 when the row holds since ever."""
    source: str

    @property
    def digest(self) -> str:
        """Name of the weights: the same weights have the same name."""
        return hashlib.sha256(repr((self.weekday, self.weekend)).encode()).hexdigest()[:16]


def read_weights(text: str) -> str:
    """Return 24 or 96 whole numbers apart by one space; ValueError says what is wrong."""
    parts = text.split()
    if len(parts) not in _LENGTHS:
        raise ValueError(f"{len(parts)} numbers; 24 or 96 expected")
    if not all(part.isascii() and part.isdigit() and int(part) <= MAX_WEIGHT for part in parts):
        raise ValueError(f"a weight is a whole number from 0 to {MAX_WEIGHT}")
    return " ".join(str(int(part)) for part in parts)


def quarters(text: str) -> tuple[int, ...]:
    """Return the weights of a day's 96 quarters; an hour's weight is that of each quarter of it."""
    weights = [int(part) for part in text.split()]
    return tuple(weight for weight in weights for _ in range(96 // len(weights)))


def in_force(
    profiles: Iterable[Profile], meter: str, carrier: str
) -> tuple[tuple[int, Profile], ...]:
    """Return since when which of a site's profiles holds for a meter, ascending [ms]."""
    own = [one for one in profiles if (one.meter, one.carrier) in {(meter, ""), ("", carrier)}]
    steps = []
    for since_ms in sorted({one.valid_from_ms for one in own}):
        begun = [one for one in own if one.valid_from_ms <= since_ms]
        steps.append((since_ms, max(begun, key=lambda one: (bool(one.meter), one.valid_from_ms))))
    return tuple(steps)
