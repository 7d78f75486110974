"""Maximum demand: the fully measured interval with the most energy, per meter and month."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.kernels.jit import kernel

Int64 = NDArray[np.int64]

NONE = -1
"""No interval of the group was fully measured."""


@kernel
def _demand(
    group: Int64,
    n_groups: int,
    start_ms: Int64,
    amount_micro: Int64,
    measured_ms: Int64,
    length_ms: int,
) -> tuple[Int64, Int64, Int64]:
    largest = np.full(n_groups, NONE, np.int64)
    counted = np.zeros(n_groups, np.int64)
    total = np.zeros(n_groups, np.int64)
    for j in range(len(group)):
        if measured_ms[j] != length_ms:
            continue
        g = group[j]
        counted[g] += 1
        total[g] += amount_micro[j]
        best = largest[g]
        if (
            best == NONE
            or amount_micro[j] > amount_micro[best]
            or (amount_micro[j] == amount_micro[best] and start_ms[j] < start_ms[best])
        ):
            largest[g] = j
    return largest, counted, total


def demand(
    group: Int64,
    n_groups: int,
    start_ms: Int64,
    amount_micro: Int64,
    measured_ms: Int64,
    length_ms: int,
) -> tuple[Int64, Int64, Int64]:
    """Find the interval of the largest demand per group; what was estimated or held sets none.

    group         int64 [n], 0..n_groups - 1: meter and month, in any order
    start_ms      int64 [n], UTC
    amount_micro  int64 [n], energy of the interval [micro-units]
    measured_ms   int64 [n], how much of the interval was measured
    length_ms     of every interval; demand = amount / length

    Returns int64 [n_groups] each: row of the largest, the earliest of equals, or NONE; how many
    rows were fully measured; the sum of their amounts [micro-units].

    Raises:
        ValueError: lengths differ, a group is out of range, or length_ms is not positive.
    """
    n = len(group)
    if not len(start_ms) == len(amount_micro) == len(measured_ms) == n:
        raise ValueError(f"start, amount and measured: {n} rows expected")
    if n and not 0 <= group.min() <= group.max() < n_groups:
        raise ValueError(f"group: 0 to {n_groups - 1} expected")
    if length_ms <= 0:
        raise ValueError("length_ms: above 0 expected")
    return _demand(group, n_groups, start_ms, amount_micro, measured_ms, length_ms)


def warm_up() -> None:
    """Compile for the product's argument types."""
    one = np.zeros(1, np.int64)
    demand(one, 1, one, one, one, 900_000)
