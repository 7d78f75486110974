"""How long the edge takes to start, and how much memory: import, check-config, first poll.

    python -m tests.benchmarks.start --times 5

Each is a process of its own, the files in the system's cache; the median of some.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import psutil

from simulators.bench import bench_meter
from simulators.demo.processes import free_port
from simulators.modbus_meter import ModbusServer
from simulators.server import port_of
from tests.benchmarks.measure import machine
from tests.benchmarks.processes import load_average

POLL_S = 0.1
PATIENCE_S = 60.0
_CONFIG = """\
[edge]
region = "370114"
site = "bench"
id = "gw1"
data_dir = "data"
[uplink]
host = "127.0.0.1"
port = {broker}
[poll]
period_s = {poll_s}
[[bus]]
id = "bus1"
host = "127.0.0.1"
port = {port}
[[bus.meter]]
id = "em-01"
model = "{model}"
"""
MODEL = "acrel-adw300"


def main() -> Iterator[str]:
    return run(5)


def run(times: int) -> Iterator[str]:
    codes = {
        "Python alone": "",
        "import of all the agent runs with": "import edge_agent.__main__, edge_agent.agent",
    }
    for name, code in codes.items():
        yield _line(name, [_child(code) for _ in range(times)])
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name:
        folder = Path(name)
        config = folder / "edge.toml"
        config.write_text(_text(folder, 502), "utf-8")
        call = ["check-config", "--config", str(config)]
        check = f"from edge_agent.__main__ import main; assert main({call!r}) == 0"
        yield _line("check-config", [_child(check) for _ in range(times)])
        starts = [asyncio.run(_first_poll(config)) for _ in range(times)]
        yield _line(f"start to the first question to a meter (grid {POLL_S:g} s)", starts)
    yield load_average()


def _text(folder: Path, port: int) -> str:
    return _CONFIG.format(broker=free_port(), poll_s=POLL_S, port=port, model=MODEL)


def _line(name: str, taken: Sequence[tuple[float, float, float]]) -> str:
    wall_s, used_s, mib = (median(column) for column in zip(*taken, strict=True))
    return f"{name}: {wall_s:.2f} s, {used_s:.2f} s of processor, {mib:.1f} MiB"


def _child(code: str) -> tuple[float, float, float]:
    """Seconds, seconds of processor and largest memory [MiB] of a Python process."""
    tell = "\nimport sys\nprint(open('/proc/self/status').read(), file=sys.stderr)"
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code + tell],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as stderr:
        told = stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    # Not ru_maxrss: what the parent had before exec counts there.
    peak = next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:"))
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, peak / 1024


async def _first_poll(config: Path) -> tuple[float, float, float]:
    """Seconds until an agent asks its meter, of processor too; its memory a second later [MiB]."""
    asked = asyncio.Event()

    def now_ms() -> int:
        asked.set()
        return time.time_ns() // 1_000_000

    meter = bench_meter(MODEL, time.time_ns() // 1_000_000 // 60_000 * 60_000 - 3_600_000)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ModbusServer(meter, now_ms), "127.0.0.1", 0)
    config.write_text(_text(config.parent, port_of(server)), "utf-8")
    command = ["-m", "edge_agent", "run", "--config", str(config)]
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asked.wait()
        seconds = time.monotonic() - began
        agent = psutil.Process(process.pid)
        used_s = float(sum(agent.cpu_times()[:2]))
        await asyncio.sleep(1)
        return seconds, used_s, agent.memory_info().rss / 2**20
    finally:
        process.kill()
        await process.wait()
        server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    chosen = parser.parse_args()
    print(machine())
    for text in run(chosen.times):
        print(f"  {text}", flush=True)
