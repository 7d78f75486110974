"""Run the benchmarks: all, or those named with --only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from tests.benchmarks.measure import machine

BENCHMARKS = {
    "decode": "tests.benchmarks.decode:main",
    "register": "tests.benchmarks.register:main",
    "accounts": "tests.benchmarks.accounts:main",
    "year": "tests.benchmarks.year:main",
    "memory": "tests.benchmarks.memory:main",
    "late": "tests.benchmarks.late:main",
    "restate": "tests.benchmarks.restate:main",
    "nodes": "tests.benchmarks.nodes:main",
    "rollups": "tests.benchmarks.rollups:main",
    "ingest": "tests.benchmarks.ingest:main",
    "edge": "tests.benchmarks.edge:main",
    "start": "tests.benchmarks.start:main",
}
"""Name -> "module:function"; the function takes nothing and returns the lines to print."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(BENCHMARKS),
        metavar="NAME",
        help=f"one of {', '.join(BENCHMARKS)}; may be repeated",
    )
    names = parser.parse_args(argv).only or list(BENCHMARKS)
    print(machine(), flush=True)
    for name in names:
        module, _, function = BENCHMARKS[name].partition(":")
        print(f"\n{name}", flush=True)
        for line in getattr(import_module(module), function)():
            print(f"  {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
