"""Adds up what a site consumed in a period, by the roles of its meters.

Rules: `aggregator.register.roles`. A role holds for the intervals that start while it is in force.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import numpy as np

from aggregator.analyses import analyses_of
from aggregator.api.deductions import Deducted, deductions_of
from aggregator.api.reader import LedgerReader, by_channel
from aggregator.batch import IntervalColumns
from aggregator.ledger.factors import Measure
from aggregator.periods import first_start, pieces
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.register.roles import Term, terms
from contract.stored import Level

Amounts = Mapping[str, int]
"""Unit -> int micro-units."""

COST = "cost_cny"

_AT_ONCE = 200_000
"""Base intervals that are read at once."""
_TOTAL_ROLES = (Role.BOUNDARY_IN, Role.BOUNDARY_OUT, Role.OWN_GENERATION)


@dataclass(slots=True)
class CarrierAccount:
    """One carrier of one site. Amounts in micro-units by unit; kg by measure, NaN when unknown."""

    carrier: str
    counted: bool
    """False: a medium (耗能工质) that the factor set keeps out of converted totals."""
    consumption: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    estimated: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    held: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    by_role: dict[Role, dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    kg: dict[Measure, float] = field(default_factory=dict)
    bought: set[str] = field(default_factory=set)
    """Units of what was bought."""
    cost_cny: float | None = None
    """What was bought, at the site's tariff; NaN when unknown, None when nothing was bought."""


@dataclass(frozen=True, slots=True)
class Undetermined:
    """A measure that could not be made for a carrier, and why."""

    carrier: str
    measure: str
    """`Measure` or `cost_cny`."""
    reason: str


@dataclass(frozen=True, slots=True)
class SiteAccount:
    """A site's consumption over a period."""

    site: Site
    carriers: Sequence[CarrierAccount]
    total: Mapping[Measure, float]
    """kg over all counted carriers with figures; NaN without any, or when one is undetermined."""
    cost_cny: float
    """Over all carriers bought; NaN without any, or when one has no price."""
    measured_share: float | None
    """Measured time of the meters that make the total, over all their time; None without any."""
    undetermined: Sequence[Undetermined]
    without_data: Sequence[str]
    """Meters that belong into the total and have no figure in the period."""
    deductions: Sequence[Deducted] = ()
    """Rows of the register that touch the period; `total` is gross."""


def site_account(
    reader: LedgerReader, site: Site, level: Level, from_ms: int, to_ms: int
) -> SiteAccount:
    """Return what a site consumed in [from_ms, to_ms), from figures of a level that start in it."""
    return next(site_accounts(reader, [site], level, from_ms, to_ms))


def site_accounts(
    reader: LedgerReader, sites: Sequence[Site], level: Level, from_ms: int, to_ms: int
) -> Iterator[SiteAccount]:
    """Yield what each site consumed; figures of many sites are read at once."""
    from_ms, to_ms = (first_start(level, reader.grid_ms, time_ms) for time_ms in (from_ms, to_ms))
    most = max(1, _AT_ONCE * reader.grid_ms // max(reader.grid_ms, to_ms - from_ms))
    together: list[tuple[Site, Sequence[Span]]] = []
    series = 0
    for site in sites:
        spans = spans_of(reader, site, from_ms, to_ms)
        together.append((site, spans))
        series += sum(len(span.terms) for span in spans)
        if series >= most:
            yield from _accounts(reader, together, level, from_ms, to_ms)
            together, series = [], 0
    yield from _accounts(reader, together, level, from_ms, to_ms)


def _accounts(
    reader: LedgerReader,
    together: "Sequence[tuple[Site, Sequence[Span]]]",
    level: Level,
    from_ms: int,
    to_ms: int,
) -> Iterator[SiteAccount]:
    """Yield the accounts of some sites: where no border parts a figure, of figures read once."""
    whole = [span for _, spans in together if len(spans) == 1 for span in spans]
    read = figures_of(reader, whole, level, from_ms, to_ms)
    for site, spans in together:
        figures = read if len(spans) == 1 else figures_of(reader, spans, level, from_ms, to_ms)
        yield _deducted(reader, site, spans, figures, from_ms, to_ms)


def _deducted(
    reader: LedgerReader,
    site: Site,
    spans: "Sequence[Span]",
    figures: IntervalColumns,
    from_ms: int,
    to_ms: int,
) -> SiteAccount:
    account = account_of(reader, site, spans, figures, from_ms, to_ms)

    @cache
    def within(start_ms: int, end_ms: int) -> Mapping[str, CarrierAccount]:
        inside = [span.cut(start_ms, end_ms) for span in spans]
        return by_carrier(account_of(reader, site, inside, figures, start_ms, end_ms))

    rows = reader.register.deductions.get(site.id, ())
    found = deductions_of(rows, from_ms, to_ms, within)
    return replace(account, deductions=found)


def figures_of(
    reader: LedgerReader, spans: "Sequence[Span]", level: Level, from_ms: int, to_ms: int
) -> IntervalColumns:
    """Return the figures of the spans' terms that start in [from_ms, to_ms), by (series, start).

    A figure inside which a row of the register takes effect is read as shorter ones.
    """
    series = sorted({series for span in spans for series, _ in span.terms})
    borders = {span.start_ms for span in spans} - {from_ms}
    read = [
        reader.figures(one, series, start_ms, end_ms)
        for one, start_ms, end_ms in pieces(level, reader.grid_ms, borders, from_ms, to_ms)
    ]
    figures = IntervalColumns.concatenate([IntervalColumns.empty(), *read])
    return figures.take(np.lexsort((figures.start_ms, figures.series)))


def by_carrier(account: SiteAccount) -> Mapping[str, CarrierAccount]:
    """Return the carriers of an account by id."""
    return {carrier.carrier: carrier for carrier in account.carriers}


def account_of(
    reader: LedgerReader,
    site: Site,
    spans: "Sequence[Span]",
    figures: IntervalColumns,
    from_ms: int,
    to_ms: int,
    counts: Callable[[str], bool] | None = None,
) -> SiteAccount:
    """Add up figures, sorted by series, by the terms of the spans in which they start.

    counts: which carriers enter converted totals; as the factor set says when not given.
    """
    account = _Account(reader, counts or reader.factor_set.counts)
    until_ms = min(to_ms, reader.now_ms())
    for span in spans:
        for one, term in span.terms:
            account.add(term, span.of(figures, one))
        account.expect(span.meters, max(0, min(span.end_ms, until_ms) - span.start_ms))
    return account.close(site, from_ms, to_ms)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which one set of the register's rows holds for a site."""

    start_ms: int
    end_ms: int
    meters: Sequence[Meter]
    terms: Sequence[tuple[int, Term]]
    """Series and what it is to the site."""

    def cut(self, from_ms: int, to_ms: int) -> "Span":
        """Return the part of it in [from_ms, to_ms); it may be empty."""
        start_ms = min(max(self.start_ms, from_ms), to_ms)
        return replace(self, start_ms=start_ms, end_ms=max(start_ms, min(self.end_ms, to_ms)))

    def of(self, figures: IntervalColumns, series: int) -> IntervalColumns:
        """Return the figures of one series in this time, of figures by (series, start)."""
        low, high = _span_of(figures, series)
        starts = figures.start_ms[low:high]
        first, last = low + np.searchsorted(starts, [self.start_ms, self.end_ms])
        return figures.take(slice(first, last))


def spans_of(reader: LedgerReader, site: Site, from_ms: int, to_ms: int) -> Sequence[Span]:
    """Return the spans that make up [from_ms, to_ms)."""
    series = by_channel(reader, site)
    channels: dict[str, set[str]] = defaultdict(set)
    for meter, channel in series:
        channels[meter].add(channel)
    register = reader.register
    borders = [from_ms, *register.borders(site.id, from_ms, to_ms), to_ms]
    spans = []
    for start_ms, end_ms in pairwise(borders):
        meters = register.meters(site.id, start_ms)
        found = [(series[term.meter, term.channel], term) for term in terms(meters, channels)]
        spans.append(Span(start_ms, end_ms, meters, found))
    return spans


class _Account:
    def __init__(self, reader: LedgerReader, counts: Callable[[str], bool]) -> None:
        self._reader = reader
        self._counts = counts
        self._carriers: dict[str, CarrierAccount] = {}
        self._metered: dict[str, set[tuple[str, str]]] = defaultdict(set)
        """Meters of a carrier, with their units."""
        self._expected_ms = 0
        self._measured_ms = 0
        self._wanted: set[str] = set()
        self._with_data: set[str] = set()

    def expect(self, meters: Sequence[Meter], length_ms: int) -> None:
        """Note which meters make the total, and for how long they should have been measured."""
        wanted = {meter.id for meter in meters if meter.role in _TOTAL_ROLES}
        self._wanted |= wanted
        self._expected_ms += len(wanted) * length_ms

    def add(self, term: Term, rows: IntervalColumns) -> None:
        """Add the figures of one term."""
        if len(rows) == 0:
            return
        carrier = self._carriers.setdefault(
            term.carrier, CarrierAccount(term.carrier, self._counts(term.carrier))
        )
        amount = int(rows.amount.sum())
        carrier.by_role[term.role][term.unit] += term.direction * amount
        if term.consumption:
            self._metered[term.carrier].add((term.meter, term.unit))
            carrier.consumption[term.unit] += term.consumption * amount
            carrier.estimated[term.unit] += int(rows.amount_estimated.sum())
            carrier.held[term.unit] += int(rows.amount_held.sum())
            self._with_data.add(term.meter)
            if term.direction > 0:
                self._measured_ms += int(rows.measured_ms.sum())
            if is_bought(term):
                carrier.bought.add(term.unit)
                carrier.cost_cny = (carrier.cost_cny or 0.0) + float(rows.cost_cny.sum())
            if carrier.counted:
                for measure in Measure:
                    sign = term.in_total(measure)
                    kg = float(getattr(rows, measure).sum()) if sign else 0.0
                    carrier.kg[measure] = carrier.kg.get(measure, 0.0) + sign * kg

    def close(self, site: Site, from_ms: int, to_ms: int) -> SiteAccount:
        """Return the whole."""
        carriers = sorted(self._carriers.values(), key=lambda carrier: carrier.carrier)
        parts = {m: [c.kg[m] for c in carriers if m in c.kg] for m in Measure}
        total = {m: math.fsum(kg) if kg else math.nan for m, kg in parts.items()}
        costs = [c.cost_cny for c in carriers if c.cost_cny is not None]
        cost = math.fsum(costs) if costs else math.nan
        undetermined = [
            Undetermined(c.carrier, measure, self._reason(c.carrier, measure, site, from_ms, to_ms))
            for c in carriers
            for measure, kg in c.kg.items()
            if math.isnan(kg)
        ]
        undetermined += [
            Undetermined(c.carrier, COST, self._why_no_price(c, site, from_ms, to_ms))
            for c in carriers
            if c.cost_cny is not None and math.isnan(c.cost_cny)
        ]
        share = min(1.0, self._measured_ms / self._expected_ms) if self._expected_ms else None
        without = sorted(self._wanted - self._with_data)
        return SiteAccount(site, carriers, total, cost, share, undetermined, without)

    def _why_no_price(self, account: CarrierAccount, site: Site, from_ms: int, to_ms: int) -> str:
        for unit in sorted(account.bought):
            reason = self._reader.tariffs.why_not(site.id, account.carrier, unit, from_ms, to_ms)
            if reason:
                return reason
        return "stored without a price; the tariff has one now"

    def _reason(self, carrier: str, measure: Measure, site: Site, from_ms: int, to_ms: int) -> str:
        for meter, unit in sorted(self._metered[carrier]):
            analyses = analyses_of(self._reader.register, site.id, meter, carrier)
            steps = self._reader.factor_set.steps(carrier, unit, measure, site.region, analyses)
            for i in steps.between(from_ms, to_ms):
                if steps.reasons[i]:
                    return steps.reasons[i]
        return "stored without a factor; the factor set has one now"


def is_bought(term: Term) -> bool:
    """Tell whether a term counts what its site pays for: the forward amount of a boundary meter."""
    return term.in_total(COST) > 0


def of_series(rows: IntervalColumns, series: int) -> IntervalColumns:
    """Return the rows of one series, of rows sorted by series."""
    return rows.take(slice(*_span_of(rows, series)))


def _span_of(rows: IntervalColumns, series: int) -> tuple[int, int]:
    """Return first and last + 1 of a series' rows, of rows sorted by series."""
    # of the column's own type: any other is a copy of the whole column
    low, high = np.searchsorted(rows.series, np.array([series, series + 1], rows.series.dtype))
    return int(low), int(high)


def edges_of(register: Register, site: str, at_ms: int) -> set[str]:
    """Return the edges that the register names for a site's meters."""
    return {meter.edge for meter in register.meters(site, at_ms) if meter.edge}
