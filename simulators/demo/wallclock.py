"""Runs a module under a wall clock that can be set, without touching the machine's.

    python -m simulators.demo.wallclock FILE MODULE ARGUMENT...

FILE holds by how many milliseconds the module's wall clock is wrong, read at every look at it. The
monotonic clocks are the machine's: they do not jump on a real machine either. The kernel never says
that a time server disciplines such a clock, also where one disciplines the machine's.
"""

from __future__ import annotations

import ctypes
import runpy
import sys
import time
from pathlib import Path

_TIME_ERROR = 5


class _Undisciplined(ctypes.CDLL):
    """The C library of a machine without a time server."""

    @staticmethod
    def adjtimex(_timex: object) -> int:
        """The clock is not synchronised."""
        return _TIME_ERROR


def jumping(file: Path) -> None:
    """Let time.time and time.time_ns be wrong by what stands in the file [ms]."""
    true_ns = time.time_ns

    def off_ns() -> int:
        try:
            return int(file.read_text("ascii")) * 1_000_000
        except (OSError, ValueError):
            return 0

    ctypes.CDLL = _Undisciplined  # type: ignore[misc]
    time.time_ns = lambda: true_ns() + off_ns()
    time.time = lambda: (true_ns() + off_ns()) / 1e9


if __name__ == "__main__":
    jumping(Path(sys.argv[1]))
    module = sys.argv[2]
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
