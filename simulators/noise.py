"""Seeded noise from integer arithmetic only, so that every machine draws the same numbers.

`splitmix64` is the finaliser of Steele, Lea and Flood (2014), "Fast splittable pseudorandom number
generators". Platform floats and `random` are avoided: the truth must not depend on a libm.
"""

from __future__ import annotations

PPM = 1_000_000
_MASK = (1 << 64) - 1


def splitmix64(value: int) -> int:
    """Mix one integer into 64 uniform bits."""
    z = (value + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def derive_seed(seed: int, name: str) -> int:
    """A seed for the part called `name`; stable, unlike `hash(str)`."""
    mixed = splitmix64(seed)
    for byte in name.encode():
        mixed = splitmix64(mixed ^ byte)
    return mixed


def uniform(seed: int, index: int, low: int, high: int) -> int:
    """The `index`-th draw of this seed, uniform over the integers low..high (both inclusive)."""
    return low + splitmix64(seed ^ splitmix64(index)) % (high - low + 1)


def smooth(seed: int, minute: int, every_min: int, low: int, high: int) -> int:
    """A slowly moving draw: one knot per `every_min` minutes, straight lines between knots."""
    knot, rest = divmod(minute, every_min)
    before = uniform(seed, knot, low, high)
    after = uniform(seed, knot + 1, low, high)
    return before + (after - before) * rest // every_min
