"""Slow, obvious roll-up and accounting."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rollup(
    groups: Sequence[int], n_groups: int, columns: Sequence[Sequence[float]]
) -> list[list[float]]:
    return [
        [
            sum(value for value, g in zip(column, groups, strict=True) if g == group)
            for group in range(n_groups)
        ]
        for column in columns
    ]


def account(
    amounts_micro: Sequence[int], starts_ms: Sequence[int], rows: Sequence[tuple[int, float]]
) -> list[float]:
    measures = []
    for amount, start in zip(amounts_micro, starts_ms, strict=True):
        factor = math.nan
        for valid_from, value in rows:
            if valid_from <= start:
                factor = value
        measures.append(amount / 1_000_000 * factor)
    return measures
