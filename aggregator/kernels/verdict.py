"""Is a step between two register readings plausible, and which readings do not count.

Rules and reasons: docs/formats/ledger.md. A verdict looks at two readings on each side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

FORWARD, ROLLOVER_STEP, BAD = 0, 1, 2
"""Kinds of step."""

HOUR_MS = 3_600_000
TOLERANCE_MS = 60_000
"""The rating is granted for this much longer than the elapsed time: clocks and polls jitter."""


@kernel
def allowed(limit: int, slack: int, elapsed_ms: int) -> int:
    """Largest plausible increase: limit x (elapsed + tolerance) + slack, rounded down, capped."""
    whole, rest = limit // HOUR_MS, limit % HOUR_MS
    time = elapsed_ms + TOLERANCE_MS
    if whole >= 1 << 20 and whole > (1 << 61) // time:  # time < 2^41: else no overflow
        return 1 << 61
    return whole * time + rest * time // HOUR_MS + slack


@kernel
def step_kind(v0: int, v1: int, elapsed_ms: int, modulus: int, limit: int, slack: int) -> int:
    """FORWARD, ROLLOVER_STEP (the register wrapped once) or BAD."""
    delta = v1 - v0
    if delta >= 0:
        if limit > 0:
            if delta <= limit // HOUR_MS * TOLERANCE_MS:
                return FORWARD  # nearly always, and needs no division
            return FORWARD if delta <= allowed(limit, slack, elapsed_ms) else BAD
        return BAD if modulus > 0 and delta > modulus // 2 else FORWARD
    if modulus <= 0 or v0 >= modulus or v1 < 0:
        return BAD
    wrapped = delta + modulus
    if limit > 0:
        fits = wrapped <= modulus // 2 and wrapped <= allowed(limit, slack, elapsed_ms)
    else:
        fits = v0 >= modulus - modulus // 10 and v1 < modulus // 10
    return ROLLOVER_STEP if fits else BAD


@kernel
def _bad(t: Int64, v: Int64, i: int, j: int, modulus: int, limit: int, slack: int) -> bool:
    return step_kind(v[i], v[j], t[j] - t[i], modulus, limit, slack) == BAD


@kernel
def suspect(t: Int64, v: Int64, lo: int, hi: int, modulus: int, limit: int, slack: int) -> bool:
    """Whether reading 2 of a window of five does not count; readings lo..hi of it exist."""
    if lo > 1 or hi < 3:
        return False  # the first and the last reading always count
    in_bad = _bad(t, v, 1, 2, modulus, limit, slack)
    out_bad = _bad(t, v, 2, 3, modulus, limit, slack)
    falls_in, falls_out = v[2] < v[1], v[3] < v[2]

    if (in_bad or out_bad) and not _bad(t, v, 1, 3, modulus, limit, slack):
        if falls_in:
            return True  # a dip
        if falls_out and out_bad and (hi < 4 or _bad(t, v, 2, 4, modulus, limit, slack)):
            return True  # a peak: and reading 3 is no dip

    # first of a dip of two: 2 and 3 lie below 1, agree, and 4 goes on from 1
    if hi == 4 and falls_in and v[3] < v[1] and not out_bad:
        returns = not _bad(t, v, 1, 4, modulus, limit, slack)
        if returns and (_bad(t, v, 3, 4, modulus, limit, slack) or (limit == 0 and in_bad)):
            before_is_peak = lo == 0 and in_bad and not _bad(t, v, 0, 2, modulus, limit, slack)
            if not before_is_peak:
                return True

    # second of a dip of two: 1 and 2 lie below 0, agree, and 3 goes on from 0
    if lo == 0 and v[1] < v[0] and v[2] < v[0] and not in_bad:
        returns = not _bad(t, v, 0, 3, modulus, limit, slack)
        if returns and (out_bad or (limit == 0 and _bad(t, v, 0, 1, modulus, limit, slack))):
            next_is_peak = (
                hi == 4
                and v[4] < v[3]
                and _bad(t, v, 3, 4, modulus, limit, slack)
                and not _bad(t, v, 2, 4, modulus, limit, slack)
            )
            return not next_is_peak
    return False


@kernel
def _verdicts(t: Int64, v: Int64, modulus: int, limit: int, slack: int) -> tuple[UInt8, UInt8]:
    n = len(t)
    good = np.ones(n, np.uint8)
    kind = np.zeros(n, np.uint8)
    wt, wv = np.zeros(5, np.int64), np.zeros(5, np.int64)
    previous = -1
    for i in range(n):
        lo, hi = max(0, 2 - i), min(4, n + 1 - i)
        for k in range(lo, hi + 1):
            wt[k], wv[k] = t[i - 2 + k], v[i - 2 + k]
        if suspect(wt, wv, lo, hi, modulus, limit, slack):
            good[i] = 0
            continue
        if previous >= 0:
            kind[i] = step_kind(v[previous], v[i], t[i] - t[previous], modulus, limit, slack)
        previous = i
    return good, kind


def verdicts(
    time_ms: Int64, value: Int64, modulus_micro: int, limit_micro_per_h: int, slack_micro: int
) -> tuple[UInt8, UInt8]:
    """Judge the readings of one channel, sorted by strictly increasing time.

    Returns two uint8 columns: 1 where the reading counts; and the kind of step that leads to it
    from the reading that counted before (FORWARD, ROLLOVER_STEP, BAD = held; FORWARD at the first
    reading and at readings that do not count).
    """
    return _verdicts(time_ms, value, modulus_micro, limit_micro_per_h, slack_micro)


def warm_up() -> None:
    """Compile for the product's argument types."""
    empty = np.zeros(0, np.int64)
    verdicts(empty, empty, 0, 0, 0)
