"""Compiled and plain Python kernels give the same figures; warm-up covers what is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aggregator.kernels import account, register, rollup, verdict
from aggregator.kernels.jit import warm_up

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys, random, hashlib
import numpy as np
from aggregator.kernels.account import account
from aggregator.kernels.register import advance, new_heads
from aggregator.kernels.rollup import fixed_starts, rollup, runs
rng = random.Random(5)
digest = hashlib.sha256()
for modulus, limit in ((0, 0), (1000, 0), (0, 600), (1000, 600)):
    heads = new_heads(*(np.array([x]) for x in (modulus, limit, 1_800_000, 1)))
    time, level = 0, 900
    for size in (1, 1, 2, 40, 3, 200):
        times, values = [], []
        for _ in range(size):
            time += rng.choice([60_000] * 8 + [1, 900_000, 4_000_000])
            level += rng.randint(0, 9)
            times.append(time)
            values.append(rng.choice([level % 1000] * 9 + [0, 5_000]))
        rows, status = advance(
            heads, np.array([0]), np.array([0, size]), np.array(times), np.array(values), 900_000)
        hours = fixed_starts(rows.start_ms, 3_600_000)
        groups, first = runs(rows.slot, hours)
        measure = account(rows.amount, rows.start_ms, np.array([2_000_000]), np.array([0.5]))
        sums, totals = rollup(groups, len(first), rows.block, measure.reshape(1, -1))
        for part in (rows.block, status, heads, sums, totals):
            digest.update(np.ascontiguousarray(part).tobytes())
print(digest.hexdigest())
"""


def figures(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=100, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_jit_the_figures_are_the_same():
    assert figures(NUMBA_DISABLE_JIT="1") == figures(NUMBA_DISABLE_JIT="0")


def test_warm_up_compiles_every_kernel():
    warm_up()
    entries = (verdict._verdicts, register._advance, rollup._runs, rollup._rollup,
               rollup._fixed_starts, account._account)  # fmt: skip
    if os.environ.get("NUMBA_DISABLE_JIT", "0") == "0":
        assert all(vars(entry)["overloads"] for entry in entries)
