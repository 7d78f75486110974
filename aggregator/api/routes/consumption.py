"""What sites consumed, by carrier: boundary in - boundary out + own generation."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response

from aggregator.api.accounts import CarrierAccount, SiteAccount, site_accounts
from aggregator.api.deductions import COAL, Deducted, net_of
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.api.shapes import (
    Amounts,
    Format,
    Id,
    LevelName,
    Period,
    Shape,
    check_rows,
    csv_response,
    find_sites,
    known,
    widened,
)
from aggregator.ledger.factors import Measure
from aggregator.periods import pieces
from aggregator.register.carriers import carriers
from aggregator.register.model import DeductionKind, Role, Site
from contract.stored import Level
from contract.units import to_micro


class CarrierRow(Shape):
    """One carrier of one site."""

    carrier: str
    carrier_zh: str
    counted: bool
    """False: a medium (耗能工质) outside converted totals."""
    consumption: Amounts
    estimated: Amounts
    """The part of the terms' amounts that was spread over gaps."""
    held: Amounts
    """Awaits a decision; in no other figure."""
    boundary_in: Amounts
    boundary_out: Amounts
    own_generation: Amounts
    conversion_in: Amounts
    conversion_out: Amounts
    kgce_calorific: float | None
    kgce_equivalent: float | None
    co2_kg: float | None
    cost_cny: float | None
    """What was bought, at the site's tariff; energy only, without demand charge."""


class Totals(Shape):
    """Over all counted carriers. Null when a carrier is undetermined, or nothing is known."""

    kgce_calorific: float | None
    kgce_equivalent: float | None
    co2_kg: float | None
    tce_calorific: float | None
    tce_equivalent: float | None
    co2_t: float | None
    cost_cny: float | None
    """Over everything bought, media too; null when something bought has no price."""


class DeductionRow(Shape):
    """A row of deductions.csv that touches the period."""

    carrier: str
    kind: str
    kind_zh: str
    period: str
    amount: Amounts
    document: str
    kgce_calorific: float | None
    kgce_equivalent: float | None
    deducted: bool
    reason: str | None
    """Why it is not deducted."""


class Net(Shape):
    """Standard coal less deductions; null when the gross, or what is deducted, has no figure."""

    kgce_calorific: float | None
    kgce_equivalent: float | None
    tce_calorific: float | None
    tce_equivalent: float | None


class UndeterminedRow(Shape):
    """Why a measure of a carrier is null."""

    carrier: str
    measure: str
    reason: str


class SiteConsumption(Shape):
    """One site."""

    site: str
    carriers: tuple[CarrierRow, ...]
    total: Totals
    """Gross: nothing is deducted."""
    deductions: tuple[DeductionRow, ...]
    net: Net
    """The total under dual control: without feedstock and certified new renewables."""
    net_for_intensity: Net
    """Without feedstock alone: renewables stay in the intensity."""
    measured_share: float | None
    """Time measured of the meters in the total, over all their time so far; 0 to 1."""
    undetermined: tuple[UndeterminedRow, ...]
    meters_without_data: tuple[str, ...]


class ConsumptionAnswer(Shape):
    """Consumption of each site from figures of one level that start in [from, to)."""

    level: LevelName
    from_ms: int
    to_ms: int
    factor_set: str
    not_applied: tuple[str, ...]
    """Sites asked for of which measures may be stored that were made with other factors, prices or
    measured values than are configured: until `nenghao factors apply`."""
    sites: tuple[SiteConsumption, ...]


class FlatRow(CarrierRow):
    """A line of the CSV table."""

    site: str


class ConsumptionQuery(Period):
    """Parameters of /consumption."""

    level: LevelName = "interval"
    site: Id | None = None
    format: Format = "json"


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["ledger"])

    @router.get("/consumption", response_model=ConsumptionAnswer, response_model_exclude_unset=True)
    def consumption(query: Annotated[ConsumptionQuery, Query()]) -> ConsumptionAnswer | Response:
        """Return what one site, or each, consumed (default: today)."""
        from_ms, to_ms = query.resolve(reader.now_ms())
        level = Level(query.level)
        sites = find_sites(reader, query.site)
        count = sum(len(cumulative(reader.series(site.id), site.region)) for site in sites)
        check_rows(level, reader.grid_ms, count, from_ms, to_ms)
        for site in sites:
            _check_parted(reader, site, level, from_ms, to_ms)
        accounts = list(site_accounts(reader, sites, level, from_ms, to_ms))
        if query.format == "csv":
            return csv_response(FlatRow, _flat(accounts))
        return ConsumptionAnswer(
            level=query.level,
            from_ms=from_ms,
            to_ms=to_ms,
            factor_set=reader.factor_set.name,
            not_applied=tuple(sorted({site.id for site in sites} & {*reader.not_applied})),
            sites=tuple(site_consumption(account) for account in accounts),
        )

    return router


def _check_parted(reader: LedgerReader, site: Site, level: Level, from_ms: int, to_ms: int) -> None:
    """Refuse a site whose register changes inside so many figures that too many are read."""
    borders = reader.register.borders(site.id, from_ms, to_ms)
    count = len(cumulative(reader.series(site.id), site.region))
    for one, start_ms, end_ms in pieces(level, reader.grid_ms, borders, from_ms, to_ms):
        if one is not level:
            check_rows(one, reader.grid_ms, count, start_ms, end_ms)


def site_consumption(account: SiteAccount) -> SiteConsumption:
    """Shape an account."""
    return SiteConsumption(
        site=account.site.id,
        carriers=tuple(_carrier(carrier) for carrier in account.carriers),
        total=totals(account),
        deductions=tuple(_deduction(one) for one in account.deductions),
        net=_net(account, *DeductionKind),
        net_for_intensity=_net(account, DeductionKind.FEEDSTOCK),
        measured_share=account.measured_share,
        undetermined=tuple(
            UndeterminedRow(carrier=u.carrier, measure=u.measure, reason=u.reason)
            for u in account.undetermined
        ),
        meters_without_data=tuple(account.without_data),
    )


_KIND_ZH = {
    DeductionKind.FEEDSTOCK: "原料用能",
    DeductionKind.RENEWABLE_CERTIFICATE: "新增可再生能源(绿证)",
}


def _deduction(one: Deducted) -> DeductionRow:
    return DeductionRow(
        carrier=one.row.carrier,
        kind=str(one.row.kind),
        kind_zh=_KIND_ZH[one.row.kind],
        period=one.row.period,
        amount=Amounts.of({one.unit: to_micro(one.row.amount)}),
        document=one.row.document,
        kgce_calorific=known(one.kgce[Measure.KGCE_CALORIFIC]),
        kgce_equivalent=known(one.kgce[Measure.KGCE_EQUIVALENT]),
        deducted=not one.reason,
        reason=one.reason or None,
    )


def _net(account: SiteAccount, *kinds: DeductionKind) -> Net:
    net = net_of(account.total, account.deductions, *kinds)
    calorific, equivalent = (known(net[measure]) for measure in COAL)
    return Net(
        kgce_calorific=calorific,
        kgce_equivalent=equivalent,
        tce_calorific=_tonnes(calorific),
        tce_equivalent=_tonnes(equivalent),
    )


def totals(account: SiteAccount) -> Totals:
    """Shape the totals, in kg and in t."""
    calorific, equivalent, co2 = (
        known(account.total[measure])
        for measure in (Measure.KGCE_CALORIFIC, Measure.KGCE_EQUIVALENT, Measure.CO2_KG)
    )
    return Totals(
        kgce_calorific=calorific,
        kgce_equivalent=equivalent,
        co2_kg=co2,
        tce_calorific=_tonnes(calorific),
        tce_equivalent=_tonnes(equivalent),
        co2_t=_tonnes(co2),
        cost_cny=known(account.cost_cny),
    )


def _carrier(account: CarrierAccount) -> CarrierRow:
    def role(name: Role) -> Amounts:
        return Amounts.of(account.by_role.get(name, {}))

    def kg(measure: Measure) -> float | None:
        return known(account.kg.get(measure, math.nan))

    return CarrierRow(
        carrier=account.carrier,
        carrier_zh=carriers()[account.carrier].name_zh,
        counted=account.counted,
        consumption=Amounts.of(account.consumption),
        estimated=Amounts.of(account.estimated),
        held=Amounts.of(account.held),
        boundary_in=role(Role.BOUNDARY_IN),
        boundary_out=role(Role.BOUNDARY_OUT),
        own_generation=role(Role.OWN_GENERATION),
        conversion_in=role(Role.CONVERSION_IN),
        conversion_out=role(Role.CONVERSION_OUT),
        kgce_calorific=kg(Measure.KGCE_CALORIFIC),
        kgce_equivalent=kg(Measure.KGCE_EQUIVALENT),
        co2_kg=kg(Measure.CO2_KG),
        cost_cny=None if account.cost_cny is None else known(account.cost_cny),
    )


def _flat(accounts: Sequence[SiteAccount]) -> Iterator[FlatRow]:
    for account in accounts:
        for carrier in account.carriers:
            yield widened(FlatRow, _carrier(carrier), site=account.site.id)


def _tonnes(kg: float | None) -> float | None:
    return None if kg is None else kg / 1000
