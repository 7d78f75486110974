"""Faults and defects by name, for the command line and the control port."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulators.meter import SimulatedMeter
from simulators.meter_faults import REVERSED_A, SWAPPED_B_C, Defects
from simulators.noise import PPM
from simulators.wire import Faults

NEW_METER_MICRO = 5_000_000
"""What the meter of an `exchange` by name shows: some units from the maker's test."""

FAULTS: Mapping[str, Mapping[str, object]] = {
    "silent": {"silent": True},
    "garbled": {"broken_checksum": True},
    "short": {"cut_short": 2},
    "late": {"delay_s": 3.0},
    "slow": {"delay_s": 0.1, "spread_s": 0.4},
    "noise": {"before": b"\x00\xff\x55\x68\x10", "after": b"\xaa"},
    "foreign": {"foreign": True},
    "exception": {"exception": 4},
}
"""Faults of the wire: what they set of `Faults`. Exception 4 is Modbus's device failure."""


def _stick(defects: Defects, now_ms: int) -> None:
    defects.stuck_from_ms = now_ms


DEFECTS: Mapping[str, Callable[[Defects, int], None]] = {
    "stuck": _stick,
    "reset": Defects.reset,
    "exchange": lambda defects, now_ms: defects.exchange(now_ms, NEW_METER_MICRO),
    "rollover": Defects.roll_over,
    "swapped": lambda defects, now_ms: defects.rewire(now_ms, phase_powers=SWAPPED_B_C),
    "reversed": lambda defects, now_ms: defects.rewire(now_ms, phase_powers=REVERSED_A),
    "ratio": lambda defects, now_ms: defects.rewire(now_ms, ratio_ppm=PPM // 10),
}
"""Defects of a meter: what to do to it, and when [ms UTC]."""


def spoil(meter: SimulatedMeter, kind: str, now_ms: int) -> None:
    """Let something be wrong with a meter, besides what is; ValueError for what is not known.

    A fault of the wire may have a share of the answers in percent: `garbled:3`. The share is that
    of all such faults of the meter.
    """
    name, colon, percent = kind.partition(":")
    if name in FAULTS and (not colon or (percent.isdecimal() and 0 < int(percent) <= 100)):
        for field, value in FAULTS[name].items():
            setattr(meter.faults, field, value)
        meter.faults.share_ppm = int(percent or 100) * PPM // 100
    elif kind in DEFECTS:
        DEFECTS[kind](meter.defects, now_ms)
    else:
        known = ", ".join([*FAULTS, *DEFECTS])
        raise ValueError(f"{kind!r} is none of {known}, those before stuck with a share: garbled:3")


def heal(meter: SimulatedMeter, now_ms: int) -> None:
    """Take off what `spoil` put on; what happened once, as a reset, stays."""
    right = Faults()
    for field in ("share_ppm", *(field for fault in FAULTS.values() for field in fault)):
        setattr(meter.faults, field, getattr(right, field))
    meter.defects.heal(now_ms)
