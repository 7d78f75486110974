"""Broker -> store committed -> ack sent: mosquitto, the aggregator and a generator on one machine.

    python -m tests.benchmarks.ingest --seconds 60 --edges 100 --samples 15 --rate 0

Readings count when their batch is acknowledged. The second half of the report is the pipeline
alone in one process, stage by stage, beside the store's raw append and the kernel alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from aggregator.config import PaceSection
from tests.benchmarks.load import CHANNELS, CUMULATIVE, WINDOW, Load, write_register
from tests.benchmarks.measure import machine, rate
from tests.benchmarks.processes import (
    child,
    counters,
    cpu_seconds,
    load_average,
    mosquitto,
    peak_rss,
    wait_for_event,
    written_bytes,
)
from tests.benchmarks.stages import kernel_alone, profile, raw_append
from tests.brokers import mosquitto_broker
from tests.conftest import find_server

PACE = PaceSection()
"""The product's defaults."""
AGE_S = 6 * 3600
"""How old the first readings are; each batch is newer by as much time as its samples span."""

CONFIG = """\
[aggregator]
regions = ["370114"]
data_dir = "{folder}/store"
register = "{folder}/register"
factor_set = "demo"
[broker]
port = {broker}
[pace]
rollup_s = {rollup_s}
[api]
port = 0
"""


def main() -> Iterator[str]:
    return run(Load(), seconds=25, warm_up_s=8, rollup_s=15.0, profiled=30)


def run(load: Load, seconds: int, warm_up_s: int, rollup_s: float, profiled: int) -> Iterator[str]:
    load = replace(load, start_ms=(time.time_ns() // 1_000_000 - AGE_S * 1_000) // 60_000 * 60_000)
    yield (
        f"{load.edges} edges x {load.meters} meters x {CHANNELS} channels, "
        f"{len(CUMULATIVE)} cumulative; batches of {load.samples} samples = {load.readings} "
        f"readings; "
        + (
            f"{load.rate:.0f} readings/s offered"
            if load.rate
            else f"windows of {WINDOW} always full"
        )
    )
    if find_server("mosquitto") is None:
        yield "mosquitto is not installed: the whole road was not measured"
    else:
        yield from whole_road(load, seconds, warm_up_s, rollup_s)
    if profiled:
        yield from stage_by_stage(load, profiled)


def whole_road(load: Load, seconds: int, warm_up_s: int, rollup_s: float) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        write_register(load, folder / "register")
        broker = stack.enter_context(mosquitto_broker(folder))
        config, log = folder / "aggregator.toml", folder / "aggregator.log"
        config.write_text(
            CONFIG.format(folder=folder, broker=broker.port, rollup_s=rollup_s), "utf-8"
        )
        aggregator = stack.enter_context(child("aggregator", ["--config", str(config)], log))
        api = wait_for_event(log, "aggregator_started", aggregator)["api"]
        wait_for_event(log, "broker_connected", aggregator)
        generator = stack.enter_context(
            child(
                "tests.benchmarks.load",
                [str(broker.port), json.dumps(asdict(load))],
                folder / "load.log",
                subprocess.PIPE,
            )
        )
        watched = {
            "mosquitto": mosquitto(),
            "aggregator": psutil.Process(aggregator.pid),
            "generator": psutil.Process(generator.pid),
        }
        lines = tallies(generator, folder / "load.log")
        for _ in range(warm_up_s):
            next(lines)
        cpu, written, began = cpu_seconds(watched), _written(watched), time.monotonic()
        counts = counters(api)  # slow while the aggregator is busy
        told = [next(lines) for _ in range(seconds)]
        took = time.monotonic() - began
        cpu = {name: now - cpu[name] for name, now in cpu_seconds(watched).items()}
        counts = {name: now - counts.get(name, 0) for name, now in counters(api).items()}
        written = _written(watched) - written
        yield from _report(told, took, cpu, counts)
        yield (
            f"aggregator: peak RSS {peak_rss(aggregator.pid) / 1e6:.0f} MB, "
            f"{written / 1e6 / took:.1f} MB/s to disk; {load_average()}"
        )
        assert not _events_beyond(log), log.read_text("utf-8")


def _report(
    tallies: list[dict[str, Any]], took: float, cpu: dict[str, float], counts: dict[str, float]
) -> Iterator[str]:
    acked = sum(tally["acked_readings"] for tally in tallies)
    third = max(1, len(tallies) // 3)
    thirds = [
        sum(tally["acked_readings"] for tally in tallies[part : part + third]) / third
        for part in range(0, 3 * third, third)
    ]
    latency = np.concatenate([np.array(tally["latency_ms"], float) for tally in tallies])
    p50, p99 = np.percentile(latency, (50, 99)) if len(latency) else (np.nan, np.nan)
    payload = sum(tally["bytes"] for tally in tallies) / max(1, sum(t["batches"] for t in tallies))
    yield (
        f"acknowledged {rate(acked, took)} readings over {took:.0f} s (thirds: "
        f"{', '.join(rate(x, 1) for x in thirds)}); publish to ack p50 {p50:.0f} ms, "
        f"p99 {p99:.0f} ms; {payload / 1e3:.1f} kB per batch"
    )
    per_million = ", ".join(f"{name} {x / acked * 1e6:.2f}" for name, x in cpu.items())
    cores = ", ".join(f"{name} {x / took:.2f}" for name, x in cpu.items())
    yield f"CPU seconds per million readings: {per_million}; cores in use: {cores}"
    commits = max(1.0, counts["commits"])
    lost = {
        name: n
        for name in ("inbox_dropped_messages", "duplicate_batches", "late_readings")
        if (n := counts[name])
    }
    yield (
        f"a commit: {counts['committed_readings'] / commits:.0f} readings, "
        f"{counts['written_intervals'] / commits:.0f} intervals; {commits / took:.1f} commits/s, "
        f"{counts['rolled_up_days']:.0f} site days rolled up; "
        f"resent {sum(t['resent'] for t in tallies)}, held back "
        f"{sum(t['held_back'] for t in tallies)}, {lost or 'nothing dropped, doubled or late'}"
    )


def stage_by_stage(load: Load, batches: int) -> Iterator[str]:
    found = profile(load, batches, PACE)
    million = found.readings / 1e6
    yield (
        f"the pipeline alone, one thread, {million:.1f} M readings in {len(found.commits)} "
        f"commits: {rate(found.readings, found.seconds)}, "
        f"{sum(found.stages.values()) / million:.2f} CPU s per million"
    )
    parts = sorted(found.stages.items(), key=lambda item: -item[1])
    yield "CPU ms per million readings: " + ", ".join(
        f"{stage} {1e3 * took / million:.0f}" for stage, took in parts if took > 1e-3 * million
    )
    append = raw_append(found)
    cumulative, kernel = kernel_alone(found)
    yield (
        f"same readings, same commits: the store's raw append {rate(found.readings, append)}, "
        f"pipeline / append {append / found.seconds:.2f}; register kernel alone "
        f"{rate(cumulative, kernel)} cumulative readings, {kernel / found.seconds:.1%} of the time"
    )


def tallies(generator: subprocess.Popen[str], log: Path) -> Iterator[dict[str, Any]]:
    assert generator.stdout is not None
    for line in generator.stdout:
        yield json.loads(line)
    raise AssertionError(f"the generator ended: {log.read_text('utf-8')}")


def _written(watched: dict[str, psutil.Process]) -> int:
    return written_bytes(watched["aggregator"])


def _events_beyond(log: Path) -> list[str]:
    """What the aggregator complained of."""
    return [line for line in log.read_text("utf-8").splitlines() if '"level": "info"' not in line]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ingest", description=__doc__)
    parser.add_argument("--seconds", type=int, default=25, help="measured time (%(default)s)")
    parser.add_argument("--warm-up", type=int, default=8, help="seconds before it (%(default)s)")
    parser.add_argument("--edges", type=int, default=100)
    parser.add_argument("--samples", type=int, default=15, help="per batch (%(default)s)")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="readings/s offered; 0 = closed loop"
    )
    parser.add_argument("--rollup-s", type=float, default=15.0, help="product's default: 60")
    parser.add_argument("--profiled", type=int, default=30, help="batches per edge; 0 = none")
    arguments = parser.parse_args()
    print(machine())
    chosen = Load(edges=arguments.edges, samples=arguments.samples, rate=arguments.rate)
    for text in run(
        chosen, arguments.seconds, arguments.warm_up, arguments.rollup_s, arguments.profiled
    ):
        print(f"  {text}", flush=True)
