"""One simulated meter of any product on a real wire, and the edge's poller that reads it."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from contract.reading import Reading
from edge_agent.clock import SteppingClock
from edge_agent.config import BusConfig, MeterConfig, PollConfig
from edge_agent.events import Event
from edge_agent.gaps import Since
from edge_agent.links.registry import make_link
from edge_agent.poller import BusPoller
from edge_agent.registers import load_device_maps
from simulators.bench import SITE, bench_meter, bench_station
from simulators.images import meter_address
from simulators.meter import SimulatedMeter
from simulators.wire import SimulatedWire, Station

ORIGIN_MS = 1_795_104_000_000  # 2026-11-20T00:00+08:00


@dataclass
class Field:
    """What a test holds of it. `off_ms`: the meter's clock less the true time."""

    clock: SteppingClock
    meter: SimulatedMeter
    off_ms: int = 0
    station: Station = field(init=False)
    readings: list[Reading] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def append(self, readings):
        self.readings += readings

    def shown(self) -> dict[str, int]:
        """What each count that was read showed last [micro-units]."""
        rows: list[dict[str, Any]] = self.meter.served()
        return {row["channel"]: row["last"]["served_micro"] for row in rows}

    def meter_now_ms(self) -> int:
        return self.clock.time_ms() + self.off_ms


def simulated(model: str) -> SimulatedMeter:
    """A meter of this product at a small load of its carrier."""
    return bench_meter(model, ORIGIN_MS)


@contextlib.asynccontextmanager
async def field_of(
    model: str,
    path: Path | None = None,
    *,
    clock_broadcast: bool = False,
    timeout_s: float = 1.0,
    since: Since | None = None,
) -> AsyncIterator[tuple[Field, BusPoller]]:
    """Serve one meter of `model`: on TCP, or on a pseudo-terminal at `path`."""
    meter = simulated(model)
    clock = SteppingClock(ORIGIN_MS + 3_600_000)
    found = Field(clock, meter)
    found.station = bench_station(meter, found.meter_now_ms)
    wire = SimulatedWire([found.station])
    address = meter_address(meter.device.protocol, SITE, "m1")
    meters = (MeterConfig("m1", model, address=address),)
    bus = BusConfig("bus", timeout_s=timeout_s, clock_broadcast=clock_broadcast, meters=meters)
    if path is None:
        bus = replace(bus, kind="tcp", host="127.0.0.1", port=await wire.serve())
    else:
        wire.plug(path)
        bus = replace(bus, kind="serial", device=str(path), baud=115_200)
    poller = BusPoller(
        bus, PollConfig(60), load_device_maps([model]), make_link, clock, found,
        found.events.append, since,
    )  # fmt: skip
    try:
        yield found, poller
    finally:
        await poller.close()
        await wire.stop()


def times(readings: list[Reading]) -> list[int]:
    """Their times, each once, in order."""
    return [time for time, _ in itertools.groupby(reading.time_ms for reading in readings)]
