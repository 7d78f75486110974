"""The tables of the register: one CSV file, one database table and one kind of row each.

Everything else follows from here: what a folder may hold, the database's tables, the audit, the
export, and the column tables of docs/register.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aggregator.register.carriers import CarrierKind, carriers
from aggregator.register.cells import (
    COUNT,
    CREDIT_CODE,
    DATE,
    FILLED,
    FORMULA,
    ID,
    IDS,
    MULTIPLIER,
    PERIOD,
    REGION,
    TEXT,
    VALID_FROM,
    VALID_TO,
    WEIGHTS,
    YES_NO,
    Cell,
    Stored,
    number,
    one_of,
    optional,
)
from aggregator.register.model import (
    Bound,
    DeductionKind,
    DemandBasis,
    Indicator,
    KeyUnit,
    Measure,
    Role,
    Scope,
    SubItem,
    TwoHighs,
)
from aggregator.register.rates import rates

Row = Mapping[str, Any]
"""Values by `Column.stored_as`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    """In the file's header, in messages and in the audit."""
    cell: Cell
    about: str
    to: str = ""
    """Table whose id stands here."""
    extra: bool = False
    """The header may lack it: then every cell is empty. Written only when a row fills it."""

    @property
    def stored_as(self) -> str:
        """Name in the database and in a `Row`."""
        return f"{self.name}_ms" if self.cell.stored is Stored.TIME else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of row."""

    name: str
    about: str
    key: tuple[str, ...]
    """Columns that no two rows share."""
    id: str
    """The column of the key that names the row: where a doubled key is reported."""
    columns: tuple[Column, ...]

    @property
    def file(self) -> str:
        """Name of the CSV file."""
        return f"{self.name}.csv"

    def column(self, name: str) -> Column:
        """Return a column; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """Return the row's key, in the order of `key`."""
        return tuple(row[self.column(name).stored_as] for name in self.key)

    def texts(self, row: Row) -> dict[str, str]:
        """Return the row as its file would say it."""
        return {c.name: c.cell.write(row[c.stored_as]) for c in self.columns}


_NAMES = (
    Column("name_zh", FILLED, "Chinese name"),
    Column("name_en", FILLED, "English name"),
)
_AMOUNT = number(0, 1e15, "unit of the row")
_FUELS = [carrier.id for carrier in carriers().values() if carrier.kind is CarrierKind.FUEL]

_REGIONS = Table(
    "regions",
    "Areas and what they belong to. Without this file any GB/T 2260 code is taken.",
    ("region",),
    "region",
    (
        Column("region", REGION, "code: 370114 is Zhangqiu"),
        Column("parent", optional(REGION), "region it is part of", to="regions"),
        *_NAMES,
    ),
)
_ENTITIES = Table(
    "entities",
    "Legal persons (法人单位), who answer for sites.",
    ("entity",),
    "entity",
    (
        Column("entity", ID, "its id"),
        *_NAMES,
        Column(
            "credit_code", optional(CREDIT_CODE), "unified social credit code (统一社会信用代码)"
        ),
        Column(
            "key_unit",
            optional(one_of("class of key unit", KeyUnit)),
            "key energy-using unit: from 10 000 tce a year, or named by the authority",
        ),
        Column("note", TEXT, "anything"),
    ),
)
_SITES = Table(
    "sites",
    "Places that use energy.",
    ("site",),
    "site",
    (
        Column("site", ID, "its id, as in the topics"),
        Column("region", REGION, "where it is", to="regions"),
        *_NAMES,
        Column("sector", FILLED, "what it does; quotas go by it"),
        Column("floor_area_m2", optional(number(0, 1e8, "m2")), "floor area"),
        Column("headcount", optional(COUNT), "people who work or live there"),
        Column("latitude", optional(number(-90, 90, "degrees")), "WGS 84"),
        Column("longitude", optional(number(-180, 180, "degrees")), "WGS 84"),
        Column("entity", optional(ID), "legal person", to="entities", extra=True),
        Column("heated_area_m2", optional(number(0, 1e8, "m2")), "heated area", extra=True),
        Column(
            "climate_zone",
            TEXT,
            "as the quotas' standard names it: B for Jinan and Jining",
            extra=True,
        ),
        Column(
            "two_highs",
            optional(one_of("list of two-highs projects", TwoHighs)),
            'list of "两高" projects: 存量, 在建, 拟建',
            extra=True,
        ),
        Column(
            "tariff",
            optional(IDS),
            "tariffs it buys at, at most one per carrier and unit",
            extra=True,
        ),
    ),
)
_NODES = Table(
    "nodes",
    "Tree of a site: systems, workshops, sub-items. A row holds until the node's next row.",
    ("site", "node", "valid_from"),
    "node",
    (
        Column("site", ID, "whose", to="sites"),
        Column("node", ID, "its id within the site"),
        Column("parent", optional(ID), "node it is part of, valid at that time"),
        *_NAMES,
        Column(
            "sub_item",
            optional(one_of("sub-item", SubItem)),
            "of a public building: 照明插座, 空调, 动力, 特殊",
        ),
        Column("valid_from", VALID_FROM, "since when the row holds"),
    ),
)
_METERS = Table(
    "meters",
    "Meters. A row holds until the meter's next row; one taken out gets a last row as `check`.",
    ("site", "meter", "valid_from"),
    "meter",
    (
        Column("site", ID, "whose", to="sites"),
        Column("meter", ID, "its id within the site, as the edge calls it"),
        Column("carrier", one_of("carrier", carriers()), "what it counts"),
        Column("role", one_of("role", Role), "what it stands for in the site's balance"),
        Column("parent", optional(ID), "meter that counts this one's energy too"),
        Column("multiplier", MULTIPLIER, "CT x VT; 1 for a direct meter"),
        Column("edge", optional(ID), "primary edge, when two read the meter; others fill its gaps"),
        Column("valid_from", VALID_FROM, "since when the row holds"),
        Column("note", TEXT, "anything"),
        Column("serial", TEXT, "serial number of the instrument", extra=True),
        Column("accuracy_class", TEXT, "0.5S, 1, 2 ...", extra=True),
        Column("calibrated_on", optional(DATE), "day of the last calibration", extra=True),
        Column("calibration_due", optional(DATE), "day on which it runs out", extra=True),
        Column("node", optional(ID), "node of the tree it counts for", extra=True),
    ),
)
_VIRTUAL_METERS = Table(
    "virtual_meters",
    "Meters by formula. A row holds until the meter's next row; one given up gets a last row "
    "without node.",
    ("site", "meter", "valid_from"),
    "meter",
    (
        Column("site", ID, "whose", to="sites"),
        Column("meter", ID, "its id within the site, other than any meter's"),
        Column("carrier", one_of("carrier", carriers()), "what it counts, and all in its formula"),
        Column("formula", FORMULA, "meters and virtual meters of the site; shares from 0 to 1"),
        Column("node", optional(ID), "node of the tree it counts for; empty: for none"),
        Column("valid_from", VALID_FROM, "since when the row holds"),
    ),
)
_CALORIFIC_VALUES = Table(
    "calorific_values",
    "Measured net calorific values (实测低位发热量). While a row holds it takes the place of the "
    "tables' value.",
    ("site", "carrier", "meter", "valid_from"),
    "carrier",
    (
        Column("site", ID, "whose", to="sites"),
        Column("carrier", one_of("fuel", _FUELS), "what was analysed"),
        Column("meter", optional(ID), "the one meter it is for; empty: all of the carrier"),
        Column("valid_from", VALID_FROM, "since when the row holds"),
        Column("valid_to", VALID_TO, "until when; empty: until the next row"),
        Column(
            "ncv_gj",
            number(1e-3, 150, "GJ/t, of a gas GJ per standard m3"),
            "net calorific value as received (收到基低位发热量)",
        ),
        Column("source", FILLED, "laboratory report and its date"),
    ),
)
_DEDUCTIONS = Table(
    "deductions",
    "What does not count towards the total under dual control (能耗双控), with its document.",
    ("site", "carrier", "kind", "period", "document"),
    "carrier",
    (
        Column("site", ID, "where it was used", to="sites"),
        Column("carrier", one_of("carrier", carriers()), "what was used"),
        Column(
            "kind",
            one_of("kind of deduction", DeductionKind),
            "原料用能, or new renewable electricity by 绿证",
        ),
        Column("period", PERIOD, "when, Beijing time"),
        Column("amount", number(0, 4e9, "kWh, t, or standard m3"), "how much"),
        Column("document", FILLED, "balance of the process, or numbers of the certificates"),
        Column("note", TEXT, "anything"),
    ),
)
_DEMAND_CONTRACTS = Table(
    "demand_contracts",
    "On what a metering point pays its demand charge (基本电费). A row holds until the meter's "
    "next row.",
    ("site", "meter", "valid_from"),
    "meter",
    (
        Column("site", ID, "whose", to="sites"),
        Column("meter", ID, "boundary meter of electricity"),
        Column("basis", one_of("basis", DemandBasis), "容量 or 需量"),
        Column(
            "contracted_kva",
            optional(number(0, 1e7, "kVA")),
            "capacity of the transformers, for `contracted`",
        ),
        Column("valid_from", VALID_FROM, "first of a month: since when the row holds"),
        Column("note", TEXT, "anything"),
    ),
)
_PRODUCTS = Table(
    "products",
    "What is made, and in which unit it is counted.",
    ("product",),
    "product",
    (
        Column("product", ID, "its id"),
        *_NAMES,
        Column("unit", FILLED, "t, m2, 10^4 CNY ..."),
    ),
)
_PRODUCTION = Table(
    "production",
    "Production output (产量), by year or by month, not both for one product and year.",
    ("site", "product", "period"),
    "product",
    (
        Column("site", ID, "where", to="sites"),
        Column("product", ID, "what", to="products"),
        Column("period", PERIOD, "when, Beijing time"),
        Column("amount", _AMOUNT, "output in the product's unit"),
    ),
)
_QUOTAS = Table(
    "quotas",
    "Quotas of public institutions (能耗定额) and limits of products (单位产品能耗限额).",
    ("quota", "valid_from"),
    "quota",
    (
        Column("quota", ID, "its id"),
        Column("indicator", one_of("indicator", Indicator), "what is limited, with its unit"),
        Column("sector", TEXT, "sector of the sites it is for; empty: any"),
        Column("climate_zone", TEXT, "climate zone it is for; empty: any"),
        Column("product", optional(ID), "for `kgce_per_product` only", to="products"),
        Column("factor_set", TEXT, "factor set it is computed with; empty: the aggregator's"),
        Column("constraint_value", optional(_AMOUNT), "约束值; of a product: the limit (限定值)"),
        Column(
            "baseline_value", optional(_AMOUNT), "基准值; of a product: baseline level (基准水平)"
        ),
        Column(
            "guide_value", optional(_AMOUNT), "引导值; of a product: benchmark level (标杆水平)"
        ),
        Column("valid_from", VALID_FROM, "since when the row holds"),
        Column("source", FILLED, "standard, table, or file"),
        Column("verified", YES_NO, "has a person compared it with the source?"),
    ),
)
_BUDGETS = Table(
    "budgets",
    "Energy budgets (用能预算). A year's and its months' may stand side by side.",
    ("entity", "carrier", "measure", "period"),
    "entity",
    (
        Column("entity", ID, "whose", to="entities"),
        Column("carrier", optional(one_of("carrier", carriers())), "empty: all carriers"),
        Column("measure", one_of("measure", Measure), "`amount` needs a carrier"),
        Column("period", PERIOD, "when, Beijing time"),
        Column("amount", _AMOUNT, "budget in the carrier's unit, tce or t CO2"),
        Column("note", TEXT, "anything"),
    ),
)
_TARGETS = Table(
    "targets",
    "Targets, each with the year by which it is to be met.",
    ("scope", "scope_id", "indicator", "period"),
    "scope_id",
    (
        Column("scope", one_of("scope", Scope), "whose target"),
        Column("scope_id", FILLED, "id of the region, entity or site"),
        Column("indicator", ID, "what: leakage, energy-intensity ..."),
        Column("unit", FILLED, "%, tce, kgce/m2 ..."),
        Column("period", PERIOD, "by when"),
        Column("bound", one_of("bound", Bound), "on which side of the value it is met"),
        Column("value", number(-1e15, 1e15, "unit of the row"), "the target"),
        Column("source", FILLED, "plan or notice, and its page"),
    ),
)

_PROFILES = Table(
    "profiles",
    "How the energy of a gap is spread inside it. A row holds until the next one of its meter or "
    "carrier; the meter's stands before the carrier's.",
    ("site", "meter", "carrier", "valid_from"),
    "site",
    (
        Column("site", ID, "where", to="sites"),
        Column("meter", optional(ID), "whose; empty: all of the carrier"),
        Column("carrier", optional(one_of("carrier", carriers())), "whose; empty: the one meter"),
        Column("weekday", WEIGHTS, "of the hours or quarters from Monday to Friday, Beijing time"),
        Column("weekend", WEIGHTS, "of Saturday and Sunday"),
        Column("valid_from", VALID_FROM, "since when gaps that begin are spread so"),
        Column("source", FILLED, "how it was found"),
    ),
)
_INTEGRATED_CHANNELS = Table(
    "integrated_channels",
    "Channels of meters that measure a rate and have no register: the amount is the rate's "
    "integral, marked as such.",
    ("site", "meter", "channel"),
    "site",
    (
        Column("site", ID, "where", to="sites"),
        Column("meter", ID, "whose"),
        Column("channel", one_of("channel that has a rate", rates()), "what is made"),
        Column("valid_from", VALID_FROM, "since when the rate is integrated"),
        Column("source", FILLED, "why: make of the meter, who decided"),
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            _REGIONS,
            _ENTITIES,
            _SITES,
            _NODES,
            _METERS,
            _VIRTUAL_METERS,
            _CALORIFIC_VALUES,
            _DEDUCTIONS,
            _DEMAND_CONTRACTS,
            _PROFILES,
            _INTEGRATED_CHANNELS,
            _PRODUCTS,
            _PRODUCTION,
            _QUOTAS,
            _BUDGETS,
            _TARGETS,
        )
    }
)
"""By name."""
REQUIRED = ("sites", "meters")
"""Tables without which a folder is no register."""
DATED = ("nodes", "meters")
"""Tables that are trees of dated rows within a site."""
