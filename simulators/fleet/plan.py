"""What a fleet is: edges, meters, when each reads and sends, and what its registers show.

All of it is arithmetic of a few numbers, so that a batch can be made again at any time and the
truth is known without having been written down. Every edge is at a site of its own. Edges share
their values in `VARIANTS` kinds, which are encoded once for all of a kind; what tells edges apart
are the moments they read at and, in the ledger, their meters' multipliers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from contract.topics import Address

CUMULATIVE = ("energy_import", "reactive_energy_import")
INSTANTANEOUS = ("power", "reactive_power", "power_factor", "voltage_a", "current_a", "frequency")
CHANNELS = len(CUMULATIVE) + len(INSTANTANEOUS)
EDGE = "gw"
VARIANTS = 16
DISPLAY_STEP_MICRO = 10_000
MODULUS = 1e8
"""Where registers wrap [kWh]: centuries away."""
ORIGIN_MS = 1_767_196_800_000
"""2026-01-01T00:00+08:00. Registers count from here: those of a second run go on where those of the
first would have come to."""
MULTIPLIERS = (1, 10, 15, 20, 30, 40, 60, 80, 100, 120, 160, 200)
"""CT ratios as they are sold."""
_WOBBLES = 1_021
_HOUR_MS = 3_600_000
_MICRO = 1_000_000
_COMMIT_MS, _MOST_SAMPLES = 5_000, 15


class PlanError(ValueError):
    """No fleet can be made so; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`meters` in edges of `meters_per_edge`, each read every `poll_ms`, from `start_ms` on.

    samples: rows of readings in one batch, that is: an edge sends every samples x poll_ms.
    aligned: all edges read and send at once, at whole multiples of their periods.
    """

    meters: int
    meters_per_edge: int
    poll_ms: int
    samples: int
    start_ms: int
    region: str = "370114"
    seed: int = 1
    aligned: bool = False

    def __post_init__(self) -> None:
        for name in ("meters", "meters_per_edge", "poll_ms", "samples"):
            if getattr(self, name) < 1:
                raise PlanError(f"{name} {getattr(self, name)} is not at least 1")
        if self.meters % self.meters_per_edge:
            raise PlanError(f"{self.meters} meters are not whole edges of {self.meters_per_edge}")

    @property
    def edges(self) -> int:
        """How many edges, which is how many sites."""
        return self.meters // self.meters_per_edge

    @property
    def commit_ms(self) -> int:
        """How often an edge sends [ms]."""
        return self.samples * self.poll_ms

    @property
    def readings_per_batch(self) -> int:
        """One reading is one value of one channel at one time."""
        return self.meters_per_edge * self.samples * CHANNELS

    @property
    def readings_per_s(self) -> float:
        """What the whole fleet offers."""
        return self.meters * CHANNELS * 1_000 / self.poll_ms

    @property
    def batches_per_s(self) -> float:
        """What the whole fleet offers, in batches."""
        return self.edges * 1_000 / self.commit_ms

    def address(self, edge: int) -> Address:
        """Where an edge stands."""
        return Address(self.region, f"fleet-{edge:06}", EDGE)

    def phase_ms(self, edge: int) -> int:
        """How much later than the first edge one reads and sends: spread evenly, or not at all."""
        return 0 if self.aligned else edge * self.commit_ms // self.edges

    def begun(self, now_ms: int) -> Plan:
        """The same plan from now on; aligned: such that batches are due at whole periods."""
        if not self.aligned:
            return replace(self, start_ms=now_ms)
        return replace(self, start_ms=-(-now_ms // self.commit_ms) * self.commit_ms + self.poll_ms)

    def reading_ms(self, edge: int, row: int) -> int:
        """When the row-th reading of an edge, counted from 0 over all batches, was taken."""
        return self.start_ms + self.phase_ms(edge) + row * self.poll_ms

    def due_ms(self, edge: int, seq: int) -> int:
        """When a batch, numbered from 1, is to be sent: with its last reading."""
        return self.reading_ms(edge, seq * self.samples - 1)

    def waits_ms(self) -> range:
        """How long each row of a batch waited until the batch was full [ms]."""
        return range(0, self.commit_ms, self.poll_ms)

    def turn(self, number: int) -> tuple[int, int]:
        """Edge and seq of the number-th batch of the fleet, from 0, in order of due time."""
        return number % self.edges, number // self.edges + 1

    def multiplier(self, edge: int, meter: int) -> int:
        """CT x VT of a meter, as the register says."""
        drawn = (edge * 2_654_435_761 + meter * 1_597_334_677 + self.seed * 69_069) % 2**32
        return MULTIPLIERS[drawn * len(MULTIPLIERS) >> 32]

    def register_micro(self, edge: int, meter: int, channel: str, time_ms: int) -> int:
        """What a register shows at one of its edge's reading times [micro-units, display]."""
        row = (time_ms - self.phase_ms(edge) - ORIGIN_MS) // self.poll_ms
        return _register(self, edge % VARIANTS, meter, channel).at(row)

    def variant_registers(
        self, variant: int, meter: int, channel: str, times_ms: Sequence[int]
    ) -> tuple[int, ...]:
        """The same for a kind of edges, at times of an edge without phase."""
        register = _register(self, variant, meter, channel)
        return tuple(register.at((time_ms - ORIGIN_MS) // self.poll_ms) for time_ms in times_ms)

    def rating(self) -> float:
        """Largest plausible rate of any meter [unit per hour]: a step and its wobble, and room."""
        least = DISPLAY_STEP_MICRO / _MICRO * _HOUR_MS / self.poll_ms
        return round(4 * max(_MOST_KW, least), 3)


@dataclass(frozen=True, slots=True)
class _Register:
    """Counts `step` display steps per row, give or take less than one step, and never back."""

    base: int
    step: int
    offset: int

    def at(self, row: int) -> int:
        wobble = _wobbles()[(row + self.offset) % _WOBBLES] % self.step
        return DISPLAY_STEP_MICRO * (self.base + self.step * row + wobble)


@cache
def _wobbles() -> tuple[int, ...]:
    draw = random.Random(1)
    return tuple(draw.randrange(1 << 30) for _ in range(_WOBBLES))


_LEAST_KW, _MOST_KW = 20.0, 400.0


@cache
def _register(plan: Plan, variant: int, meter: int, channel: str) -> _Register:
    draw = random.Random(f"{plan.seed}/{variant}/{meter}/{channel}")
    kwh = draw.uniform(_LEAST_KW, _MOST_KW) * plan.poll_ms / _HOUR_MS
    step = max(1, round(kwh * _MICRO / DISPLAY_STEP_MICRO))
    return _Register(draw.randrange(10**6, 10**7), step, draw.randrange(_WOBBLES))


def instantaneous(channel: str, draw: random.Random) -> float:
    """A plausible value of a channel that is no register."""
    low, high, digits = {
        "power": (20.0, 400.0, 2),
        "reactive_power": (5.0, 120.0, 2),
        "power_factor": (0.8, 1.0, 3),
        "voltage_a": (219.0, 241.0, 1),
        "current_a": (40.0, 700.0, 2),
        "frequency": (49.9, 50.1, 2),
    }[channel]
    return round(draw.uniform(low, high), digits)


def plan_fleet(
    *,
    meters: int,
    meters_per_edge: int,
    start_ms: int,
    poll_s: float = 0.0,
    rate: float = 0.0,
    samples: int = 0,
    seed: int = 1,
    region: str = "370114",
    aligned: bool = False,
) -> Plan:
    """Make a plan from a poll period [s] or a rate [readings/s], whichever is given.

    samples 0: as many as come in about 5 s, 15 at most.
    """
    if (poll_s > 0) == (rate > 0):
        raise PlanError("give a poll period or a rate, not both")
    poll_ms = round(poll_s * 1_000 if poll_s > 0 else meters * CHANNELS * 1_000 / rate)
    if poll_ms < 1:
        raise PlanError("a meter cannot be read more often than each millisecond: more meters")
    if not samples:
        samples = min(max(1, round(_COMMIT_MS / poll_ms)), _MOST_SAMPLES)
    return Plan(meters, meters_per_edge, poll_ms, samples, start_ms, region, seed, aligned)
