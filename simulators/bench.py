"""A test bench: a meter of each of some products on one wire, under a small changing load.

For trying a gateway, a configuration or a protocol without a district around it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulators import named_faults
from simulators.devices import load_device
from simulators.images import meter_address, station
from simulators.meter import MeterIdentity, SimulatedMeter
from simulators.quantities import Flows, TariffHours
from simulators.rtu_meter import RtuStation
from simulators.signal import Signal, rate_from_milli_per_hour, surplus
from simulators.wire import Station

SITE = "bench"
TARIFF: TariffHours = {
    "sharp": frozenset({17, 18}),
    "peak": frozenset({8, 9, 10, 11}),
    "flat": frozenset({7, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23}),
    "valley": frozenset({0, 1, 2, 3, 4, 5, 6}),
}
FULL_MILLI = 16_000


def spoil(bench: Bench, number: int, kind: str, now_ms: int) -> None:
    """Let something be wrong with meter `number` (from 1); ValueError for what is not known."""
    if not 0 < number <= len(bench.meters):
        raise ValueError(f"{number}={kind}: NUMBER=KIND, numbers 1 to {len(bench.meters)}")
    named_faults.spoil(bench.meters[number - 1], kind, now_ms)


def load_rate(minute: int) -> int:
    """Between 10 and 16 units of the carrier an hour, another rate each minute."""
    return rate_from_milli_per_hour(10_000 + minute * 37 % 6_000)


def bench_meter(model: str, origin_ms: int, number: int = 1) -> SimulatedMeter:
    """A meter of this product; DeviceError when there is no such map. `number` = its unit."""
    device = load_device(model)
    forward = Signal(load_rate, origin_ms)
    flows = Flows(
        device.carrier,
        forward=forward,
        backward=surplus([], [forward], origin_ms),
        origin_ms=origin_ms,
        two_way=False,
    )
    identity = MeterIdentity(SITE, f"m{number}", "gw1", device.carrier, "sub", 1, number)
    return SimulatedMeter(identity, device, flows, TARIFF, FULL_MILLI, seed=number)


def bench_station(meter: SimulatedMeter, now_ms: Callable[[], int]) -> Station:
    """The meter's station on a serial wire; a Modbus meter speaks RTU there."""
    if meter.device.protocol != "modbus":
        return station(meter, now_ms)

    def read(function: int, address: int, count: int) -> bytes:
        return meter.read(function, address, count, now_ms())

    rtu = RtuStation(meter.identity.unit, read)
    rtu.faults = meter.faults
    return rtu


@dataclass(frozen=True, slots=True)
class Bench:
    """Meters and their stations, in the order of the models."""

    meters: tuple[SimulatedMeter, ...]
    stations: tuple[Station, ...]

    def edge_bus(self, *, port: int = 0, device: Path | None = None, baud: int = 0) -> str:
        """The TOML of an edge's bus that reads this bench."""
        lines = ["[[bus]]", 'id = "bench"']
        if device is None:
            lines += ['kind = "tcp"', 'host = "127.0.0.1"', f"port = {port}"]
        else:
            lines += ['kind = "serial"', f"device = {json.dumps(str(device))}"]
            lines += [f"baud = {baud}"] if baud else []
        for meter in self.meters:
            address = meter_address(meter.device.protocol, SITE, meter.identity.id)
            place = f'address = "{address}"' if address else f"unit = {meter.identity.unit}"
            lines += ["", "[[bus.meter]]", f'id = "{meter.identity.id}"']
            lines += [f'model = "{meter.device.model}"', place]
        return "\n".join(lines) + "\n"


def build_bench(models: Sequence[str], origin_ms: int, now_ms: Callable[[], int]) -> Bench:
    """One meter of each model, units and ids in order; DeviceError names an unknown one."""
    meters = tuple(
        bench_meter(model, origin_ms, number) for number, model in enumerate(models, start=1)
    )
    return Bench(meters, tuple(map(partial(bench_station, now_ms=now_ms), meters)))
