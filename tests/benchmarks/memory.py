"""What a channel costs in memory: the aggregator's process with few channels and with many.

    python -m tests.benchmarks.memory

Both take the same number of readings over a real broker into the embedded store; what the larger
one holds more (register, directory, heads, live values, database) is divided by its channels.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from tests.benchmarks.ingest import AGE_S, CONFIG, tallies
from tests.benchmarks.load import CHANNELS, CUMULATIVE, Load, write_register
from tests.benchmarks.measure import machine
from tests.benchmarks.processes import child, wait_for_event
from tests.brokers import mosquitto_broker
from tests.conftest import find_server

READINGS = 2_000_000
RATE = 100_000
"""Offered [readings per second]: what waits in queues is then no part of a channel."""
QUIET_S = 5.0
"""How long nothing was allocated before memory is read [s]."""


def main() -> Iterator[str]:
    if find_server("mosquitto") is None:
        yield "mosquitto is not installed: not measured"
        return
    few, many = (Load(edges=n, samples=5, rate=RATE) for n in (10, 1_250))
    small, large = _rss(few), _rss(many)
    channels = (many.edges - few.edges) * many.meters * CHANNELS
    yield (
        f"RSS with {_channels(few)} channels {small / 1e6:.0f} MB, with {_channels(many)} "
        f"{large / 1e6:.0f} MB: {(large - small) / channels:.0f} bytes per channel "
        f"({len(CUMULATIVE)} of {CHANNELS} cumulative)"
    )


def _channels(load: Load) -> int:
    return load.edges * load.meters * CHANNELS


def _rss(load: Load) -> int:
    """Resident memory of an aggregator after so many readings of a load [bytes]."""
    load = replace(load, start_ms=(time.time_ns() // 1_000_000 - AGE_S * 1_000) // 60_000 * 60_000)
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        write_register(load, folder / "register")
        broker = stack.enter_context(mosquitto_broker(folder))
        config, log = folder / "aggregator.toml", folder / "aggregator.log"
        config.write_text(CONFIG.format(folder=folder, broker=broker.port, rollup_s=2.0), "utf-8")
        aggregator = stack.enter_context(child("aggregator", ["--config", str(config)], log))
        wait_for_event(log, "broker_connected", aggregator)
        command = [str(broker.port), json.dumps(asdict(load))]
        with child(
            "tests.benchmarks.load", command, folder / "load.log", subprocess.PIPE
        ) as generator:
            acked = 0
            for tally in tallies(generator, folder / "load.log"):
                acked += tally["acked_readings"]
                if acked >= READINGS:
                    break
        return _settled(psutil.Process(aggregator.pid))


def _settled(process: psutil.Process) -> int:
    """Return the memory once it has not moved for a while."""
    last, since = process.memory_info().rss, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        time.sleep(0.2)
        if abs(process.memory_info().rss - last) > 1_000_000:
            last, since = process.memory_info().rss, time.monotonic()
    return last


if __name__ == "__main__":
    print(machine())
    for text in main():
        print(f"  {text}")
