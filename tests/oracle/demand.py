"""Slow, obvious maximum demand."""

from __future__ import annotations

from collections.abc import Sequence


def demand(
    groups: Sequence[int],
    n_groups: int,
    starts_ms: Sequence[int],
    amounts_micro: Sequence[int],
    measured_ms: Sequence[int],
    length_ms: int,
) -> list[tuple[int, int, int]]:
    """Per group: row of the largest amount (earliest of equals) or -1, rows counted, their sum."""
    found = []
    for group in range(n_groups):
        rows = [
            (-amount, start, row)
            for row, (g, start, amount, measured) in enumerate(
                zip(groups, starts_ms, amounts_micro, measured_ms, strict=True)
            )
            if g == group and measured == length_ms
        ]
        largest = min(rows)[2] if rows else -1
        found.append((largest, len(rows), sum(-amount for amount, _, _ in rows)))
    return found
