"""From a number to the 16-bit words a meter puts on the wire: the simulators' own encoder."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import cache

from simulators.devices import Register

MICRO = 1_000_000
_FORMATS: Mapping[str, str] = {
    "uint16": ">H",
    "int16": ">h",
    "uint32": ">I",
    "int32": ">i",
    "float32": ">f",
    "uint64": ">Q",
    "int64": ">q",
    "float64": ">d",
}
_LIMITS: Mapping[str, tuple[int, int]] = {
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


@cache
def in_micro(value: float) -> int:
    """A map's decimal (scale, step, modulus) in micro-units; ValueError when it is finer."""
    micro = Decimal(repr(value)) * MICRO
    if micro != int(micro):
        raise ValueError(f"{value} is finer than one micro-unit")
    return int(micro)


def step_micro(register: Register) -> int:
    """The display step of a counter [micro-units]; the map's `step`, else one raw count."""
    return in_micro(register.scale if register.step is None else register.step)


def modulus_micro(register: Register) -> int | None:
    """Where a counter wraps to 0 [micro-units]: at the map's modulus or the type's last count."""
    if register.modulus is not None:
        return in_micro(register.modulus)
    if register.type.startswith("float"):
        return None
    return (_LIMITS[register.type][1] + 1) * in_micro(register.scale)


def pack(register: Register, raw: int | float) -> bytes:
    """The bytes of one raw register value: big-endian words, in the map's word order."""
    data = struct.pack(_FORMATS[register.type], raw)
    if register.word_order == "little":
        data = b"".join(data[at : at + 2] for at in range(len(data) - 2, -2, -2))
    return data


def shown_micro(register: Register, micro: int) -> int:
    """What the display shows of a counter: floored to its step, wrapped at its modulus."""
    shown = micro - micro % step_micro(register)
    modulus = modulus_micro(register)
    return shown if modulus is None else shown % modulus


def encode_cumulative(register: Register, micro: int) -> tuple[bytes, int]:
    """Show a counter of `micro` micro-units: floored to the display step, wrapped at the modulus.

    Returns the bytes and the micro-units that these bytes mean, so that what was served is known
    without decoding. A float32 holds the nearest number it can: it means the display step that
    lies next to it, which is the one shown as long as its resolution is finer than the step.
    """
    step = step_micro(register)
    shown = shown_micro(register, micro)
    if not register.type.startswith("float"):
        raw = shown // in_micro(register.scale)
        return pack(register, raw), raw * in_micro(register.scale)
    wanted = shown / (MICRO * register.scale)
    (held,) = struct.unpack(_FORMATS[register.type], struct.pack(_FORMATS[register.type], wanted))
    steps = Fraction(held) * Fraction(repr(register.scale)) * MICRO / step
    nearest = int(steps + Fraction(1, 2))
    return pack(register, wanted), nearest * step


def encode_instantaneous(register: Register, value: float) -> bytes:
    """Show a power, a voltage, a flow [catalogue unit], held inside what the type can hold."""
    raw = value / register.scale
    if register.type.startswith("float"):
        return pack(register, raw)
    low, high = _LIMITS[register.type]
    return pack(register, min(max(round(raw), low), high))
