"""What a month cost in its parts: energy, demand charge, surcharge of tiered blocks.

Charges belong to a month, not to an interval: they are in no stored figure, are made when asked
for, and only for months that lie wholly in the period. Exact until they are shown.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aggregator.api.accounts import Span, figures_of, is_bought, spans_of
from aggregator.api.reader import LedgerReader
from aggregator.batch import IntervalColumns
from aggregator.ledger.charges import Blocks, DemandPrices
from aggregator.ledger.rows import date_of
from aggregator.ledger.tariffs import Tariff
from aggregator.periods import first_start, period_span
from aggregator.register.model import DemandBasis, DemandContract, Role, Site
from contract.interval import HOUR_MS, month_start, next_month
from contract.stored import Level
from contract.units import MICRO


@dataclass(frozen=True, slots=True)
class Metered:
    """Base intervals in which one meter counted what was bought."""

    meter: str
    rows: IntervalColumns


@dataclass(frozen=True, slots=True)
class DemandCharge:
    """A month's demand charge of one metering point (基本电费)."""

    meter: str
    contract: DemandContract | None
    prices: DemandPrices | None
    max_kw: Decimal | None
    """Largest demand of the intervals measured from end to end; None without any."""
    measured: int
    """Intervals measured from end to end."""
    expected: int
    cost_cny: Decimal | None
    reason: str
    """Why the cost is None."""


@dataclass(frozen=True, slots=True)
class BlockCharge:
    """A month's surcharge of tiered blocks (阶梯)."""

    blocks: Blocks | None
    before: Decimal
    """Used from New Year to the month's start, where blocks are a year's; in the tariff's unit."""
    shares: Sequence[Decimal]
    """Of the month's amount, by block."""
    cost_cny: Decimal | None
    reason: str


@dataclass(frozen=True, slots=True)
class MonthCost:
    """One month of one carrier. Parts are None when unknown, 0 where the tariff has none."""

    month_ms: int
    complete: bool
    """The month is over."""
    energy_cny: float | None
    demand: Sequence[DemandCharge]
    block: BlockCharge | None
    """None where the tariff has no blocks."""

    @property
    def demand_cny(self) -> float | None:
        """Sum over the metering points."""
        costs = [one.cost_cny for one in self.demand]
        return None if None in costs else float(sum(c for c in costs if c is not None))

    @property
    def surcharge_cny(self) -> float | None:
        """Of the blocks."""
        cost = Decimal(0) if self.block is None else self.block.cost_cny
        return None if cost is None else float(cost)

    @property
    def total_cny(self) -> float | None:
        """Return the sum of the parts."""
        parts = [self.energy_cny, self.demand_cny, self.surcharge_cny]
        return None if None in parts else math.fsum(part for part in parts if part is not None)


def months_within(from_ms: int, to_ms: int) -> Iterator[int]:
    """Yield the starts of the Beijing months that lie wholly in [from_ms, to_ms)."""
    month_ms = first_start(Level.MONTH, HOUR_MS, from_ms)
    while next_month(month_ms) <= to_ms:
        yield month_ms
        month_ms = next_month(month_ms)


def month_costs(
    reader: LedgerReader,
    site: Site,
    unit: str,
    tariff: Tariff,
    metered: Sequence[Metered],
    from_ms: int,
    to_ms: int,
) -> Iterator[MonthCost]:
    """Yield the months that lie wholly in [from_ms, to_ms).

    metered: what the site bought at the tariff in that time.
    """
    months = list(months_within(from_ms, to_ms))
    amounts = _amounts_before(reader, site, unit, tariff, months)
    for month_ms in months:
        own = [Metered(one.meter, _in_month(one.rows, month_ms)) for one in metered]
        own = [one for one in own if len(one.rows)]
        amounts[month_ms] = sum(int(one.rows.amount.sum()) for one in own)
        energy = math.fsum(float(one.rows.cost_cny.sum()) for one in own) if own else math.nan
        yield MonthCost(
            month_ms,
            next_month(month_ms) <= reader.now_ms(),
            None if math.isnan(energy) else energy,
            list(_demand(reader, site, tariff, own, month_ms)) if tariff.demand else (),
            _block(tariff, amounts, month_ms) if tariff.blocks else None,
        )


def _in_month(rows: IntervalColumns, month_ms: int) -> IntervalColumns:
    return rows.take((rows.start_ms >= month_ms) & (rows.start_ms < next_month(month_ms)))


# ------------------------------------------------------------------ demand


def _demand(
    reader: LedgerReader, site: Site, tariff: Tariff, metered: Sequence[Metered], month_ms: int
) -> Iterator[DemandCharge]:
    grid_ms = reader.grid_ms
    length_ms = min(next_month(month_ms), reader.now_ms()) - month_ms
    for meter in _points(reader, site, tariff, month_ms):
        own = [one.rows for one in metered if one.meter == meter]
        rows = IntervalColumns.concatenate([IntervalColumns.empty(), *own])
        rows = rows.take(rows.measured_ms == grid_ms)  # an estimated one sets no maximum
        max_kw = None
        if len(rows):
            max_kw = Decimal(int(rows.amount.max())) * HOUR_MS / (MICRO * grid_ms)
        contract = reader.register.contract(site.id, meter, month_ms)
        prices = tariff.demand_at(month_ms)
        cost: Decimal | None = None
        if isinstance(prices, str):
            reason = prices
        else:
            cost, reason = _priced(prices, contract, max_kw)
        yield DemandCharge(
            meter,
            contract,
            None if isinstance(prices, str) else prices,
            max_kw,
            len(rows),
            max(0, length_ms) // grid_ms,
            cost,
            reason,
        )


def _points(reader: LedgerReader, site: Site, tariff: Tariff, month_ms: int) -> Sequence[str]:
    """Return the meters through which a site buys in a month, whether they were read or not."""
    register, end_ms = reader.register, next_month(month_ms)
    times = [month_ms, *register.borders(site.id, month_ms, end_ms)]
    meters = [meter for time_ms in times for meter in register.meters(site.id, time_ms)]
    bought = (Role.BOUNDARY_IN, tariff.carrier)
    return sorted({meter.id for meter in meters if (meter.role, meter.carrier) == bought})


def _priced(
    prices: DemandPrices, contract: DemandContract | None, max_kw: Decimal | None
) -> tuple[Decimal | None, str]:
    """Return a month's charge, or None and why."""
    if contract is None:
        return None, "no row of demand_contracts.csv holds"
    if contract.basis is DemandBasis.CONTRACTED:
        price = prices.per_kva
        size = None if contract.contracted_kva is None else Decimal(str(contract.contracted_kva))
        name = "per_kva"
    else:
        price, size, name = prices.per_kw, max_kw, "per_kw"
    if price is None:
        return None, f"row {prices.id} has no {name}"
    if size is None:
        return None, "no interval of the month is measured from end to end"
    return price * size, ""


# ------------------------------------------------------------------ blocks


def _amounts_before(
    reader: LedgerReader, site: Site, unit: str, tariff: Tariff, months: Sequence[int]
) -> dict[int, int]:
    """Return what was bought in each month of the year before the first one [micro-units]."""
    if not months or not any(row.yearly for row in tariff.blocks):
        return {}
    new_year_ms = _new_year(months[0])
    from_ms, to_ms = new_year_ms, months[0]
    spans = [_bought(span, tariff.carrier, unit) for span in spans_of(reader, site, from_ms, to_ms)]
    figures = figures_of(reader, spans, Level.MONTH, from_ms, to_ms)
    found: dict[int, int] = {}
    for span in spans:
        for series, _ in span.terms:
            rows = span.of(figures, series)
            for start_ms, amount in zip(rows.start_ms.tolist(), rows.amount.tolist(), strict=True):
                month_ms = month_start(start_ms)
                found[month_ms] = found.get(month_ms, 0) + amount
    return found


def _bought(span: Span, carrier: str, unit: str) -> Span:
    terms = [
        (series, term)
        for series, term in span.terms
        if is_bought(term) and (term.carrier, term.unit) == (carrier, unit)
    ]
    return Span(span.start_ms, span.end_ms, span.meters, terms)


def _new_year(month_ms: int) -> int:
    return period_span(str(date_of(month_ms).year))[0]


def _block(tariff: Tariff, amounts: Mapping[int, int], month_ms: int) -> BlockCharge:
    blocks = tariff.blocks_at(month_ms)
    if isinstance(blocks, str):
        return BlockCharge(None, Decimal(0), (), None, blocks)
    new_year_ms = _new_year(month_ms) if blocks.yearly else month_ms
    before = tariff.amount(sum(a for m, a in amounts.items() if new_year_ms <= m < month_ms))
    amount = tariff.amount(amounts[month_ms])
    return BlockCharge(
        blocks, before, blocks.shares(before, amount), blocks.surcharge(before, amount), ""
    )
