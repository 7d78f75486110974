"""Standard coal, CO2 and cost of interval amounts: picks each series' steps, the kernel multiplies.

Cost is what a channel's forward amount costs at its site's tariff; what flows back is not priced
by the tariff it was bought at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from aggregator.batch import Float64, Int32, Int64, IntervalColumns
from aggregator.directory import Directory, SeriesKey
from aggregator.kernels.account import account
from aggregator.ledger.factors import Analysis, FactorSet, Measure, Steps
from aggregator.ledger.tariffs import Tariff, TariffSteps
from aggregator.parameters import Parameters
from aggregator.register.carriers import Carrier, carriers
from aggregator.site_tariffs import SiteTariffs
from contract.channels import catalogue
from contract.interval import DAY_MS, day_start

MEASURES = (Measure.KGCE_CALORIFIC, Measure.KGCE_EQUIVALENT, Measure.CO2_KG)
COST = "cost_cny"

_MARGIN_MS = 31 * DAY_MS
"""Steps of a tariff are made this much wider than asked for, so that live amounts find them."""


class _Priced:
    """A tariff's steps over the span in which amounts came so far."""

    def __init__(self, tariff: Tariff) -> None:
        self.tariff = tariff
        self._from_ms = self._to_ms = 0
        self._steps: TariffSteps | None = None

    def steps(self, from_ms: int, to_ms: int) -> TariffSteps:
        """Return steps that cover [from_ms, to_ms)."""
        if self._steps is None or from_ms < self._from_ms or to_ms > self._to_ms:
            if self._steps is None:
                self._from_ms, self._to_ms = from_ms, to_ms
            self._from_ms = day_start(min(self._from_ms, from_ms - _MARGIN_MS))
            self._to_ms = day_start(max(self._to_ms, to_ms + _MARGIN_MS))
            self._steps = self.tariff.steps(self._from_ms, self._to_ms)
        return self._steps


@dataclass(frozen=True, slots=True)
class _Group:
    """Series whose amounts are converted alike."""

    factors: tuple[Steps, ...]
    priced: _Priced | None


class Measures:
    """Converts amounts under one factor set and the tariffs of the sites."""

    def __init__(
        self,
        directory: Directory,
        parameters: Parameters,
        factor_set: FactorSet,
        tariffs: SiteTariffs,
    ) -> None:
        self._directory = directory
        self._parameters = parameters
        self._factor_set = factor_set
        self._tariffs = tariffs
        self._groups: dict[tuple[str, str, str, str, tuple[Analysis, ...]], int] = {}
        self._made: list[_Group] = []
        self._priced: dict[str, _Priced] = {}
        self._group_of = np.empty(0, np.int32)

    def of(self, series: Int32, start_ms: Int64, amount: Int64) -> Mapping[str, Float64]:
        """Return one column per measure [kg; CNY]; NaN where no factor or price may be applied.

        ``amount`` is int64 [micro-units of the channel]; the factor is that of ``start_ms``.
        """
        self._refresh()
        group = self._group_of[series]
        columns = {name: np.full(len(series), np.nan) for name in (*map(str, MEASURES), COST)}
        for index in np.unique(group):
            rows = np.flatnonzero(group == index)
            amounts, starts = amount[rows], start_ms[rows]
            made = self._made[index]
            for measure, steps in zip(MEASURES, made.factors, strict=True):
                columns[measure][rows] = account(amounts, starts, steps.valid_from_ms, steps.factor)
            if made.priced is not None:
                prices = made.priced.steps(int(starts.min()), int(starts.max()) + 1)
                columns[COST][rows] = account(amounts, starts, prices.valid_from_ms, prices.price)
        return columns

    def of_nothing(self, rows: IntervalColumns, grid_ms: int) -> IntervalColumns:
        """Return rows that say of the same intervals that nothing is known.

        Their measures are those of no amount: NaN would make the whole day and month undetermined.
        """
        zero = np.zeros(len(rows), np.int64)
        columns: dict[str, Any] = {field.name: zero for field in fields(rows)}
        columns |= {
            "series": rows.series,
            "start_ms": rows.start_ms,
            "expected": rows.expected,
            "missing_ms": np.full(len(rows), grid_ms),
        }
        columns |= self.of(rows.series, rows.start_ms, zero)
        return IntervalColumns(**columns)

    def rows(self, series: int, measure: str, from_ms: int, to_ms: int) -> str:
        """Return the ids of the rows behind a measure of a channel in [from_ms, to_ms).

        Of factors, or of prices and hours; an analysis is named by its report.
        """
        self._refresh()
        made = self._made[self._group_of[series]]
        if measure == COST:
            rows = [] if made.priced is None else made.priced.tariff.rows(from_ms, to_ms)
            return " ".join(row.id for row in rows)
        steps = made.factors[MEASURES.index(Measure(measure))]
        names: list[str] = []
        for i in steps.between(from_ms, to_ms):
            analysis = steps.analyses[i]
            names += [steps.row_ids[i]] if steps.row_ids[i] else []
            names += [] if analysis is None else [f"analysis {analysis.source}"]
        return " ".join(dict.fromkeys(names))

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
        tariff = self._tariff(key, carrier, unit)
        name = (
            carrier.id if carrier is not None and accounted else "",
            unit,
            key.region,
            "" if tariff is None else tariff.name,
            self._parameters.analyses(series) if accounted else (),
        )
        if name not in self._groups:
            self._groups[name] = len(self._made)
            factors = tuple(
                self._factor_set.steps(name[0], unit, measure, key.region, name[-1])
                for measure in MEASURES
            )
            priced = None
            if tariff is not None:
                priced = self._priced.setdefault(tariff.name, _Priced(tariff))
            self._made.append(_Group(factors, priced))
        return self._groups[name]

    def _tariff(self, key: SeriesKey, carrier: Carrier | None, unit: str) -> Tariff | None:
        if carrier is None or not is_priced(carrier, key.channel):
            return None
        return self._tariffs.find(key.site, carrier.id, unit)


def is_priced(carrier: Carrier, channel: str) -> bool:
    """Tell whether a channel counts what its carrier's tariff prices: the forward amount."""
    return carrier.accounted({channel}).get(channel, 0) > 0
