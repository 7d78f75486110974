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


def deducted(
    coal_t: Sequence[int],
    kg_per_t: Sequence[float],
    rows: Sequence[tuple[str, int]],
    asked: str,
) -> tuple[list[bool], float]:
    """Whether each row that touches the year or month asked for is deducted, and the net [kg].

    coal_t and kg_per_t are those of the months of 2026; rows are (period, t).
    """

    def months(period: str) -> set[str]:
        if "-" in period:
            return {period}
        return {f"{period}-{month:02}" for month in range(1, 13)}

    def consumed(period: str) -> list[tuple[int, float]]:
        every = enumerate(zip(coal_t, kg_per_t, strict=True), start=1)
        return [both for month, both in every if f"2026-{month:02}" in months(period)]

    net = sum(tonnes * factor for tonnes, factor in consumed(asked))
    kept: dict[int, bool] = {}
    taken: list[tuple[str, int]] = []
    order = [i for i, (period, _) in enumerate(rows) if "-" in period]
    order += [i for i, (period, _) in enumerate(rows) if "-" not in period]
    for i in order:
        period, amount = rows[i]
        if not months(period) & months(asked):
            continue
        own = sum(tonnes for tonnes, _ in consumed(period))
        others = sum(tonnes for other, tonnes in taken if months(other) <= months(period))
        kept[i] = months(period) <= months(asked) and amount + others <= own
        if kept[i]:
            taken.append((period, amount))
        if kept[i] and amount:
            net -= sum(tonnes * factor for tonnes, factor in consumed(period)) * amount / own
    return [kept[i] for i in sorted(kept)], net
