"""The edge process: memory, processor and bytes written to disk, beside 30 simulated meters each.

    python -m tests.benchmarks.edge --minutes 10

Three gateways run at once: one polls each second (its memory is the figure), one each 15 s and is
online, one each 15 s without broker (their bytes are the figures, as the kernel counts them). The
online ones have a real broker and a real aggregator.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from edge_agent.outbox.inspection import inspect
from simulators.demo.processes import free_port
from simulators.devices import load_device
from simulators.district import District, load_district
from simulators.server import read_ports
from simulators.workspace import Pace, write_edges, write_register
from tests.benchmarks.measure import machine
from tests.benchmarks.processes import (
    child,
    counters,
    load_average,
    peak_rss,
    wait_for_event,
    wait_for_file,
    written_bytes,
)
from tests.brokers import mosquitto_broker
from tests.conftest import find_server

METERS = ("acrel-adw300",) * 18 + ("sungrow-sg",) * 12
"""Products of one gateway's meters: 12 and 2 channels, 8 on average."""
COMMIT_S = 30.0
"""The product's default, which spares an SD card."""
DAY_S = 86_400

_AGGREGATOR = """\
[aggregator]
regions = ["370114"]
data_dir = "{folder}/store"
register = "{folder}/register"
factor_set = "demo"
[broker]
port = {broker}
[api]
port = 0
"""
_DISTRICT = """\
format = 1
id = "bench"
name_zh = "测试"
name_en = "Benchmark"
region = "370114"
seed = 7
profile = {}
tariff_hours = { flat = [0] }
"""
_SITE = """
[[site]]
id = "@"
name_zh = "测试"
name_en = "@"
sector = "office"
floor_area_m2 = 1
headcount = 1
latitude = 36.7
longitude = 117.5
edges = ["@-gw"]
loads = [{ id = "load", carrier = "electricity", rated = 200, shape = "steady" }]
meters = [
"""
_METER = (
    '  { id = "em-%02d", model = "%s", carrier = "electricity", role = "boundary_in", '
    'edge = "@-gw", plus = ["load"] },\n'
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """One edge process to be measured."""

    site: str
    poll_s: float
    online: bool


GATEWAYS = (
    Gateway("second", 1.0, online=True),
    Gateway("online", 15.0, online=True),
    Gateway("offline", 15.0, online=False),
)


def main() -> Iterator[str]:
    return run(minutes=2)


def run(minutes: float) -> Iterator[str]:
    if find_server("mosquitto") is None:
        yield "mosquitto is not installed: the edge was not measured"
        return
    channels = sum(len(load_device(model).registers) for model in METERS)
    yield (
        f"{len(METERS)} meters, {channels / len(METERS):g} channels on average, "
        f"outbox commit each {COMMIT_S:g} s; after {minutes:g} minutes:"
    )
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        broker = stack.enter_context(mosquitto_broker(folder)).port
        api, edges = _start(folder, broker, stack)
        yield from _measure(edges, minutes)
        committed = counters(api)["committed_batches"]
        yield f"batches of the two online that were committed: {committed:.0f}; {load_average()}"


@dataclass(frozen=True, slots=True)
class _Running:
    gateway: Gateway
    process: psutil.Process
    outbox: Path


def _start(folder: Path, broker: int, stack: ExitStack) -> tuple[str, list[_Running]]:
    """Start meters, aggregator and gateways; return the aggregator's address and the gateways."""
    district_file, ports_file = folder / "bench.toml", folder / "ports.json"
    district_file.write_text(_district(), "utf-8")
    district = load_district(district_file)
    arguments = ["meters", "--district", str(district_file), "--ports-file", str(ports_file)]
    log = folder / "meters.log"
    wait_for_file(ports_file, log, stack.enter_context(child("simulators", arguments, log)))
    write_register(district, folder / "register")
    config = folder / "aggregator.toml"
    config.write_text(_AGGREGATOR.format(folder=folder, broker=broker), "utf-8")
    log = folder / "aggregator.log"
    aggregator = stack.enter_context(child("aggregator", ["--config", str(config)], log))
    api = wait_for_event(log, "aggregator_started", aggregator)["api"]
    wait_for_event(log, "broker_connected", aggregator)
    return api, [_start_edge(folder, broker, district, gateway, stack) for gateway in GATEWAYS]


def _start_edge(
    folder: Path, broker: int, district: District, gateway: Gateway, stack: ExitStack
) -> _Running:
    sites = tuple(site for site in district.sites if site.id == gateway.site)
    (files,) = write_edges(
        replace(district, sites=sites),
        read_ports(folder / "ports.json").meters,
        ("127.0.0.1", broker if gateway.online else free_port()),
        folder / "edges",
        Pace(gateway.poll_s, COMMIT_S, COMMIT_S),
    )
    text = files.config.read_text("utf-8")  # without it the one off line would hold all for ever
    files.config.write_text(text.replace("[edge]\n", "[edge]\nrtc = true\n"), "utf-8")
    log = folder / f"{gateway.site}.log"
    process = stack.enter_context(child("edge_agent", ["run", "--config", str(files.config)], log))
    wait_for_event(log, "agent_started", process)
    outbox = folder / "edges" / files.edge / "outbox.sqlite"
    return _Running(gateway, psutil.Process(process.pid), outbox)


def _district() -> str:
    meters = "".join(_METER % (number, model) for number, model in enumerate(METERS, start=1))
    return _DISTRICT + "".join(
        f"{_SITE}{meters}]\n".replace("@", gateway.site) for gateway in GATEWAYS
    )


def _measure(edges: list[_Running], minutes: float) -> Iterator[str]:
    """Measure over whole commit periods, from the second one on.

    Few of them tell little of the bytes: the outbox saves acks and empties its WAL now and then.
    """
    time.sleep(COMMIT_S)
    before = [(written_bytes(edge.process), sum(edge.process.cpu_times()[:2])) for edge in edges]
    began = time.monotonic()
    time.sleep(max(1, round(60 * minutes / COMMIT_S) - 1) * COMMIT_S)
    took = time.monotonic() - began
    for edge, (had_written, had_used) in zip(edges, before, strict=True):
        memory = edge.process.memory_full_info()
        written = written_bytes(edge.process) - had_written
        cpu = sum(edge.process.cpu_times()[:2]) - had_used
        held = inspect(edge.outbox)
        yield (
            f"polled each {edge.gateway.poll_s:g} s, {'on' if edge.gateway.online else 'off'}line, "
            f"{held.held_readings} readings in {held.held_batches} batches: "
            f"RSS {memory.rss / 2**20:.1f} MiB (peak {peak_rss(edge.process.pid) / 2**20:.1f}), "
            f"PSS {memory.pss / 2**20:.1f} MiB; "
            f"CPU {cpu / took:.1%} of a core; written {written / took * DAY_S / 1e6:.0f} "
            f"MB a day ({written / 1e3:.0f} kB in {took:.0f} s)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.edge", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="10 for the stated figure")
    chosen = parser.parse_args()
    print(machine())
    for text in run(chosen.minutes):
        print(f"  {text}", flush=True)
