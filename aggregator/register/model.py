"""What the register holds, as dated facts, and the lookups everything else makes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from aggregator.register.formula import FormulaTerm
from aggregator.register.profiles import Profile


class Role(StrEnum):
    """Where a meter stands in the energy account of its site.

    The role speaks of the meter's forward direction: a feeder that leaves the site is
    `boundary_out` when its import register counts what leaves. What the export register of the
    same meter counts enters with the opposite sign.
    """

    BOUNDARY_IN = "boundary_in"
    """Energy that enters the site."""
    BOUNDARY_OUT = "boundary_out"
    """Energy that leaves the site."""
    OWN_GENERATION = "own_generation"
    """Energy won on site from a source no other meter counts: PV, wind, the site's own mine."""
    CONVERSION_IN = "conversion_in"
    """Energy fed into a conversion on site, counted where it entered: coal to the boiler."""
    CONVERSION_OUT = "conversion_out"
    """Energy made on site from energy already counted: the boiler's steam, a CHP's electricity."""
    SUB = "sub"
    """Part of what another meter counts."""
    CHECK = "check"
    """A second meter beside another one."""


class KeyUnit(StrEnum):
    """Why an entity is a key energy-using unit (重点用能单位)."""

    STATUTORY = "statutory"
    """10 000 tce a year or more."""
    DESIGNATED = "designated"
    """5 000 to 10 000 tce a year, named by the authority."""


class TwoHighs(StrEnum):
    """On which list of two-highs projects ("两高"项目) a site stands."""

    EXISTING = "existing"
    BUILDING = "building"
    PLANNED = "planned"


class SubItem(StrEnum):
    """Sub-items of a public building's electricity (分项能耗)."""

    LIGHTING_SOCKETS = "lighting_sockets"
    AIR_CONDITIONING = "air_conditioning"
    MOTIVE_POWER = "motive_power"
    SPECIAL = "special"


class Indicator(StrEnum):
    """What a quota limits; the unit belongs to the name."""

    ENERGY_PER_AREA = "kgce_per_m2"
    """A year's comprehensive energy without heating."""
    HEATING_PER_AREA = "heating_kgce_per_m2"
    """A year's energy for heating."""
    ENERGY_PER_PERSON = "kgce_per_person"
    ELECTRICITY_PER_AREA = "kwh_per_m2"
    WATER_PER_PERSON = "m3_per_person"
    ENERGY_PER_PRODUCT = "kgce_per_product"
    """Standard coal per unit of product (单位产品能耗)."""
    POWER_USAGE_EFFECTIVENESS = "pue"


class Measure(StrEnum):
    """What a budget is counted in."""

    AMOUNT = "amount"
    """The carrier's own unit."""
    CALORIFIC = "tce_calorific"
    EQUIVALENT = "tce_equivalent"
    CO2 = "t_co2"


class DeductionKind(StrEnum):
    """Why energy does not count towards the total under dual control."""

    FEEDSTOCK = "feedstock"
    """原料用能: went into a product instead of being burnt; counts in no total, no intensity."""
    RENEWABLE_CERTIFICATE = "renewable_certificate"
    """New renewable electricity by green certificate (绿证): not in the total, in the intensity."""


class DemandBasis(StrEnum):
    """On what a demand charge is paid."""

    CONTRACTED = "contracted"
    """容量: the contracted capacity of the transformers [kVA]."""
    MEASURED = "measured"
    """需量: the largest demand of the month [kW]."""


class Scope(StrEnum):
    """Whose target it is."""

    REGION = "region"
    ENTITY = "entity"
    SITE = "site"


class Bound(StrEnum):
    """On which side of its value a target is met."""

    AT_MOST = "at_most"
    AT_LEAST = "at_least"


@dataclass(frozen=True, slots=True)
class Region:
    """One area by its GB/T 2260 code."""

    id: str
    parent: str
    """Region it is part of; "" at the top."""
    name_zh: str
    name_en: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One legal person (法人单位)."""

    id: str
    name_zh: str
    name_en: str
    credit_code: str
    """Unified social credit code; "" when not told."""
    key_unit: KeyUnit | None
    note: str


@dataclass(frozen=True, slots=True)
class Site:
    """One place that uses energy."""

    id: str
    region: str
    """GB/T 2260 code."""
    name_zh: str
    name_en: str
    sector: str
    floor_area_m2: float | None
    headcount: int | None
    latitude: float | None
    longitude: float | None
    entity: str = ""
    """Legal person that answers for it; "" when not told."""
    heated_area_m2: float | None = None
    climate_zone: str = ""
    """As the quotas' standard names it."""
    two_highs: TwoHighs | None = None
    tariffs: tuple[str, ...] = ()
    """Names of the tariffs it buys at, at most one per carrier and unit."""


@dataclass(frozen=True, slots=True)
class Node:
    """What holds for one node of a site's tree from `valid_from_ms` until its next row."""

    site: str
    id: str
    parent: str
    """Node of the same site; "" at the top."""
    name_zh: str
    name_en: str
    sub_item: SubItem | None
    valid_from_ms: int
    """UTC; 0 when the row holds since ever."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What holds for one meter from `valid_from_ms` until its next row."""

    site: str
    id: str
    carrier: str
    role: Role
    parent: str
    """Meter of the same site that counts this one's energy too; "" at the top."""
    multiplier: int
    """CT ratio x VT ratio: energy = register difference x multiplier; 1 for a direct meter."""
    edge: str
    """Primary edge: the gateway whose readings count; "" when only one reads the meter."""
    valid_from_ms: int
    """UTC; 0 when the row holds since ever."""
    note: str
    serial: str = ""
    accuracy_class: str = ""
    """0.5S, 1, 2 ...; "" when not told."""
    calibrated_on: str = ""
    """ISO date; "" when not told."""
    calibration_due: str = ""
    """ISO date on which the calibration runs out; "" when not told."""
    node: str = ""
    """Node of the site's tree it counts for; "" when none."""


@dataclass(frozen=True, slots=True)
class VirtualMeter:
    """What holds for one meter by formula from `valid_from_ms` until its next row."""

    site: str
    id: str
    carrier: str
    terms: tuple[FormulaTerm, ...]
    """Of meters and virtual meters of the same site and carrier."""
    node: str
    """Node of the site's tree it counts for; "" when none."""
    valid_from_ms: int
    """UTC; 0 when the row holds since ever."""


@dataclass(frozen=True, slots=True)
class Product:
    """What is made, and in which unit it is counted."""

    id: str
    name_zh: str
    name_en: str
    unit: str


@dataclass(frozen=True, slots=True)
class Production:
    """Output of one product at one site."""

    site: str
    product: str
    period: str
    """Year (2026) or month (2026-01), Beijing time."""
    amount: float
    """In the product's unit."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What holds for one quota from `valid_from_ms` until its next row."""

    id: str
    indicator: Indicator
    sector: str
    climate_zone: str
    product: str
    factor_set: str
    """Set it is computed with; "": the aggregator's own."""
    constraint_value: float | None
    baseline_value: float | None
    guide_value: float | None
    valid_from_ms: int
    source: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """What an entity may use in a period."""

    entity: str
    carrier: str
    """"" = all carriers."""
    measure: Measure
    period: str
    amount: float
    note: str


@dataclass(frozen=True, slots=True)
class Target:
    """A value to be met by the end of a period."""

    scope: Scope
    scope_id: str
    indicator: str
    unit: str
    period: str
    bound: Bound
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class CalorificValue:
    """A measured net calorific value of a fuel, over the tables' one while it holds."""

    site: str
    carrier: str
    meter: str
    """"" = all meters of the carrier at the site that have no row of their own."""
    valid_from_ms: int
    valid_to_ms: int | None
    """None: until the next row of the same site, carrier and meter."""
    ncv_gj: float
    """GJ per unit of the carrier: t, or standard m3 of a gas."""
    source: str


@dataclass(frozen=True, slots=True)
class Deduction:
    """What does not count towards a site's total under dual control, with its document."""

    site: str
    carrier: str
    kind: DeductionKind
    period: str
    """Year (2026) or month (2026-01), Beijing time."""
    amount: float
    """In the carrier's unit."""
    document: str
    note: str


@dataclass(frozen=True, slots=True)
class DemandContract:
    """On what a metering point pays its demand charge, from a month until its next row."""

    site: str
    id: str
    """Meter."""
    basis: DemandBasis
    contracted_kva: float | None
    valid_from_ms: int
    """Start of a Beijing month; 0 when the row holds since ever."""
    note: str


@dataclass(frozen=True, slots=True)
class IntegratedChannel:
    """A channel that no register counts: its amount is the integral of the rate that is measured.

    Of a flow computer without a counter, say.
    """

    site: str
    meter: str
    channel: str
    """The cumulative one that is made: `mass` of `mass_flow` (aggregator/register/rates.csv)."""
    valid_from_ms: int
    """UTC; 0 when the row holds since ever."""
    source: str


@dataclass(frozen=True, slots=True)
class Aims:
    """What figures are compared with, and what they are divided by."""

    products: Mapping[str, Product] = field(default_factory=dict)
    production: tuple[Production, ...] = ()
    quotas: tuple[Quota, ...] = ()
    budgets: tuple[Budget, ...] = ()
    targets: tuple[Target, ...] = ()
    made: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)
    """Site -> products of which it has output."""

    def __post_init__(self) -> None:
        made: dict[str, set[str]] = {}
        for row in self.production:
            made.setdefault(row.site, set()).add(row.product)
        object.__setattr__(self, "made", {site: frozenset(ids) for site, ids in made.items()})


@dataclass(frozen=True, slots=True)
class Register:
    """All rows. Immutable: a changed register is a new object."""

    sites: Mapping[str, Site]
    rows: Mapping[tuple[str, str], tuple[Meter, ...]]
    """(site, meter) -> its rows by ascending `valid_from_ms`, at least one."""
    regions: Mapping[str, Region] = field(default_factory=dict)
    """Empty when nobody has told any."""
    entities: Mapping[str, Entity] = field(default_factory=dict)
    nodes: Mapping[tuple[str, str], tuple[Node, ...]] = field(default_factory=dict)
    """(site, node) -> its rows by ascending `valid_from_ms`, at least one."""
    aims: Aims = field(default_factory=Aims)
    virtual: Mapping[tuple[str, str], tuple[VirtualMeter, ...]] = field(default_factory=dict)
    """(site, virtual meter) -> its rows by ascending `valid_from_ms`, at least one."""
    calorific: Mapping[tuple[str, str], tuple[CalorificValue, ...]] = field(default_factory=dict)
    """(site, carrier) -> its rows by meter and time; those of all meters come first."""
    deductions: Mapping[str, tuple[Deduction, ...]] = field(default_factory=dict)
    """Site -> its rows."""
    contracts: Mapping[tuple[str, str], tuple[DemandContract, ...]] = field(default_factory=dict)
    """(site, meter) -> its rows by ascending `valid_from_ms`, at least one."""
    profiles: Mapping[str, tuple[Profile, ...]] = field(default_factory=dict)
    """Site -> its rows."""
    integrated: Mapping[tuple[str, str], tuple[IntegratedChannel, ...]] = field(
        default_factory=dict
    )
    """(site, meter) -> its rows, one per channel."""
    seats: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Entity -> region and site with which its plans stand; "": it has several, seen or not."""
    meters_by_site: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Site -> ids of all meters it ever had, ascending."""
    nodes_by_site: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Site -> ids of all nodes it ever had, ascending."""
    virtual_by_site: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Site -> ids of all virtual meters it ever had, ascending."""

    def __post_init__(self) -> None:
        for name, rows in (("meters", self.rows), ("nodes", self.nodes), ("virtual", self.virtual)):
            object.__setattr__(self, f"{name}_by_site", _ids_by_site(rows))

    @classmethod
    def of(
        cls,
        sites: Iterable[Site],
        meters: Iterable[Meter],
        *,
        regions: Iterable[Region] = (),
        entities: Iterable[Entity] = (),
        nodes: Iterable[Node] = (),
        aims: Aims | None = None,
        virtual: Iterable[VirtualMeter] = (),
        calorific: Iterable[CalorificValue] = (),
        deductions: Iterable[Deduction] = (),
        contracts: Iterable[DemandContract] = (),
        profiles: Iterable[Profile] = (),
        integrated: Iterable[IntegratedChannel] = (),
    ) -> "Register":
        """Build a register; the rows may come in any order."""
        by_id = {site.id: site for site in sites}
        return cls(
            by_id,
            _dated(meters),
            {region.id: region for region in regions},
            {entity.id: entity for entity in entities},
            _dated(nodes),
            Aims() if aims is None else aims,
            _dated(virtual),
            _grouped(
                sorted(calorific, key=lambda row: (row.meter, row.valid_from_ms)),
                lambda row: (row.site, row.carrier),
            ),
            _grouped(deductions, lambda row: row.site),
            _dated(contracts),
            _grouped(profiles, lambda row: row.site),
            _grouped(integrated, lambda row: (row.site, row.meter)),
            _seats(by_id.values()),
        )

    def meter(self, site: str, meter: str, at_ms: int) -> Meter | None:
        """Return the row in force at a time; None when unregistered or not yet."""
        found = None
        for row in self.rows.get((site, meter), ()):
            if row.valid_from_ms <= at_ms:
                found = row
        return found

    def node(self, site: str, node: str, at_ms: int) -> Node | None:
        """Return the row of a node in force at a time; None when unknown or not yet."""
        found = None
        for row in self.nodes.get((site, node), ()):
            if row.valid_from_ms <= at_ms:
                found = row
        return found

    def meters(self, site: str, at_ms: int) -> tuple[Meter, ...]:
        """Return the rows of a site in force at a time, by meter id."""
        found = (self.meter(site, id_, at_ms) for id_ in self.meters_by_site.get(site, ()))
        return tuple(row for row in found if row is not None)

    def nodes_of(self, site: str, at_ms: int) -> tuple[Node, ...]:
        """Return the nodes of a site in force at a time, by id."""
        found = (self.node(site, id_, at_ms) for id_ in self.nodes_by_site.get(site, ()))
        return tuple(row for row in found if row is not None)

    def calorific_values(self, site: str, meter: str, carrier: str) -> tuple[CalorificValue, ...]:
        """Return what was measured of a meter's fuel; of two that hold the later one counts."""
        rows = self.calorific.get((site, carrier), ())
        return tuple(row for row in rows if row.meter in {"", meter})

    def contract(self, site: str, meter: str, at_ms: int) -> DemandContract | None:
        """Return on what a metering point pays its demand charge at a time, if the row is known."""
        begun = [row for row in self.contracts.get((site, meter), ()) if row.valid_from_ms <= at_ms]
        return begun[-1] if begun else None

    def integrated_from(self, site: str, meter: str, channel: str) -> int | None:
        """Return since when a channel is the integral of a rate [ms]; None: a register counts."""
        rows = self.integrated.get((site, meter), ())
        return next((row.valid_from_ms for row in rows if row.channel == channel), None)

    def virtual_meters(self, site: str, at_ms: int) -> tuple[VirtualMeter, ...]:
        """Return the virtual meters of a site in force at a time, by id."""
        found: list[VirtualMeter] = []
        for id_ in self.virtual_by_site.get(site, ()):
            begun = [row for row in self.virtual[site, id_] if row.valid_from_ms <= at_ms]
            found += begun[-1:]
        return tuple(found)

    def tree_borders(self, site: str, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """Return the times inside (from_ms, to_ms) at which a site's tree or a role changes."""
        times = set(self.borders(site, from_ms, to_ms))
        for id_ in self.nodes_by_site.get(site, ()):
            times |= {row.valid_from_ms for row in self.nodes[site, id_]}
        for id_ in self.virtual_by_site.get(site, ()):
            times |= {row.valid_from_ms for row in self.virtual[site, id_]}
        return tuple(sorted(time for time in times if from_ms < time < to_ms))

    def borders(self, site: str, from_ms: int, to_ms: int) -> tuple[int, ...]:
        """Return the times inside (from_ms, to_ms) at which a row of the site takes effect."""
        times = {
            row.valid_from_ms
            for id_ in self.meters_by_site.get(site, ())
            for row in self.rows[site, id_]
        }
        return tuple(sorted(time for time in times if from_ms < time < to_ms))


DatedRow = TypeVar("DatedRow", Node, Meter, VirtualMeter, DemandContract)
Row = TypeVar("Row")
Key = TypeVar("Key")


def _dated(rows: Iterable[DatedRow]) -> dict[tuple[str, str], tuple[DatedRow, ...]]:
    """Return the rows of each identity by the time from which they hold."""
    found: dict[tuple[str, str], list[DatedRow]] = {}
    for row in rows:
        found.setdefault((row.site, row.id), []).append(row)
    return {
        key: tuple(sorted(group, key=lambda row: row.valid_from_ms))
        for key, group in sorted(found.items())
    }


def _ids_by_site(rows: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return by site the ids of (site, id) keys, in their order."""
    found: dict[str, list[str]] = {}
    for site, id_ in rows:
        found.setdefault(site, []).append(id_)
    return {site: tuple(ids) for site, ids in found.items()}


def _seats(sites: Iterable[Site]) -> dict[str, tuple[str, str]]:
    """Return by entity the region of its first site, and that site where it is the only one."""
    found: dict[str, tuple[str, str]] = {}
    for region, site, entity in sorted((site.region, site.id, site.entity) for site in sites):
        if entity:
            found[entity] = (found[entity][0], "") if entity in found else (region, site)
    return found


def _grouped(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, tuple[Row, ...]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return {name: tuple(group) for name, group in found.items()}
