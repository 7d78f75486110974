"""The edge process: memory, processor and bytes written to disk, beside simulated meters.

    python -m tests.benchmarks.edge --minutes 10
    python -m tests.benchmarks.edge --minutes 5 --only hundred --only second

Four gateways run at once, or those named: `second` polls 30 meters each second and `hundred` 100
meters each 10 s (their processor time and memory are the figures), `online` 30 meters each 15 s,
`offline` the same without broker (their bytes are the figures, as the kernel counts them). Those
online have a real broker and a real aggregator. Processor time is the median of windows of 10 s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

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
"""Products of a gateway's 30 meters: 12 and 2 channels, 8 on average."""
HUNDRED = ("acrel-adw300",) * 60 + ("sungrow-sg",) * 40
"""The same of 100."""
WINDOW_S = 10.0
"""Over which processor time is taken: a poll of the slowest."""
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
    meters: tuple[str, ...] = METERS


GATEWAYS = (
    Gateway("second", 1.0, online=True),
    Gateway("online", 15.0, online=True),
    Gateway("offline", 15.0, online=False),
    Gateway("hundred", 10.0, online=True, meters=HUNDRED),
)


def main() -> Iterator[str]:
    return run(minutes=2)


def run(minutes: float, names: Sequence[str] = ()) -> Iterator[str]:
    gateways = tuple(one for one in GATEWAYS if not names or one.site in names)
    if find_server("mosquitto") is None:
        yield "mosquitto is not installed: the edge was not measured"
        return
    channels = sum(len(load_device(model).registers) for model in METERS)
    yield (
        f"{channels / len(METERS):g} channels a meter on average, outbox commit each "
        f"{COMMIT_S:g} s; after {minutes:g} minutes:"
    )
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        broker = stack.enter_context(mosquitto_broker(folder)).port
        api, edges = _start(folder, broker, gateways, stack)
        yield from _measure(edges, minutes)
        committed = counters(api)["committed_batches"]
        yield f"batches of those online that were committed: {committed:.0f}; {load_average()}"


@dataclass(frozen=True, slots=True)
class _Running:
    gateway: Gateway
    process: psutil.Process
    outbox: Path


def _start(
    folder: Path, broker: int, gateways: Sequence[Gateway], stack: ExitStack
) -> tuple[str, list[_Running]]:
    """Start meters, aggregator and gateways; return the aggregator's address and the gateways."""
    district_file, ports_file = folder / "bench.toml", folder / "ports.json"
    district_file.write_text(_district(gateways), "utf-8")
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
    return api, [_start_edge(folder, broker, district, gateway, stack) for gateway in gateways]


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


def _district(gateways: Sequence[Gateway]) -> str:
    text = _DISTRICT
    for gateway in gateways:
        meters = "".join(_METER % row for row in enumerate(gateway.meters, start=1))
        text += f"{_SITE}{meters}]\n".replace("@", gateway.site)
    return text


def _measure(edges: list[_Running], minutes: float) -> Iterator[str]:
    """Measure over whole commit periods, from the second one on.

    Few of them tell little of the bytes: the outbox saves acks and empties its WAL now and then.
    """
    time.sleep(COMMIT_S)
    before = [written_bytes(edge.process) for edge in edges]
    began = time.monotonic()
    ends = began + max(1, round(60 * minutes / COMMIT_S) - 1) * COMMIT_S
    marks = [(began, [_used(edge.process) for edge in edges])]
    while marks[-1][0] < ends - WINDOW_S / 2:
        time.sleep(max(0.0, min(ends, marks[-1][0] + WINDOW_S) - time.monotonic()))
        marks.append((time.monotonic(), [_used(edge.process) for edge in edges]))
    took = marks[-1][0] - began
    for at, edge in enumerate(edges):
        memory = edge.process.memory_full_info()
        written = written_bytes(edge.process) - before[at]
        shares = [(b[at] - a[at]) / (then - now) for (now, a), (then, b) in pairwise(marks)]
        held = inspect(edge.outbox)
        yield (
            f"{len(edge.gateway.meters)} meters polled each {edge.gateway.poll_s:g} s, "
            f"{'on' if edge.gateway.online else 'off'}line, "
            f"{held.held_readings} readings in {held.held_batches} batches: "
            f"RSS {memory.rss / 2**20:.1f} MiB (peak {peak_rss(edge.process.pid) / 2**20:.1f}), "
            f"PSS {memory.pss / 2**20:.1f} MiB; "
            f"CPU {median(shares):.1%} of a core (median of {len(shares)}, most "
            f"{max(shares):.1%}); written {written / took * DAY_S / 1e6:.0f} "
            f"MB a day ({written / 1e3:.0f} kB in {took:.0f} s)"
        )


def _used(process: psutil.Process) -> float:
    """Processor time since the process began [s]."""
    return float(sum(process.cpu_times()[:2]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.edge", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="10 for the stated figure")
    parser.add_argument(
        "--only", action="append", default=[], choices=[gateway.site for gateway in GATEWAYS]
    )
    chosen = parser.parse_args()
    print(machine())
    for text in run(chosen.minutes, chosen.only):
        print(f"  {text}", flush=True)
