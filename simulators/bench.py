"""A test bench: a meter of each of some products on one wire, under a small changing load.

For trying a gateway, a configuration or a protocol without a district around it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulators.devices import load_device
from simulators.images import meter_address, station
from simulators.meter import MeterIdentity, SimulatedMeter
from simulators.meter_faults import REVERSED_A, SWAPPED_B_C, Defects
from simulators.quantities import Flows, TariffHours
from simulators.rtu_meter import RtuStation
from simulators.signal import Signal, rate_from_milli_per_hour, surplus
from simulators.wire import Faults, Station

SITE = "bench"
TARIFF: TariffHours = {
    "sharp": frozenset({17, 18}),
    "peak": frozenset({8, 9, 10, 11}),
    "flat": frozenset({7, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23}),
    "valley": frozenset({0, 1, 2, 3, 4, 5, 6}),
}
FULL_MILLI = 16_000

FAULTS = {
    "silent": Faults(silent=True),
    "garbled": Faults(broken_checksum=True),
    "short": Faults(cut_short=2),
    "late": Faults(delay_s=3.0),
    "noise": Faults(before=b"\x00\xff\x55\x68\x10", after=b"\xaa"),
}
"""Faults of the wire by name, for the command line."""


def _swap(defects: Defects, now_ms: int) -> None:
    defects.phase_powers = SWAPPED_B_C


def _reverse(defects: Defects, now_ms: int) -> None:
    defects.phase_powers = REVERSED_A


def _mismatch(defects: Defects, now_ms: int) -> None:
    defects.ratio_ppm = 100_000


def _stick(defects: Defects, now_ms: int) -> None:
    defects.stuck_from_ms = now_ms


DEFECTS: Mapping[str, Callable[[Defects, int], None]] = {
    "stuck": _stick,
    "reset": Defects.reset,
    "swapped": _swap,
    "reversed": _reverse,
    "ratio": _mismatch,
}
"""Defects of a meter by name: what to do to it, and when [ms UTC]."""


def spoil(bench: Bench, number: int, kind: str, now_ms: int) -> None:
    """Let something be wrong with meter `number` (from 1); ValueError for what is not known."""
    if not 0 < number <= len(bench.meters) or kind not in {*FAULTS, *DEFECTS}:
        raise ValueError(f"{number}={kind}: NUMBER=KIND, one of {', '.join([*FAULTS, *DEFECTS])}")
    if kind in FAULTS:
        bench.stations[number - 1].faults = FAULTS[kind]
    else:
        DEFECTS[kind](bench.meters[number - 1].defects, now_ms)


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

    return RtuStation(meter.identity.unit, read)


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
