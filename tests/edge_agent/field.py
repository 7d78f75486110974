"""One simulated meter of any product on a real wire, and the edge's poller that reads it."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.reading import Reading
from edge_agent.clock import SteppingClock
from edge_agent.config import BusConfig, MeterConfig, PollConfig
from edge_agent.events import Event
from edge_agent.links.registry import make_link
from edge_agent.poller import BusPoller
from edge_agent.registers import load_device_maps
from simulators.devices import load_device
from simulators.images import meter_address, station
from simulators.meter import MeterIdentity, SimulatedMeter
from simulators.quantities import Flows
from simulators.rtu_meter import RtuStation
from simulators.signal import Signal, rate_from_milli_per_hour, surplus
from simulators.wire import SimulatedWire, Station

ORIGIN_MS = 1_795_104_000_000  # 2026-11-20T00:00+08:00


@dataclass
class Field:
    """What a test holds of it. `off_ms`: the meter's clock less the true time."""

    clock: SteppingClock
    meter: SimulatedMeter
    station: Station
    off_ms: int = 0
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


TARIFF = {
    "sharp": frozenset({17, 18}),
    "peak": frozenset({8, 9, 10, 11}),
    "flat": frozenset({7, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23}),
    "valley": frozenset({0, 1, 2, 3, 4, 5, 6}),
}


def rate(minute: int) -> int:
    """A load between 10 and 16 units an hour, another each minute."""
    return rate_from_milli_per_hour(10_000 + minute * 37 % 6_000)


def simulated(model: str) -> SimulatedMeter:
    """A meter of this product at a small load of its carrier."""
    device = load_device(model)
    forward = Signal(rate, ORIGIN_MS)
    flows = Flows(
        device.carrier,
        forward=forward,
        backward=surplus([], [forward], ORIGIN_MS),
        origin_ms=ORIGIN_MS,
        two_way=False,
    )
    identity = MeterIdentity("works", "m1", "gw1", device.carrier, "sub", 1, 1)
    return SimulatedMeter(identity, device, flows, TARIFF, 16_000, seed=5)


@contextlib.asynccontextmanager
async def field_of(
    model: str, path: Path | None = None, **bus
) -> AsyncIterator[tuple[Field, BusPoller]]:
    """Serve one meter of `model`: on TCP, or on a pseudo-terminal at `path`."""
    meter = simulated(model)
    clock = SteppingClock(ORIGIN_MS + 3_600_000)
    protocol = meter.device.protocol
    found = Field(clock, meter, None)  # type: ignore[arg-type] # set below, needs the clock
    if protocol == "modbus":
        found.station = RtuStation(
            1, lambda function, at, count: meter.read(function, at, count, found.meter_now_ms())
        )
    else:
        found.station = station(meter, found.meter_now_ms)
    wire = SimulatedWire([found.station])
    address = meter_address(protocol, meter.identity.site, "m1")
    meters = (MeterConfig("m1", model, address=address),)
    if path is None:
        config = BusConfig(
            "bus", "127.0.0.1", "tcp", port=await wire.serve(), timeout_s=1, meters=meters, **bus
        )
    else:
        wire.plug(path)
        config = BusConfig(
            "bus", kind="serial", device=str(path), baud=115_200, timeout_s=1, meters=meters, **bus
        )
    poller = BusPoller(
        config, PollConfig(60), load_device_maps([model]), make_link, clock, found,
        found.events.append,
    )  # fmt: skip
    try:
        yield found, poller
    finally:
        await poller.close()
        await wire.stop()


def times(readings: list[Reading]) -> list[int]:
    """Their times, each once, in order."""
    return [time for time, _ in itertools.groupby(reading.time_ms for reading in readings)]
