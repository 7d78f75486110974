"""Serves a whole district: one Modbus TCP server per meter, and the control port."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from simulators.control import ControlPort
from simulators.district import District, build_meters
from simulators.meter import SimulatedMeter
from simulators.modbus_meter import serve_meter
from simulators.timeline import Timeline

DAY_MS = 86_400_000


def port_of(server: asyncio.Server) -> int:
    """The TCP port a server listens on."""
    port = server.sockets[0].getsockname()[1]
    return int(port)


async def serve_district(
    district: District,
    *,
    wall_ms: Callable[[], int],
    origin_ms: int,
    ports_file: Path,
    control_port: int,
    host: str,
    stop: Callable[[], Awaitable[object]],
) -> None:
    """Serve until `stop()` returns. Ports are written to ports_file once all of them listen.

    Signals are computed a day ahead before the first connection, so that no answer waits.
    """
    meters = build_meters(district, origin_ms)
    for meter in meters:
        meter.cover(wall_ms() + DAY_MS)
    timeline = Timeline(tuple(site.id for site in district.sites), wall_ms, origin_ms)
    servers = [
        await serve_meter(meter, partial(timeline.now_ms, meter.identity.site), host)
        for meter in meters
    ]
    control = await ControlPort(timeline, meters).serve(host, control_port)
    _write_ports(ports_file, host, port_of(control), meters, servers)
    try:
        await stop()
    finally:
        for server in (*servers, control):
            server.close()


def _write_ports(
    path: Path,
    host: str,
    control: int,
    meters: Sequence[SimulatedMeter],
    servers: Sequence[asyncio.Server],
) -> None:
    document = {
        "host": host,
        "control": control,
        "meters": [
            {"site": meter.identity.site, "meter": meter.identity.id, "port": port_of(server)}
            for meter, server in zip(meters, servers, strict=True)
        ],
    }
    partial_path = path.with_name(f"{path.name}.{os.getpid()}")
    partial_path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    partial_path.replace(path)  # whoever waits for the file sees it whole


def read_ports(path: Path) -> tuple[str, int, dict[tuple[str, str], int]]:
    """(host, control port, (site, meter) -> port) from a ports file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    ports = {(row["site"], row["meter"]): int(row["port"]) for row in document["meters"]}
    return str(document["host"]), int(document["control"]), ports
