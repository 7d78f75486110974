"""Makes a `Register` of checked rows, wherever they come from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from aggregator.register.formula import parse_formula
from aggregator.register.model import (
    Aims,
    Bound,
    Budget,
    CalorificValue,
    Deduction,
    DeductionKind,
    DemandBasis,
    DemandContract,
    Entity,
    Indicator,
    IntegratedChannel,
    KeyUnit,
    Measure,
    Meter,
    Node,
    Product,
    Production,
    Quota,
    Region,
    Register,
    Role,
    Scope,
    Site,
    SubItem,
    Target,
    TwoHighs,
    VirtualMeter,
)
from aggregator.register.profiles import Profile, quarters
from aggregator.register.tables import TABLES, Row

Made = TypeVar("Made")

_ENUMS: Mapping[str, Callable[[str], object]] = {
    "role": Role,
    "key_unit": KeyUnit,
    "two_highs": TwoHighs,
    "sub_item": SubItem,
    "indicator": Indicator,
    "measure": Measure,
    "scope": Scope,
    "bound": Bound,
    "kind": DeductionKind,
    "basis": DemandBasis,
}
"""Columns whose words are an enumeration of the model; an empty cell is None there."""


def build_register(rows: Mapping[str, Iterable[Row]]) -> Register:
    """Return the register of rows by table name; a table may be absent.

    The rows have passed `aggregator.register.checks`; their order does not matter.
    """

    def make(table: str, kind: Callable[..., Made], named: str = "") -> Iterator[Made]:
        enums = {c.name: _ENUMS[c.name] for c in TABLES[table].columns if c.name in _ENUMS}
        if table == "targets":
            del enums["indicator"]  # any id: a plan sets targets for what it likes
        for row in sorted(rows.get(table, ()), key=TABLES[table].key_of):
            fields: dict[str, Any] = dict(row)
            if named:
                fields["id"] = fields.pop(named)
            if "tariff" in fields:
                fields["tariffs"] = tuple(fields.pop("tariff").split())
            if "formula" in fields:
                fields["terms"] = parse_formula(fields.pop("formula"))
            for name in ("weekday", "weekend"):
                if name in fields:
                    fields[name] = quarters(fields[name])
            for name, enum in enums.items():
                fields[name] = enum(fields[name]) if fields[name] else None
            yield kind(**fields)

    return Register.of(
        make("sites", Site, "site"),
        make("meters", Meter, "meter"),
        regions=make("regions", Region, "region"),
        entities=make("entities", Entity, "entity"),
        nodes=make("nodes", Node, "node"),
        aims=Aims(
            products={product.id: product for product in make("products", Product, "product")},
            production=tuple(make("production", Production)),
            quotas=tuple(make("quotas", Quota, "quota")),
            budgets=tuple(make("budgets", Budget)),
            targets=tuple(make("targets", Target)),
        ),
        profiles=make("profiles", Profile),
        integrated=make("integrated_channels", IntegratedChannel),
        virtual=make("virtual_meters", VirtualMeter, "meter"),
        calorific=make("calorific_values", CalorificValue),
        deductions=make("deductions", Deduction),
        contracts=make("demand_contracts", DemandContract, "meter"),
    )
