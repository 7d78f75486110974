"""What sites paid for what they bought, by period of their tariff (尖峰平谷深谷)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Response

from aggregator.api.accounts import Span, is_bought, spans_of
from aggregator.api.month_costs import (
    BlockCharge,
    DemandCharge,
    Metered,
    MonthCost,
    month_costs,
    months_within,
)
from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import (
    Amounts,
    Format,
    Id,
    Period,
    Shape,
    check_rows,
    csv_response,
    find_sites,
    known,
    widened,
)
from aggregator.batch import IntervalColumns
from aggregator.ledger.tariffs import NO_PERIOD, PERIODS, Tariff
from aggregator.periods import month_text
from aggregator.register.carriers import carriers
from aggregator.register.model import Site
from aggregator.register.roles import Term
from contract.stored import Level


class CostRow(Shape):
    """One period of one tariff; `period` null: bought while no row of a calendar holds."""

    period: str | None
    period_zh: str | None
    amount: Amounts
    """All that is booked; the cost is of this."""
    amount_estimated: Amounts
    amount_held: Amounts
    """Awaits a decision; in no cost."""
    cost_cny: float | None


class DemandRow(Shape):
    """A month's demand charge of one metering point."""

    meter: str
    basis: str | None
    """contracted: by contracted_kva; measured: by max_kw. Null: no row of demand_contracts.csv."""
    contracted_kva: float | None
    max_kw: float | None
    """Of the intervals measured from end to end."""
    measured_intervals: int
    expected_intervals: int
    """Of the month so far. More than measured: a larger demand may have gone unseen."""
    row_id: str | None
    verified: bool | None
    cost_cny: float | None
    reason: str | None


class BlockRow(Shape):
    """The part of a month's amount in one tiered block."""

    above: float
    """In the unit of the tariff's price."""
    surcharge: float
    """CNY per that unit."""
    amount: float
    """In that unit."""


class BlockAnswer(Shape):
    """A month's surcharge of tiered blocks."""

    row_id: str | None
    verified: bool | None
    per: str | None
    """month or year: from when on amounts are counted."""
    amount_before: float
    """Counted before the month."""
    blocks: tuple[BlockRow, ...]
    cost_cny: float | None
    reason: str | None


class MonthRow(Shape):
    """A month's cost in its parts; null when unknown, 0 where the tariff has no such part."""

    month: str
    complete: bool
    """The month is over; else the figures are those so far."""
    energy_cny: float | None
    demand_cny: float | None
    surcharge_cny: float | None
    total_cny: float | None
    demand: tuple[DemandRow, ...]
    block: BlockAnswer | None
    """Null where the tariff has no blocks."""


class CarrierCost(Shape):
    """What a site bought of one carrier, counted in one unit."""

    carrier: str
    carrier_zh: str
    tariff: str | None
    tariff_title: str | None
    verified: bool | None
    """Whether all rows of calendar and prices that hold in the period were verified."""
    row_ids: tuple[str, ...]
    """Rows of calendar and prices that hold in the period."""
    periods: tuple[CostRow, ...]
    """Dearest period first; only those in which something was bought."""
    cost_cny: float | None
    """Of the energy in the intervals: the sum of the periods."""
    reason: str | None
    """Why the cost is null."""
    months: tuple[MonthRow, ...]
    """Of the months that lie wholly in the period: what is paid by the month too."""


class SiteCost(Shape):
    """One site."""

    site: str
    carriers: tuple[CarrierCost, ...]


class CostAnswer(Shape):
    """Cost of energy bought in intervals that start in [from, to), and of whole months in parts."""

    from_ms: int
    to_ms: int
    sites: tuple[SiteCost, ...]


class FlatRow(CostRow):
    """A line of the CSV table."""

    site: str
    carrier: str
    tariff: str | None


class CostQuery(Period):
    """Parameters of /cost."""

    site: Id | None = None
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["ledger"])

    @router.get("/cost", response_model=CostAnswer, response_model_exclude_unset=True)
    def cost(query: Annotated[CostQuery, Query()]) -> CostAnswer | Response:
        """Return amounts and cost by period of the tariff (default: today)."""
        from_ms, to_ms = query.resolve(reader.now_ms())
        sites = find_sites(reader, query.site)
        count = sum(len(_bought(reader, site, from_ms, to_ms)) for site in sites)
        check_rows(Level.INTERVAL, reader.grid_ms, count, from_ms, to_ms)
        found = tuple(
            SiteCost(site=site.id, carriers=tuple(_costs(reader, site, from_ms, to_ms)))
            for site in sites
        )
        if query.format == "csv":
            return csv_response(FlatRow, _flat(found))
        return CostAnswer(from_ms=from_ms, to_ms=to_ms, sites=found)

    return router


def _bought(
    reader: LedgerReader, site: Site, from_ms: int, to_ms: int
) -> Sequence[tuple[Span, int, Term]]:
    """Return (span, series, term) of what the site buys."""
    return [
        (span, series, term)
        for span in spans_of(reader, site, from_ms, to_ms)
        for series, term in span.terms
        if is_bought(term)
    ]


def _costs(reader: LedgerReader, site: Site, from_ms: int, to_ms: int) -> Iterator[CarrierCost]:
    bought = _bought(reader, site, from_ms, to_ms)
    indexes = list({series for _, series, _ in bought})
    figures = reader.figures(Level.INTERVAL, indexes, from_ms, to_ms)
    parts: dict[tuple[str, str], list[Metered]] = defaultdict(list)
    for span, series, term in bought:
        rows = span.of(figures, series)
        if len(rows):
            parts[term.carrier, term.unit].append(Metered(term.meter, rows))
    for thing, one in reader.tariffs.of(site.id).items():
        if one.demand and any(months_within(from_ms, to_ms)):
            parts.setdefault(thing, [])  # a demand charge is paid for a silent meter too
    for (carrier, unit), some in sorted(parts.items()):
        tariff = reader.tariffs.find(site.id, carrier, unit)
        rows = IntervalColumns.concatenate([IntervalColumns.empty(), *(one.rows for one in some)])
        months: Iterator[MonthCost] = iter(())
        if tariff is not None:
            months = month_costs(reader, site, unit, tariff, some, from_ms, to_ms)
        total = known(float(rows.cost_cny.sum())) if some else None
        reason = None if some else "nothing was read in the period"
        if some and total is None:
            reason = reader.tariffs.why_not(site.id, carrier, unit, from_ms, to_ms)
            reason = reason or "stored without a price; the tariff has one now"
        applied = [] if tariff is None else tariff.rows(from_ms, to_ms)
        yield CarrierCost(
            carrier=carrier,
            carrier_zh=carriers()[carrier].name_zh,
            tariff=None if tariff is None else tariff.name,
            tariff_title=None if tariff is None else tariff.title,
            verified=None if tariff is None else all(row.verified for row in applied),
            row_ids=tuple(row.id for row in applied),
            periods=tuple(_periods(rows, tariff, unit, from_ms, to_ms)),
            cost_cny=total,
            reason=reason,
            months=tuple(_month(month) for month in months),
        )


def _month(found: MonthCost) -> MonthRow:
    return MonthRow(
        month=month_text(found.month_ms),
        complete=found.complete,
        energy_cny=found.energy_cny,
        demand_cny=found.demand_cny,
        surcharge_cny=found.surcharge_cny,
        total_cny=found.total_cny,
        demand=tuple(_demand(one) for one in found.demand),
        block=None if found.block is None else _block(found.block),
    )


def _demand(one: DemandCharge) -> DemandRow:
    return DemandRow(
        meter=one.meter,
        basis=None if one.contract is None else str(one.contract.basis),
        contracted_kva=None if one.contract is None else one.contract.contracted_kva,
        max_kw=_shown(one.max_kw),
        measured_intervals=one.measured,
        expected_intervals=one.expected,
        row_id=None if one.prices is None else one.prices.id,
        verified=None if one.prices is None else one.prices.verified,
        cost_cny=_shown(one.cost_cny),
        reason=one.reason or None,
    )


def _block(one: BlockCharge) -> BlockAnswer:
    rows = () if one.blocks is None else one.blocks.blocks
    return BlockAnswer(
        row_id=None if one.blocks is None else one.blocks.id,
        verified=None if one.blocks is None else one.blocks.verified,
        per=None if one.blocks is None else "year" if one.blocks.yearly else "month",
        amount_before=float(one.before),
        blocks=tuple(
            BlockRow(above=float(row.above), surcharge=float(row.surcharge), amount=float(share))
            for row, share in zip(rows, one.shares, strict=True)
        ),
        cost_cny=_shown(one.cost_cny),
        reason=one.reason or None,
    )


def _shown(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _periods(
    rows: IntervalColumns, tariff: Tariff | None, unit: str, from_ms: int, to_ms: int
) -> Iterator[CostRow]:
    period = np.full(len(rows), NO_PERIOD, np.int8)
    if tariff is not None:
        period = tariff.steps(from_ms, to_ms).period_of(rows.start_ms)
    for index in (*range(len(PERIODS)), NO_PERIOD):
        chosen = rows.take(period == index)
        if len(chosen):
            name = None if index == NO_PERIOD else PERIODS[index]
            yield CostRow(
                period=None if name is None else str(name),
                period_zh=None if name is None else name.name_zh,
                amount=Amounts.of({unit: int(chosen.amount.sum())}),
                amount_estimated=Amounts.of({unit: int(chosen.amount_estimated.sum())}),
                amount_held=Amounts.of({unit: int(chosen.amount_held.sum())}),
                cost_cny=known(float(chosen.cost_cny.sum())),
            )


def _flat(sites: Sequence[SiteCost]) -> Iterator[FlatRow]:
    for site in sites:
        for carrier in site.carriers:
            for row in carrier.periods:
                yield widened(
                    FlatRow, row, site=site.site, carrier=carrier.carrier, tariff=carrier.tariff
                )
