"""Feedstock (原料用能) and new renewables by certificate (绿证), taken off a site's standard coal.

A row of the register is converted as the site's consumption of its carrier in its period was, so
that deducting all of it leaves nothing of it. CO2 keeps what it is: what is burnt is burnt.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aggregator.ledger.factors import Measure
from aggregator.periods import period_span
from aggregator.register.carriers import carriers
from aggregator.register.model import Deduction, DeductionKind
from contract.channels import catalogue
from contract.units import MICRO, to_micro

COAL = (Measure.KGCE_CALORIFIC, Measure.KGCE_EQUIVALENT)


class Consumed(Protocol):
    """What a site consumed of one carrier."""

    @property
    def consumption(self) -> Mapping[str, int]:
        """Micro-units by unit."""
        ...

    @property
    def kg(self) -> Mapping[Measure, float]:
        """By measure; NaN when unknown."""
        ...


Carriers = Mapping[str, Consumed]
"""By carrier."""


@dataclass(frozen=True, slots=True)
class Deducted:
    """One row of the register that touches a period."""

    row: Deduction
    unit: str
    kgce: Mapping[Measure, float]
    """NaN where the consumption it is part of has none."""
    reason: str
    """Why it is not deducted; "" when it is."""


def deductions_of(
    rows: Sequence[Deduction], from_ms: int, to_ms: int, within: Callable[[int, int], Carriers]
) -> Sequence[Deducted]:
    """Convert the rows that touch [from_ms, to_ms), and say of each whether it is deducted.

    A row may take what its period consumed, less what other rows take within it. Months go before
    years, whatever was asked for: so a month's deductions are the same in its year's.

    Args:
        rows: of one site.
        from_ms: included [ms UTC].
        to_ms: excluded.
        within: what the site consumed in a part of that time.
    """
    touching = [
        (index, row, *period_span(row.period))
        for index, row in enumerate(rows)
        if period_span(row.period)[0] < to_ms and period_span(row.period)[1] > from_ms
    ]
    found: dict[int, Deducted] = {}
    taken: list[tuple[str, int, int]] = []
    """Carrier, start of the period, micro-units."""
    for index, row, start_ms, end_ms in sorted(touching, key=lambda one: (one[3] - one[2], one[0])):
        unit = str(catalogue()[carriers()[row.carrier].forward[0]].unit)
        unknown = dict.fromkeys(COAL, math.nan)
        if start_ms < from_ms or end_ms > to_ms:
            beyond = f"{row.period} reaches beyond the period asked for"
            found[index] = Deducted(row, unit, unknown, beyond)
            continue
        account = within(start_ms, end_ms).get(row.carrier)
        consumed = 0 if account is None else account.consumption.get(unit, 0)
        left = consumed - sum(
            micro
            for carrier, at_ms, micro in taken
            if carrier == row.carrier and start_ms <= at_ms < end_ms
        )
        micro = to_micro(row.amount)
        if account is None or micro > left:
            rest = f"{max(0, left) / MICRO:g} {unit}"
            reason = f"more than is left of the {row.carrier} consumed in {row.period}: {rest}"
            found[index] = Deducted(row, unit, unknown, reason)
            continue
        taken.append((row.carrier, start_ms, micro))
        share = micro / consumed if consumed else 0.0
        kgce = {measure: share * account.kg.get(measure, math.nan) for measure in COAL}
        found[index] = Deducted(row, unit, kgce, "")
    return [found[index] for index in sorted(found)]


def net_of(
    gross: Mapping[Measure, float], deducted: Sequence[Deducted], *kinds: DeductionKind
) -> Mapping[Measure, float]:
    """Return gross less the deductions of some kinds; NaN where one of them has no figure."""
    return {
        measure: gross[measure]
        - math.fsum(
            one.kgce[measure] for one in deducted if not one.reason and one.row.kind in kinds
        )
        for measure in COAL
    }
