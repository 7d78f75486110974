"""Budgets, quotas, targets and output of the register, and what a unit of product took."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from aggregator.api.accounts import site_account
from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Format, Id, Shape, csv_response, find_site, find_sites, known
from aggregator.information import plan_rows, quota_rows
from aggregator.ledger.factors import Measure
from aggregator.periods import period_span
from aggregator.register.model import Indicator, Production, Register, Site
from contract.stored import PLAN, THE_REGION, Level


class PlanRow(Shape):
    """One value that figures are compared with, as it is stored for dashboards."""

    region: str
    site: str
    """`_region`: the region's; `_entity`: an entity's with several sites."""
    entity: str
    carrier: str
    """`_energy`: all that count."""
    kind: str
    indicator: str
    bound: str
    period: str
    """year, month, or empty: from `start_ms` on."""
    start_ms: int
    value: float
    unit: str
    source: str


class PlansQuery(Shape):
    """Parameters of /plans."""

    site: Id | None = None
    format: Format = "json"


class Limit(Shape):
    """One level of a quota."""

    level: str
    value: float
    unit: str
    source: str
    exceeded: bool | None
    """By the calorific figure; null when that is not determined."""


class UnitRow(Shape):
    """One product in one period: energy / output. Null with its reason where that says nothing."""

    site: str
    product: str
    product_zh: str
    period: str
    output: float
    unit: str
    energy_kgce_calorific: float | None
    energy_kgce_equivalent: float | None
    kgce_calorific_per_unit: float | None
    kgce_equivalent_per_unit: float | None
    measured_share: float | None
    reason: str
    quotas: tuple[Limit, ...]


class UnitQuery(Shape):
    """Parameters of /unit-consumption."""

    site: Id


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["register"])

    @router.get("/plans", response_model=list[PlanRow])
    def plans(query: Annotated[PlansQuery, Query()]) -> list[PlanRow] | Response:
        """List budgets, quotas, targets and output; those of a region stand with all its sites."""
        chosen = {(site.region, site.id) for site in find_sites(reader, query.site)}
        regions = {(region, THE_REGION) for region, _ in chosen}
        rows = [
            PlanRow.model_validate(
                dict(zip(PLAN.tags, tags, strict=True))
                | {"start_ms": at_ms}
                | {name: row[name] for name in ("value", "unit", "source")}
            )
            for tags, at_ms, row in plan_rows(reader.register, reader.now_ms())
            if query.site is None or (tags[0], tags[1]) in chosen | regions
        ]
        return csv_response(PlanRow, rows) if query.format == "csv" else rows

    @router.get("/unit-consumption")
    def unit_consumption(query: Annotated[UnitQuery, Query()]) -> tuple[UnitRow, ...]:
        """Divide a site's comprehensive energy by its output, for every period with output."""
        site = find_site(reader, query.site)
        return tuple(_unit_rows(reader, site))

    return router


def _unit_rows(reader: LedgerReader, site: Site) -> Iterator[UnitRow]:
    made = [row for row in reader.register.aims.production if row.site == site.id]
    for row in made:
        start_ms, end_ms = period_span(row.period)
        account = site_account(reader, site, Level.MONTH, start_ms, end_ms)
        calorific = account.total[Measure.KGCE_CALORIFIC]
        equivalent = account.total[Measure.KGCE_EQUIVALENT]
        reason = _why_not(row, made, calorific)
        product = reader.register.aims.products[row.product]

        def per_unit(kg: float, row: Production = row, reason: str = reason) -> float | None:
            return None if reason or math.isnan(kg) else kg / row.amount

        yield UnitRow(
            site=site.id,
            product=row.product,
            product_zh=product.name_zh,
            period=row.period,
            output=row.amount,
            unit=product.unit,
            energy_kgce_calorific=known(calorific),
            energy_kgce_equivalent=known(equivalent),
            kgce_calorific_per_unit=per_unit(calorific),
            kgce_equivalent_per_unit=per_unit(equivalent),
            measured_share=account.measured_share,
            reason=reason,
            quotas=tuple(_limits(reader.register, site, row, start_ms, per_unit(calorific))),
        )


def _why_not(row: Production, made: Sequence[Production], kg: float) -> str:
    if math.isnan(kg):
        return "no comprehensive energy is determined for the period"
    if row.amount == 0:
        return "nothing was made"
    others = {
        other.product
        for other in made
        if other.product != row.product
        and (other.period.startswith(row.period) or row.period.startswith(other.period))
    }
    if others:
        return f"the site's energy also made {', '.join(sorted(others))}"
    return ""


def _limits(
    register: Register, site: Site, row: Production, start_ms: int, per_unit: float | None
) -> Iterator[Limit]:
    for quota in register.aims.quotas:
        if quota.indicator is Indicator.ENERGY_PER_PRODUCT and quota.product == row.product:
            later = [
                other.valid_from_ms
                for other in register.aims.quotas
                if other.id == quota.id and quota.valid_from_ms < other.valid_from_ms <= start_ms
            ]
            if later or quota.valid_from_ms > start_ms:
                continue
            for _, _, limit in quota_rows(register, quota, site):
                exceeded = None if per_unit is None else per_unit > limit["value"]
                yield Limit(
                    level=limit["level"],
                    value=limit["value"],
                    unit=limit["unit"],
                    source=limit["source"],
                    exceeded=exceeded,
                )
