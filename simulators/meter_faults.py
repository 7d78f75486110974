"""What goes wrong inside a meter, or in its wiring: the display lies while the wire is fine.

The truth of the signals stays what it is; `Defects` say what the meter makes of it. All times are
given, none is drawn here: the same script makes the same readings. What begins at a time changes
nothing before it: a wrong transformer bends the count, and only a new start makes it jump.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulators.noise import PPM

WHOLE = PPM * 3 * PPM
"""What `Wiring.counted` is of when all is right: the ratio by the sum of three phases."""
ROLL_OVER_AFTER_MS = 300_000
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

    0 = the meter was reset; another meter in its place starts at whatever it shows. None = each
    count is put so that it passes its modulus `ROLL_OVER_AFTER_MS` later.
    """

    time_ms: int
    shown_micro: int | None = 0


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the meter makes of the currents from `time_ms` on."""

    time_ms: int = 0
    ratio_ppm: int = PPM
    """What is measured of what flows: 100 000 = a transformer ten times too large."""
    phase_powers: PhasePowers = AS_IS
    """See `REVERSED_A` and `SWAPPED_B_C`; the sum, its factor and the counts follow."""

    def share(self, channel: str) -> float:
        """What is shown of a power, or of a power factor, beside what it would be."""
        if channel in ("power_a", "power_b", "power_c"):
            return self.phase_powers["abc".index(channel[-1])] / PPM
        return sum(self.phase_powers) / 3 / PPM if channel in ("power", "power_factor") else 1.0

    def counted(self, channel: str) -> int:
        """What is counted of what flows [of `WHOLE`]; never backwards."""
        phases = max(0, sum(self.phase_powers)) if channel.startswith("energy_") else 3 * PPM
        return self.ratio_ppm * phases


RIGHT = Wiring()


@dataclass(slots=True)
class Defects:
    """Everything that is wrong with one meter. May be changed at any time."""

    stuck_from_ms: int | None = None
    """From then on the display stands still."""
    starts: tuple[NewStart, ...] = ()
    """Resets, exchanges and rollovers, in order of time."""
    wirings: tuple[Wiring, ...] = ()
    """In order of time; right before the first."""

    def moment(self, time_ms: int) -> int:
        """The time whose values the display shows at `time_ms`."""
        return time_ms if self.stuck_from_ms is None else min(time_ms, self.stuck_from_ms)

    def wiring(self, time_ms: int) -> Wiring:
        """That at `time_ms`."""
        return next((w for w in reversed(self.wirings) if w.time_ms <= time_ms), RIGHT)

    def counted(self, channel: str, amount_micro: Callable[[int], int], time_ms: int) -> int:
        """What the meter has counted since the signal's origin [micro-units / `WHOLE`]."""
        amount = amount_micro(time_ms)
        counted, before = amount * WHOLE, WHOLE
        for wiring in self.wirings:
            if wiring.time_ms <= time_ms:
                share = wiring.counted(channel)
                counted += (share - before) * (amount - amount_micro(wiring.time_ms))
                before = share
        return counted

    def start_before(self, time_ms: int, modulus_micro: int | None) -> tuple[int, int] | None:
        """Of a counter with this modulus: a moment, and what it shows then [micro-units]."""
        for start in reversed(self.starts):
            if start.time_ms <= time_ms and start.shown_micro is not None:
                return start.time_ms, start.shown_micro
            if start.time_ms <= time_ms and modulus_micro is not None:
                return start.time_ms + ROLL_OVER_AFTER_MS, modulus_micro
        return None

    def reset(self, time_ms: int) -> None:
        """Let the meter start again at 0."""
        self.starts = (*self.starts, NewStart(time_ms))

    def exchange(self, time_ms: int, shown_micro: int) -> None:
        """Put another meter in its place that shows `shown_micro` [micro-units]."""
        self.starts = (*self.starts, NewStart(time_ms, shown_micro))

    def roll_over(self, time_ms: int) -> None:
        """Put every count that has a modulus just below it; one without goes on."""
        self.starts = (*self.starts, NewStart(time_ms, None))

    def rewire(
        self,
        time_ms: int,
        *,
        ratio_ppm: int | None = None,
        phase_powers: PhasePowers | None = None,
    ) -> None:
        """Change what is named, from `time_ms` on; what was to change later does not."""
        before = self.wiring(time_ms)
        wiring = Wiring(
            time_ms,
            before.ratio_ppm if ratio_ppm is None else ratio_ppm,
            before.phase_powers if phase_powers is None else phase_powers,
        )
        self.wirings = (*(one for one in self.wirings if one.time_ms < time_ms), wiring)

    def heal(self, time_ms: int) -> None:
        """Put right what lasts; what was reset or exchanged stays so."""
        self.stuck_from_ms = None
        if self.wirings:
            self.rewire(time_ms, ratio_ppm=PPM, phase_powers=AS_IS)
