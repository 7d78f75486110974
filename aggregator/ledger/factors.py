"""Dated conversion factors: rows, named sets of rows, and the steps over time a kernel applies.

A *series* is one TOML file of rows that follow one another in time; a *set* names the series that
count together (`tables/README.md`, loaded by `factor_tables`). Numbers are decimals, exactly as
printed; the float64 handed to a kernel is made once, at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from aggregator.ledger.rows import NATIONAL, Problem, TableError, covers, day_ms

BEGINNING_MS = int(np.iinfo(np.int64).min)
"""Start of the first step: earlier than any reading."""

NUMERATORS = {
    "kgce": ("kgce", Decimal(1)),
    "tce": ("kgce", Decimal(1000)),
    "kgCO2": ("kgCO2", Decimal(1)),
    "tCO2": ("kgCO2", Decimal(1000)),
}
DENOMINATORS = {  # printed unit -> (unit of a cumulative channel, printed units in one of it)
    "kWh": ("kWh", Decimal(1)),
    "kg": ("t", Decimal(1000)),
    "t": ("t", Decimal(1)),
    "m3": ("m3", Decimal(1)),
    "MJ": ("GJ", Decimal(1000)),
    "GJ": ("GJ", Decimal(1)),
}


KGCE_GJ = Decimal("0.029307")
"""1 kgce [GJ]: the unit's definition in GB/T 2589, 29 307 kJ."""


class Measure(StrEnum):
    """What a factor turns an amount into; the value is the name of the stored field."""

    KGCE_CALORIFIC = "kgce_calorific"
    KGCE_EQUIVALENT = "kgce_equivalent"
    CO2_KG = "co2_kg"

    @property
    def mass_unit(self) -> str:
        """Unit of the result: kgce or kgCO2."""
        return "kgCO2" if self is Measure.CO2_KG else "kgce"


class Basis(StrEnum):
    """How long a row speaks for its data year."""

    YEARLY = "yearly"
    """Consumption of the data year; later use is provisional until the next row is published."""
    STANDING = "standing"
    """In force until the next edition of its standard."""


class FactorTableError(TableError):
    """The factor tables cannot be used; permanent until a person edits them."""


@dataclass(frozen=True, slots=True)
class Burning:
    """The three numbers that a fuel's CO2 factor is the product of, with 44/12."""

    ncv_gj: Decimal
    """Net calorific value [GJ per channel unit: t or standard m3]."""
    carbon_tc_per_tj: Decimal
    oxidised: Decimal
    """Share of the carbon that burns."""

    def co2_kg(self, ncv_gj: Decimal) -> Decimal:
        """Return kgCO2 per channel unit of this fuel with another calorific value."""
        return ncv_gj * self.carbon_tc_per_tj * self.oxidised * 44 / 12


@dataclass(frozen=True, slots=True)
class Analysis:
    """A measured net calorific value; holds in [valid_from_ms, valid_to_ms)."""

    ncv_gj: Decimal
    """GJ per channel unit."""
    source: str
    valid_from_ms: int
    valid_to_ms: int | None
    """None: open-ended."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One row. Half-open validity [valid_from_ms, valid_to_ms), cut at Beijing midnight."""

    id: str
    series: str
    item: str
    measure: Measure
    value: Decimal
    """As printed, in `unit`."""
    unit: str
    data_year: int
    basis: Basis
    valid_from_ms: int
    valid_to_ms: int | None
    """None: open-ended."""
    region: str
    edition: str
    source: str
    verified: bool
    note: str
    burning: Burning | None = None
    """What a measured calorific value is put into; None when the row does not say."""

    @property
    def channel_unit(self) -> str:
        """Catalogue unit of the amounts this row applies to: kWh, m3, t or GJ."""
        return DENOMINATORS[self.unit.split("/")[1]][0]

    @property
    def per_unit(self) -> Decimal:
        """Return kgce or kgCO2 per one `channel_unit`, exact."""
        top, bottom = self.unit.split("/")
        return self.value * NUMERATORS[top][1] * DENOMINATORS[bottom][1]

    @property
    def provisional_from_ms(self) -> int | None:
        """From when on the row only stands in for a year not yet published; None: never."""
        if self.basis is Basis.YEARLY and self.valid_to_ms is None:
            return day_ms(date(self.data_year + 1, 1, 1))
        return None

    def applies_to(self, region: str) -> bool:
        """Tell whether a site in this GB/T 2260 region may use the row."""
        return covers(self.region, region)


@dataclass(frozen=True, slots=True)
class Steps:
    """A factor over time. Step i holds in [valid_from_ms[i], valid_from_ms[i + 1]).

    valid_from_ms  int64[k], k >= 1, ascending; the first is BEGINNING_MS, so every time has a step
    factor         float64[k], kg per one unit of the channel: kg = amount_micro / 1e6 * factor.
                   NaN where nothing may be applied; never 0 in place of a factor
    row_ids        id of the row, "" where factor is NaN
    reasons        why factor is NaN, "" elsewhere
    analyses       measured calorific value that the factor was made with, None elsewhere
    """

    valid_from_ms: NDArray[np.int64]
    factor: NDArray[np.float64]
    row_ids: tuple[str, ...]
    reasons: tuple[str, ...]
    analyses: tuple[Analysis | None, ...]

    def between(self, from_ms: int, to_ms: int) -> range:
        """Return the indexes of the steps that touch [from_ms, to_ms)."""
        first = int(np.searchsorted(self.valid_from_ms, from_ms, "right")) - 1
        last = int(np.searchsorted(self.valid_from_ms, to_ms, "left"))
        return range(first, max(last, first + 1))


@dataclass(frozen=True, slots=True)
class FactorSet:
    """The rows that count together under one name."""

    name: str
    title: str
    title_zh: str
    allow_unverified: bool
    not_counted: Mapping[str, str]
    """Carrier -> why it is in no converted total (耗能工质)."""
    rows: Mapping[str, Factor] = field(repr=False)
    """By id."""

    def counts(self, carrier: str) -> bool:
        """Tell whether a carrier belongs into converted totals at all."""
        return carrier not in self.not_counted

    def why_not(self, row: Factor) -> str:
        """Return why a row of the set may not be applied; "" when it may."""
        if not self.counts(row.item):
            return f"{row.item}: {self.not_counted[row.item]}"
        if row.verified or self.allow_unverified:
            return ""
        return f"row {row.id} is not verified and set {self.name} takes verified rows only"

    def rows_for(self, carrier: str, unit: str, measure: Measure, region: str) -> Sequence[Factor]:
        """Return the rows for a carrier metered in `unit` in a region, by time, usable or not.

        Those of the narrowest region that has any.
        """
        rows = [
            row
            for row in self.rows.values()
            if (row.item, row.channel_unit, row.measure) == (carrier, unit, measure)
            and row.applies_to(region)
        ]
        narrowest = max((row.region for row in rows), key=_narrowness, default="")
        own = (row for row in rows if row.region == narrowest)
        return sorted(own, key=lambda row: row.valid_from_ms)

    def steps(
        self,
        carrier: str,
        unit: str,
        measure: Measure,
        region: str,
        analyses: Sequence[Analysis] = (),
    ) -> Steps:
        """Return the factor of a carrier metered in `unit` for a site in `region`, over time.

        The most specific region with rows answers alone: its gaps are not filled from a wider one.
        A measured calorific value makes the factor while it holds, the last of those that do.
        Coal is then what its heat is; CO2 needs the row's carbon, and keeps the row's own factor
        where the row does not say it.
        """
        steps = self._steps_of_rows(carrier, unit, measure, region)
        for analysis in analyses if self.counts(carrier) else ():
            steps = self._with(steps, analysis, measure)
        return steps

    def _with(self, steps: Steps, analysis: Analysis, measure: Measure) -> Steps:
        """Return steps with those in which an analysis holds made by it."""
        end_ms = analysis.valid_to_ms
        borders = {analysis.valid_from_ms} | (set() if end_ms is None else {end_ms})
        times = np.union1d(steps.valid_from_ms, np.array(sorted(borders), np.int64))
        old = np.searchsorted(steps.valid_from_ms, times, "right") - 1
        made: list[tuple[float, str, str, Analysis | None]] = []
        for time_ms, i in zip(times.tolist(), old.tolist(), strict=True):
            step = (float(steps.factor[i]), steps.row_ids[i], steps.reasons[i], steps.analyses[i])
            if analysis.valid_from_ms <= time_ms and (end_ms is None or time_ms < end_ms):
                row = self.rows.get(steps.row_ids[i])
                if measure is not Measure.CO2_KG:
                    step = (float(analysis.ncv_gj / KGCE_GJ), "", "", analysis)
                elif row is not None and row.burning is not None:
                    step = (float(row.burning.co2_kg(analysis.ncv_gj)), row.id, "", analysis)
            made.append(step)
        factors, ids, reasons, analyses = zip(*made, strict=True)
        return Steps(times, np.array(factors), ids, reasons, analyses)

    def _steps_of_rows(self, carrier: str, unit: str, measure: Measure, region: str) -> Steps:
        if not self.counts(carrier):
            return _no_steps(f"{carrier}: {self.not_counted[carrier]}")
        rows = self.rows_for(carrier, unit, measure, region)
        what = f"{measure} of {carrier} per {unit} in region {region}"
        if not rows:
            return _no_steps(f"set {self.name} has no factor for {what}")

        times, factors, ids, reasons = [BEGINNING_MS], [np.nan], [""], [""]
        reasons[0] = f"set {self.name} has no factor that early for {what}"
        for row in rows:
            times.append(row.valid_from_ms)
            reason = self.why_not(row)
            factors.append(np.nan if reason else float(row.per_unit))
            ids.append("" if reason else row.id)
            reasons.append(reason)
        if rows[-1].valid_to_ms is not None:
            times.append(rows[-1].valid_to_ms)
            factors.append(np.nan)
            ids.append("")
            reasons.append(f"row {rows[-1].id} has ended and no row of set {self.name} follows it")
        none = (None,) * len(times)
        return Steps(np.array(times, np.int64), np.array(factors), tuple(ids), tuple(reasons), none)


@dataclass(frozen=True, slots=True)
class FactorLibrary:
    """All rows and sets of the folders loaded."""

    rows: Mapping[str, Factor]
    sets: Mapping[str, FactorSet]

    def choose(self, name: str) -> FactorSet:
        """Return a set by name; FactorTableError names those there are."""
        if name not in self.sets:
            known = ", ".join(sorted(self.sets))
            raise FactorTableError([Problem("", "", "set", f"no set {name!r}; there are: {known}")])
        return self.sets[name]


def _narrowness(region: str) -> int:
    return 0 if region == NATIONAL else len(region)


def _no_steps(reason: str) -> Steps:
    return Steps(np.array([BEGINNING_MS], np.int64), np.array([np.nan]), ("",), (reason,), (None,))
