"""Time a call, and say on what machine and which commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def machine() -> str:
    """One line: processor, cores, Python, commit."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    commit = "no commit"
    git = shutil.which("git")
    if git:
        found = subprocess.run(
            [git, "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
        commit = found.stdout.strip() or commit
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {commit}"


def seconds(
    call: Callable[[], Any], repeat: int = 3, before: Callable[[], Any] | None = None
) -> float:
    """CPU seconds of this thread for the fastest of some calls."""
    best = float("inf")
    for _ in range(repeat):
        if before is not None:
            before()
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best


def rate(count: float, duration: float) -> str:
    """'12.3 M/s'."""
    per_second = count / duration
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if per_second >= scale:
            return f"{per_second / scale:.1f} {unit}/s"
    return f"{per_second:.1f} /s"
