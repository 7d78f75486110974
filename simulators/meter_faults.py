"""What goes wrong inside a meter, or in its wiring: the display lies while the wire is fine.

The truth of the signals stays what it is; `Defects` say what the meter makes of it. All times are
given, none is drawn here: the same script makes the same readings.
"""

from __future__ import annotations

from dataclasses import dataclass

PPM = 1_000_000
PhasePowers = tuple[int, int, int]
"""What the meter makes of each phase's power, voltage times the current it sees with it [ppm]."""
AS_IS: PhasePowers = (PPM, PPM, PPM)
REVERSED_A: PhasePowers = (-PPM, PPM, PPM)
"""The transformer of phase A put in the wrong way round: its power counts backwards."""
SWAPPED_B_C: PhasePowers = (PPM, -784_664, -215_336)
"""The currents of B and C at each other's voltages: cos(phi + 120) and cos(phi - 120) by cos(phi)
at a power factor of 0.95. Together the three phases then make nothing."""


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
    phase_powers: PhasePowers = AS_IS
    """See `REVERSED_A` and `SWAPPED_B_C`; the sum, its factor and the counts follow."""

    def share(self, channel: str) -> float:
        """What is shown of a power, or of a power factor, beside what it would be."""
        if channel in ("power_a", "power_b", "power_c"):
            return self.phase_powers["abc".index(channel[-1])] / PPM
        return sum(self.phase_powers) / 3 / PPM if channel in ("power", "power_factor") else 1.0

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
