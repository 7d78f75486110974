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


def measured_factor(
    by_table: float,
    carbon: tuple[float, float] | None,
    analyses: Sequence[tuple[float, int, int | None]],
    time_ms: int,
    *,
    co2: bool,
) -> float:
    """kg per t of a fuel. carbon: (tC/TJ, oxidised share); analyses: (GJ/t, from, until)."""
    factor = by_table
    for ncv_gj, from_ms, until_ms in analyses:
        if from_ms <= time_ms and (until_ms is None or time_ms < until_ms):
            if not co2:
                factor = ncv_gj * 1_000_000 / 29_307
            elif carbon is not None:
                per_tj, oxidised = carbon
                tonnes_of_carbon = ncv_gj / 1_000 * per_tj * oxidised
                factor = tonnes_of_carbon * 44 / 12 * 1_000
    return factor
