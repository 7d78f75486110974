"""Keeps in the store what dashboards must know of the register: names, attributes, plans, factors.

A site at a time, at the start, at every Beijing midnight (rows are dated) and when an edge tells of
other meters. Only what differs is written; what the register says no longer stays, not `listed`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from aggregator.changed import Row, changed
from aggregator.factor_rows import FactorRows
from aggregator.ledger.factors import FactorSet
from aggregator.periods import period_span
from aggregator.points import Points, Tags
from aggregator.register.carriers import carriers
from aggregator.register.limits import carrier_of
from aggregator.register.model import Indicator, Measure, Meter, Quota, Register, Scope, Site
from aggregator.store.base import CommitResult, Store
from contract.channels import catalogue
from contract.interval import day_start
from contract.meta import Meta
from contract.stored import (
    ENERGY,
    FACTOR_INFO,
    INFO_TIME_MS,
    METER_INFO,
    NAMES,
    NODE_INFO,
    PLAN,
    SEVERAL,
    THE_REGION,
    TOTAL,
    Measurement,
    choice,
)
from contract.topics import Address

_ALL_TIME_MS = 2**62
_CARRIERS = {
    Indicator.ELECTRICITY_PER_AREA: "electricity",
    Indicator.WATER_PER_PERSON: "water",
    Indicator.POWER_USAGE_EFFECTIVENESS: "electricity",
}
_UNITS = {
    Indicator.ENERGY_PER_AREA: "kgce/m2",
    Indicator.HEATING_PER_AREA: "kgce/m2",
    Indicator.ENERGY_PER_PERSON: "kgce",
    Indicator.ELECTRICITY_PER_AREA: "kWh/m2",
    Indicator.WATER_PER_PERSON: "m3",
    Indicator.POWER_USAGE_EFFECTIVENESS: "1",
}

_UNIT_OF = {Measure.CALORIFIC: "tce", Measure.EQUIVALENT: "tce", Measure.CO2: "t CO2"}


class Information:
    """Writes `node_info`, `meter_info`, `names`, `factor_info` and `plan`.

    In the thread that writes the store.
    """

    def __init__(
        self,
        store: Store,
        register: Register,
        factor_set: FactorSet,
        time_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._register = register
        self._factors = FactorRows(store.directory, register, factor_set)
        self._time_ms = time_ms
        self._told: dict[tuple[str, str, str], tuple[str, str]] = {}
        """(region, site, meter) -> serial and model as its edge says."""
        self._edges: dict[tuple[str, str], set[str]] = {}
        """By place, those that have spoken: their alarms must find a name, registered or not."""
        self._due: deque[tuple[str, str] | None] = deque()
        """(region, site); None: what is no site's."""
        self._day_ms: int | None = None

    def tell(self, address: Address, meta: Meta) -> None:
        """Take what an edge says of its meters."""
        place = address.region, address.site
        for meter in meta.meters:
            self._told[*place, meter.id] = meter.serial, meter.model
        self._edges.setdefault(place, set()).add(address.edge)
        if self._day_ms is not None and place not in self._due:
            self._due.append(place)

    def hear(self, address: Address) -> None:
        """Take that an edge has spoken."""
        place = address.region, address.site
        if address.edge not in self._edges.setdefault(place, set()):
            self._edges[place].add(address.edge)
            if self._day_ms is not None and place not in self._due:
                self._due.append(place)

    def keep(self) -> CommitResult | None:
        """Write one site's part of what is due; None when nothing is."""
        today_ms = day_start(self._time_ms())
        if self._factors.grown() and None not in self._due:
            self._due.append(None)
        if self._day_ms != today_ms:
            known = {(site.region, site.id) for site in self._register.sites.values()}
            stored = self._store.points(NODE_INFO, INFO_TIME_MS, INFO_TIME_MS + 1).keys
            known |= {(tags[0], tags[1]) for tags in stored if tags[1] != THE_REGION}
            known |= self._edges.keys()
            self._due = deque([None, *sorted(known)])
            self._day_ms = today_ms
        if not self._due:
            return None
        place = self._due[0]
        if place is None:
            now_ms = self._time_ms()
            found = self._differing(NODE_INFO, region_rows(self._register), site=THE_REGION)
            found += self._differing(PLAN, plan_rows(self._register, now_ms))
            found += self._differing(FACTOR_INFO, self._factors.rows())
        else:
            at_ms, (region, site_id) = self._time_ms(), place
            site = self._register.sites.get(site_id)
            ours = site is not None and site.region == region
            nodes = list(node_rows(self._register, site, at_ms)) if site and ours else []
            meters = self._register.meters(site_id, at_ms) if ours else ()
            found = self._differing(NODE_INFO, nodes, region=region, site=site_id)
            rows = [self._meter(region, meter) for meter in meters]
            found += self._differing(METER_INFO, rows, region=region, site=site_id)
            names = self._names(place, site if ours else None, meters)
            found += self._differing(NAMES, names, region=region, site=site_id)
        results = [self._store.write_points(points) for points in found]
        self._due.popleft()
        return CommitResult(
            0,
            sum(result.intervals for result in results),
            tuple(line for result in results for line in result.refused),
        )

    def _meter(self, region: str, meter: Meter) -> Row:
        serial, model = self._told.get((region, meter.site, meter.id), ("", ""))
        return (
            (region, meter.site, meter.id),
            INFO_TIME_MS,
            {
                "listed": 1,
                "multiplier": meter.multiplier,
                "calibration_due_ms": _date_ms(meter.calibration_due),
                "name_zh": meter.note or meter.id,
                "choice_zh": choice(meter.note or meter.id, meter.id),
                "carrier": meter.carrier,
                "role": str(meter.role),
                "parent": meter.parent,
                "node": meter.node,
                "serial": meter.serial or serial,
                "model": model,
                "accuracy_class": meter.accuracy_class,
                "edge": meter.edge,
            },
        )

    def _names(
        self, place: tuple[str, str], site: Site | None, meters: Iterable[Meter]
    ) -> Iterator[Row]:
        """Yield the names of a site, registered or not, as rules find them for it and its edges."""
        id_ = place[1]
        own = (site.name_zh or id_, site.name_en or id_) if site else (id_, id_)
        edges = {meter.edge for meter in meters} | self._edges.get(place, set())
        for edge in sorted({"", *edges} if site else edges):
            yield (*place, edge, *own), INFO_TIME_MS, {"listed": 1}

    def _differing(self, of: Measurement, rows: Iterable[Row], **where: str) -> list[Points]:
        """Return what must be written for a part of a measurement to say these rows."""
        chosen = {tag: [value] for tag, value in where.items()}
        low_ms, high_ms = (-_ALL_TIME_MS, _ALL_TIME_MS) if of is PLAN else (0, INFO_TIME_MS + 1)
        points = changed(self._store.points(of, low_ms, high_ms, chosen), rows, {"listed": 0})
        return [points] if len(points) else []


def region_rows(register: Register) -> Iterator[Row]:
    """Yield the info of regions that are told, or have sites."""
    parents = {region.id: region.parent for region in register.regions.values()}
    for id_ in sorted({*parents, *(site.region for site in register.sites.values())}):
        region = register.regions.get(id_)
        names = (region.name_zh, region.name_en) if region else (id_, id_)
        yield _info((id_, THE_REGION, TOTAL), *names, "region", "", parents.get(id_, ""))


def node_rows(register: Register, site: Site, at_ms: int) -> Iterator[Row]:
    """Yield the info of a site and of its nodes in force."""
    entity = register.entities.get(site.entity)
    own: dict[str, Any] = {
        "floor_area_m2": site.floor_area_m2,
        "heated_area_m2": site.heated_area_m2,
        "headcount": None if site.headcount is None else float(site.headcount),
        "latitude": site.latitude,
        "longitude": site.longitude,
        "entity": site.entity,
        "entity_zh": entity.name_zh if entity else "",
        "key_unit": str(entity.key_unit or "") if entity else "",
        "two_highs": str(site.two_highs or ""),
        "climate_zone": site.climate_zone,
    }
    tags, names = (site.region, site.id, TOTAL), (site.name_zh, site.name_en)
    yield _info(tags, *names, "site", site.sector, THE_REGION, **own)
    for node in register.nodes_of(site.id, at_ms):
        yield _info(
            (site.region, site.id, node.id),
            node.name_zh,
            node.name_en,
            str(node.sub_item or "system"),
            site.sector,
            node.parent or TOTAL,
        )


def _info(
    tags: Tags, name_zh: str, name_en: str, kind: str, sector: str, parent: str, **more: Any
) -> Row:
    texts = dict.fromkeys(NODE_INFO.texts, "")
    region, site, node = tags
    place = node if node != TOTAL else region if site == THE_REGION else site
    said = {
        "name_zh": name_zh,
        "name_en": name_en,
        "choice_zh": choice(name_zh, place),
        "choice_en": choice(name_en, place),
        "kind": kind,
        "sector": sector,
        "parent": parent,
    }
    absent = dict.fromkeys(NODE_INFO.floats)
    return tags, INFO_TIME_MS, {"listed": 1} | absent | texts | said | more


def plan_rows(register: Register, now_ms: int) -> Iterator[Row]:
    """Yield budgets, quotas, targets and production output, each once per site it is for."""
    aims = register.aims
    for budget in aims.budgets:
        place = _of_entity(register, budget.entity)
        if place is not None:
            tags = (budget.carrier or ENERGY, "budget", str(budget.measure), "")
            unit = _UNIT_OF.get(budget.measure) or _unit_of(budget.carrier)
            at = budget.period
            yield _plan((*place, budget.entity, *tags), at, budget.amount, unit, budget.note)
    for target in aims.targets:
        place = _of_scope(register, target.scope, target.scope_id)
        if place is not None:
            entity = target.scope_id if target.scope is Scope.ENTITY else ""
            carrier = carrier_of(target.indicator) or ENERGY
            tags = (carrier, "target", target.indicator, str(target.bound))
            value, unit, source = target.value, target.unit, target.source
            yield _plan((*place, entity, *tags), target.period, value, unit, source)
    for made in aims.production:
        place, product = _of_site(register, made.site), aims.products.get(made.product)
        if place is not None and product is not None:
            tags = (ENERGY, "production", made.product, "")
            yield _plan(
                (*place, "", *tags), made.period, made.amount, product.unit, product.name_zh
            )
    for quota in _newest(aims.quotas, now_ms):
        for site in register.sites.values():
            if applies(register, quota, site):
                yield from quota_rows(register, quota, site)


def applies(register: Register, quota: Quota, site: Site) -> bool:
    """Tell whether a quota is for a site: by sector, climate zone and what it makes."""
    return (
        quota.sector in ("", site.sector)
        and quota.climate_zone in ("", site.climate_zone)
        and (not quota.product or quota.product in register.aims.made.get(site.id, ()))
    )


def quota_rows(register: Register, quota: Quota, site: Site) -> Iterator[Row]:
    """Yield the levels of a quota, for a site."""
    indicator, product = quota.indicator, register.aims.products.get(quota.product)
    unit = f"kgce/{product.unit}" if product else _UNITS.get(indicator, "")
    name = f"{indicator}:{quota.product}" if product else str(indicator)
    for level, value in (
        ("constraint", quota.constraint_value),
        ("baseline", quota.baseline_value),
        ("guide", quota.guide_value),
    ):
        if value is not None:
            carrier = _CARRIERS.get(indicator, ENERGY)
            tags = (site.region, site.id, "", carrier, "quota", name, level, "")
            row = {"listed": 1, "value": value, "unit": unit, "level": level}
            yield tags, quota.valid_from_ms, row | {"source": quota.source}


def _newest(quotas: Iterable[Quota], now_ms: int) -> Sequence[Quota]:
    """Return of each quota the row in force, and those to come."""
    found: dict[str, list[Quota]] = {}
    for quota in sorted(quotas, key=lambda row: row.valid_from_ms):
        rows = found.setdefault(quota.id, [])
        if quota.valid_from_ms <= now_ms:
            rows.clear()
        rows.append(quota)
    return [quota for rows in found.values() for quota in rows]


def _plan(tags: Tags, period: str, value: float, unit: str, source: str) -> Row:
    bound = tags[-1]
    row = {"listed": 1, "value": float(value), "unit": unit, "level": bound, "source": source}
    kind = "month" if "-" in period else "year"
    return (*tags, kind), period_span(period)[0], row


def _unit_of(carrier: str) -> str:
    """Return the unit a carrier is counted in where its best channel counts it."""
    return str(catalogue()[carriers()[carrier].forward[0]].unit)


def _date_ms(date: str) -> int | None:
    if not date:
        return None
    return int(datetime.fromisoformat(f"{date}T00:00:00+08:00").timestamp()) * 1_000


def _of_scope(register: Register, scope: Scope, id_: str) -> tuple[str, str] | None:
    if scope is Scope.REGION:
        return id_, THE_REGION
    return (_of_entity if scope is Scope.ENTITY else _of_site)(register, id_)


def _of_site(register: Register, id_: str) -> tuple[str, str] | None:
    site = register.sites.get(id_)
    return None if site is None else (site.region, site.id)


def _of_entity(register: Register, id_: str) -> tuple[str, str] | None:
    seat = register.seats.get(id_)
    return None if seat is None else (seat[0], seat[1] or SEVERAL)
