"""Start parts of the product as processes, and read what the kernel counts of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

START_S = 60.0
STOP_S = 20.0


@contextmanager
def child(
    module: str, arguments: list[str], log: Path, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a module that does not outlive this process; its stderr goes to a file."""
    command = [sys.executable, "-m", "simulators.demo.child", str(os.getpid()), module]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, *arguments], stderr=file, stdout=stdout or file, text=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_for_event(log: Path, event: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the first log line of that event."""
    for _ in _patiently(log, process):
        for line in log.read_text("utf-8").splitlines():
            if f'"{event}"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
    raise AssertionError(f"no {event}: {log.read_text('utf-8')}")


def wait_for_file(path: Path, log: Path, process: subprocess.Popen[str]) -> None:
    """Return once the process has written a file."""
    for _ in _patiently(log, process):
        if path.exists():
            return
    raise AssertionError(f"no {path}: {log.read_text('utf-8')}")


def _patiently(log: Path, process: subprocess.Popen[str]) -> Iterator[None]:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        yield
        assert process.poll() is None, log.read_text("utf-8")
        time.sleep(0.05)


def mosquitto() -> psutil.Process:
    """The broker that this process started."""
    (found,) = (p for p in psutil.Process().children() if p.name() == "mosquitto")
    return found


def cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """User and system time since each began."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def written_bytes(process: psutil.Process) -> int:
    """Bytes sent to the disk, as /proc/<pid>/io counts them."""
    return int(process.io_counters().write_bytes)


def counters(api: str) -> dict[str, float]:
    """What the aggregator at this address has counted."""
    prefix, suffix = "nenghao_aggregator_", "_total "
    text = httpx.get(f"{api}/metrics", timeout=30, trust_env=False).text
    rows = (line for line in text.splitlines() if line.startswith(prefix) and suffix in line)
    return {
        name.removeprefix(prefix): float(value)
        for name, _, value in (row.partition(suffix) for row in rows)
    }


def peak_rss(pid: int) -> int:
    """Largest resident memory a process ever had [bytes]."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no VmHWM")


def load_average() -> str:
    """Shows whether something else took the cores."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
