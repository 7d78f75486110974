"""Standard coal and CO2 of interval amounts: picks each series' factors, the kernel multiplies."""

import numpy as np

from aggregator.batch import Float64, Int32, Int64
from aggregator.directory import Directory
from aggregator.kernels.account import account
from aggregator.ledger.factors import FactorSet, Measure, Steps
from aggregator.parameters import Parameters
from aggregator.register.carriers import carriers
from contract.channels import catalogue

MEASURES = (Measure.KGCE_CALORIFIC, Measure.KGCE_EQUIVALENT, Measure.CO2_KG)


class Measures:
    """Converts amounts under one factor set."""

    def __init__(self, directory: Directory, parameters: Parameters, factor_set: FactorSet) -> None:
        self._directory = directory
        self._parameters = parameters
        self._factor_set = factor_set
        self._groups: dict[tuple[str, str, str], int] = {}
        self._steps: list[tuple[Steps, ...]] = []
        self._group_of = np.empty(0, np.int32)

    def of(self, series: Int32, start_ms: Int64, amount: Int64) -> tuple[Float64, ...]:
        """Return one column per measure [kg]; NaN where no factor may be applied.

        ``amount`` is int64 [micro-units of the channel]; the factor is that of ``start_ms``.
        """
        self._refresh()
        group = self._group_of[series]
        columns = tuple(np.full(len(series), np.nan) for _ in MEASURES)
        for index in np.unique(group):
            rows = np.flatnonzero(group == index)
            for column, steps in zip(columns, self._steps[index], strict=True):
                column[rows] = account(
                    amount[rows], start_ms[rows], steps.valid_from_ms, steps.factor
                )
        return columns

    def _refresh(self) -> None:
        known = len(self._group_of)
        keys = self._directory.series.keys(known)
        if keys:
            added = [self._group(known + i) for i in range(len(keys))]
            self._group_of = np.append(self._group_of, np.array(added, np.int32))

    def _group(self, series: int) -> int:
        key = self._directory.series.key(series)
        meter = self._parameters.meter(series)
        carrier = carriers().get(meter.carrier) if meter is not None else None
        # Only what totals are made of is converted: not tariff registers, reactive energy, or gas
        # at line conditions. "" has no factors.
        accounted = carrier is not None and carrier.accounted({key.channel})
        unit = catalogue()[key.channel].unit.value
        name = (carrier.id if carrier is not None and accounted else "", unit, key.region)
        if name not in self._groups:
            self._groups[name] = len(self._steps)
            self._steps.append(
                tuple(
                    self._factor_set.steps(name[0], unit, measure, key.region)
                    for measure in MEASURES
                )
            )
        return self._groups[name]
