"""What is asked of one site costs what that site has, not what the city has."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aggregator.access import Access, Right, visible
from aggregator.information import applies, plan_rows
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.register.model import (
    Aims,
    Budget,
    Indicator,
    Measure,
    Meter,
    Node,
    Production,
    Quota,
    Register,
    Role,
    Site,
    VirtualMeter,
)
from aggregator.site_tariffs import SiteTariffs
from contract.interval import MINUTE_MS
from contract.stored import SEVERAL

CITY = 50
BUDGET = Budget("company", "", Measure.CALORIFIC, "2026", 900.0, "")
QUOTA = Quota("q", Indicator.ENERGY_PER_PRODUCT, "", "", "iron", "", 1.0, None, None, 0, "", True)


class Counted(dict[Any, Any]):
    """Counts how many of its keys were looked at one after the other."""

    walked = 0

    def __iter__(self) -> Iterator[Any]:
        for key in super().__iter__():
            self.walked += 1
            yield key

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class Rows(list[Production]):
    walked = 0

    def __iter__(self) -> Iterator[Production]:
        type(self).walked += 1
        return super().__iter__()


def site(id_: str, entity: str = "") -> Site:
    return Site(
        id_, "370114", id_, id_, "casting", None, None, None, None, entity,
        tariffs=("demo-electricity",),
    )  # fmt: skip


def city(**more: Any) -> Register:
    ids = [f"s{i}" for i in range(CITY)]
    return Register.of(
        [site(id_) for id_ in ids],
        [Meter(id_, "em", "electricity", Role.BOUNDARY_IN, "", 1, "", 0, "") for id_ in ids],
        nodes=[Node(id_, "n", "", "n", "n", None, 0) for id_ in ids],
        virtual=[VirtualMeter(id_, "v", "electricity", (), "", 5) for id_ in ids],
        **more,
    )


ASKED: dict[str, Callable[[Register], Any]] = {
    "nodes": lambda register: register.nodes_of("s7", 9),
    "virtual meters": lambda register: register.virtual_meters("s7", 9),
    "borders": lambda register: register.tree_borders("s7", 0, 9),
}


@pytest.mark.parametrize("what", ASKED)
def test_a_site_is_looked_up_not_searched_for(what: str) -> None:
    register = city()
    nodes, virtual = Counted(register.nodes), Counted(register.virtual)
    object.__setattr__(register, "nodes", nodes)
    object.__setattr__(register, "virtual", virtual)
    assert len(ASKED[what](register)) == 1
    assert nodes.walked + virtual.walked <= 1


def test_a_sites_tariffs_are_looked_up_too() -> None:
    tariffs = SiteTariffs(city(), builtin_tariffs(), MINUTE_MS)
    tariffs._tariffs = counted = Counted(tariffs._tariffs)
    assert set(tariffs.of("s7")) == {("electricity", "kWh")}
    assert tariffs.of("nowhere") == {}
    assert counted.walked == 0


def test_whether_a_quota_applies_is_not_read_off_the_whole_citys_output() -> None:
    rows: Any = Rows(Production(f"s{i}", "iron", "2026-01", 1.0) for i in range(0, CITY, 2))
    register = city(aims=Aims(production=rows))
    before = Rows.walked
    assert [applies(register, QUOTA, register.sites[id_]) for id_ in ("s6", "s7")] == [True, False]
    assert Rows.walked == before


@pytest.mark.parametrize(("sites", "seat"), [(("a", "b"), SEVERAL), (("a",), "a")])
def test_a_budget_stands_where_it_does_whatever_part_is_seen(
    sites: tuple[str, ...], seat: str
) -> None:
    whole = Register.of([site(id_, "company") for id_ in sites], [], aims=Aims(budgets=(BUDGET,)))
    seen = visible(whole, Access(frozenset({Right.READ}), sites=("a",)))
    for register in (whole, seen):
        assert [tags[:3] for tags, _, _ in plan_rows(register, 0)] == [("370114", seat, "company")]
