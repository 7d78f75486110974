"""Serves a whole district: one TCP port per meter, and the control port.

A Modbus meter speaks Modbus TCP; others their serial protocol, as behind a serial server.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from simulators.control import ControlPort
from simulators.district import District, build_meters
from simulators.images import station
from simulators.meter import Served, SimulatedMeter
from simulators.modbus_meter import serve_modbus
from simulators.timeline import Timeline
from simulators.wire import SimulatedWire

DAY_MS = 86_400_000
RECORD_COLUMNS = ("site", "meter", "channel", "time_ms", "served_micro", "true_micro")


def port_of(server: asyncio.Server) -> int:
    """The TCP port a server listens on."""
    port = server.sockets[0].getsockname()[1]
    return int(port)


async def serve_meter(
    meter: SimulatedMeter, now_ms: Callable[[], int], host: str
) -> asyncio.Server:
    """Start a meter's own TCP server on a free port."""
    if meter.device.protocol == "modbus":
        return await serve_modbus(meter, now_ms, host)
    return await SimulatedWire([station(meter, now_ms)]).listen(host)


async def serve_district(
    district: District,
    *,
    wall_ms: Callable[[], int],
    origin_ms: int,
    ports_file: Path,
    control_port: int,
    host: str,
    stop: Callable[[], Awaitable[object]],
    record: TextIO | None = None,
) -> None:
    """Serve until `stop()` returns. Ports are written to ports_file once all of them listen.

    record: gets every counter that is answered as a line of RECORD_COLUMNS.

    Signals are computed a day ahead before the first connection, so that no answer waits.
    """
    meters = build_meters(district, origin_ms)
    for meter in meters:
        meter.cover(wall_ms() + DAY_MS)
        if record is not None:
            meter.on_served = partial(_record, record, meter)
    timeline = Timeline(
        {edge: site.id for site in district.sites for edge in site.edges}, wall_ms, origin_ms
    )
    servers = [
        await serve_meter(meter, partial(timeline.now_ms, meter.identity.edge), host)
        for meter in meters
    ]
    control = await ControlPort(timeline, meters).serve(host, control_port)
    edge_controls = {
        edge: await ControlPort(timeline, meters, edge).serve(host) for edge in timeline.edges
    }
    document = {
        "host": host,
        "control": port_of(control),
        "edges": {edge: port_of(server) for edge, server in edge_controls.items()},
        "meters": [
            {"site": meter.identity.site, "meter": meter.identity.id, "port": port_of(server)}
            for meter, server in zip(meters, servers, strict=True)
        ],
    }
    _write_whole(ports_file, json.dumps(document, indent=1))
    try:
        await stop()
    finally:
        for server in (*servers, control, *edge_controls.values()):
            server.close()


def _record(file: TextIO, meter: SimulatedMeter, channel: str, served: Served) -> None:
    identity = meter.identity
    row = (identity.site, identity.id, channel)
    print(*row, served.time_ms, served.served_micro, served.true_micro, sep=",", file=file)


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)  # whoever waits for the file sees it whole


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a served district listens. meters: (site, meter) -> port; edges: control ports."""

    host: str
    control: int
    edges: Mapping[str, int]
    meters: Mapping[tuple[str, str], int]


def read_ports(path: Path) -> Ports:
    """What `serve_district` wrote to its ports file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return Ports(
        host=str(document["host"]),
        control=int(document["control"]),
        edges={str(edge): int(port) for edge, port in document["edges"].items()},
        meters={(row["site"], row["meter"]): int(row["port"]) for row in document["meters"]},
    )
