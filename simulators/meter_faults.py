"""What goes wrong inside a meter, or in its wiring: the display lies while the wire is fine.

The truth of the signals stays what it is; `Defects` say what the meter makes of it. All times are
given, none is drawn here: the same script makes the same readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SWAPPED_B_C: Mapping[str, str] = {
    f"{quantity}_{ours}": f"{quantity}_{theirs}"
    for quantity in ("voltage", "current", "power")
    for ours, theirs in (("b", "c"), ("c", "b"))
}
"""Phases B and C exchanged at the terminals."""
REVERSED_A: Mapping[str, int] = {"power_a": -1}
"""The transformer of phase A put in the wrong way round: its power counts backwards."""


@dataclass(frozen=True, slots=True)
class NewStart:
    """From `time_ms` on, counts stand `shown_micro` higher than 0 at that moment [micro-units].

    0 = the meter was reset; another meter in its place starts at whatever it shows.
    """

    time_ms: int
    shown_micro: int = 0


@dataclass(slots=True)
class Defects:
    """Everything that is wrong with one meter. May be changed at any time."""

    stuck_from_ms: int | None = None
    """From then on the display stands still."""
    starts: tuple[NewStart, ...] = ()
    """Resets and exchanges, in order of time."""
    ahead_micro: int = 0
    """Counts stand so much higher [micro-units]: to bring a rollover near."""
    ratio_ppm: int = 1_000_000
    """What is measured of what flows: 100 000 = a transformer ten times too large."""
    swapped: Mapping[str, str] = field(default_factory=dict)
    """Channel -> the channel whose value it shows instead, see `SWAPPED_B_C`."""
    signs: Mapping[str, int] = field(default_factory=dict)
    """Channel -> -1 where it is shown the wrong way round, see `REVERSED_A`."""

    def moment(self, time_ms: int) -> int:
        """The time whose values the display shows at `time_ms`."""
        return time_ms if self.stuck_from_ms is None else min(time_ms, self.stuck_from_ms)

    def start_before(self, time_ms: int) -> NewStart | None:
        """The last reset or exchange up to `time_ms`."""
        return next((s for s in reversed(self.starts) if s.time_ms <= time_ms), None)

    def reset(self, time_ms: int) -> None:
        """Let the meter start again at 0."""
        self.starts = (*self.starts, NewStart(time_ms))

    def exchange(self, time_ms: int, shown_micro: int) -> None:
        """Put another meter in its place that shows `shown_micro` [micro-units]."""
        self.starts = (*self.starts, NewStart(time_ms, shown_micro))
