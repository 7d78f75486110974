"""Names, attributes and plans of the register, kept in the store."""

from dataclasses import replace
from typing import Any

import pytest

from aggregator.directory import SeriesKey
from aggregator.information import Information, plan_rows
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.factors import Measure as Factors
from aggregator.periods import period_span
from aggregator.register.model import (
    Aims,
    Bound,
    Budget,
    CalorificValue,
    Entity,
    Indicator,
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
)
from contract.interval import DAY_MS, GRID_MS
from contract.meta import Meta, MetaMeter
from contract.stored import FACTOR_INFO, METER_INFO, NAMES, NODE_INFO, OPEN_MS, PLAN, Measurement
from contract.topics import Address
from tests.suites.memory_store import MemoryDatabase, MemoryStore

FACTORS = builtin_library().choose("demo")
NOW = 1_772_409_600_000  # 2026-03-02T08:00:00+08:00
REGION = "370114"
FOUNDRY = Site(
    "foundry", REGION, "铸造厂", "Foundry", "casting", 1_000.0, 10, 36.7, None,
    entity="works", two_highs=TwoHighs.EXISTING, climate_zone="B",
)  # fmt: skip
HALL = replace(FOUNDRY, id="hall", name_zh="大厅", name_en="Hall", sector="office", two_highs=None)
METERS = (
    Meter("foundry", "em-1", "electricity", Role.BOUNDARY_IN, "", 40, "gw1", 0, "进线", "S-1",
          "0.5S", "", "2027-01-01"),
    Meter("foundry", "em-2", "electricity", Role.SUB, "em-1", 1, "", 0, "", node="light"),
)  # fmt: skip
NODES = (
    Node("foundry", "hall-1", "", "一车间", "Shop 1", None, 0),
    Node("foundry", "light", "hall-1", "照明", "Light", SubItem.LIGHTING_SOCKETS, 0),
)
QUOTA = Quota(
    "q1", Indicator.ENERGY_PER_AREA, "casting", "", "", "", 30.0, 20.0, None, 0, "GB", True
)
AIMS = Aims(
    products={"iron": Product("iron", "铸件", "castings", "t")},
    production=(Production("foundry", "iron", "2026-01", 120.5),),
    quotas=(
        QUOTA,
        replace(QUOTA, valid_from_ms=NOW - 1, constraint_value=28.0),
        Quota("q2", Indicator.ENERGY_PER_PRODUCT, "", "", "iron", "", 350.0, None, None, 0, "D",
              True),
    ),
    budgets=(
        Budget("works", "", Measure.CALORIFIC, "2026", 900.0, "n"),
        Budget("works", "electricity", Measure.AMOUNT, "2026-01", 5e5, ""),
    ),
    targets=(
        Target(Scope.REGION, REGION, "energy-intensity", "%", "2026", Bound.AT_MOST, 3.0, "plan"),
        Target(Scope.SITE, "foundry", "water-leakage", "%", "2026", Bound.AT_MOST, 7.8, "plan"),
    ),
)  # fmt: skip


def register(*sites: Site, **changes: Any) -> Register:
    given: dict[str, Any] = {
        "regions": [Region(REGION, "370100", "章丘区", "Zhangqiu")],
        "entities": [Entity("works", "厂", "Works", "", KeyUnit.STATUTORY, "")],
        "nodes": NODES,
        "aims": AIMS,
    } | changes
    return Register.of(sites or (FOUNDRY,), given.pop("meters", METERS), **given)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(MemoryDatabase(), GRID_MS)
    store.open()
    return store


def keep(information: Information) -> int:
    """Write all that is due; how many points."""
    written = 0
    while (result := information.keep()) is not None:
        written += result.intervals
    return written


def rows(store: MemoryStore, of: Measurement) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tags: row for tags, _, row in store.points(of, -1, 2**60).rows()}


def test_regions_sites_and_nodes_have_names_and_attributes(store: MemoryStore):
    keep(Information(store, register(), FACTORS, lambda: NOW))
    found = rows(store, NODE_INFO)
    assert found[REGION, "_region", "_total"]["name_zh"] == "章丘区"
    site = found[REGION, "foundry", "_total"]
    assert (site["kind"], site["sector"], site["floor_area_m2"]) == ("site", "casting", 1_000.0)
    assert (site["headcount"], site["longitude"]) == (10.0, None)
    assert (site["entity_zh"], site["key_unit"], site["two_highs"]) == (
        "厂", "statutory", str(TwoHighs.EXISTING),
    )  # fmt: skip
    light = found[REGION, "foundry", "light"]
    assert (light["kind"], light["parent"], light["name_zh"]) == (
        "lighting_sockets", "hall-1", "照明",
    )  # fmt: skip
    assert found[REGION, "foundry", "hall-1"]["parent"] == "_total"


def test_meters_are_told_with_what_the_edge_says_of_them(store: MemoryStore):
    information = Information(store, register(), FACTORS, lambda: NOW)
    keep(information)
    meter = rows(store, METER_INFO)[REGION, "foundry", "em-1"]
    assert (meter["name_zh"], meter["multiplier"], meter["serial"]) == ("进线", 40, "S-1")
    assert meter["calibration_due_ms"] == period_span("2027-01")[0]
    assert rows(store, METER_INFO)[REGION, "foundry", "em-2"]["name_zh"] == "em-2"
    meta = Meta((MetaMeter("em-2", "S-9", "eastron-sdm630", ()),))
    information.tell(Address(REGION, "foundry", "gw1"), meta)
    assert keep(information) == 1
    second = rows(store, METER_INFO)[REGION, "foundry", "em-2"]
    assert (second["serial"], second["model"], second["node"]) == ("S-9", "eastron-sdm630", "light")
    assert second["calibration_due_ms"] is None


def test_every_site_and_every_edge_that_spoke_has_a_name_for_its_alarms(store: MemoryStore):
    information = Information(store, register(FOUNDRY, HALL), FACTORS, lambda: NOW)
    information.hear(Address(REGION, "foundry", "gw2"))
    information.hear(Address(REGION, "stranger", "gw9"))
    keep(information)
    assert {(*tags[1:], row["listed"]) for tags, row in rows(store, NAMES).items()} == {
        ("foundry", "", "铸造厂", "Foundry", 1),
        ("foundry", "gw1", "铸造厂", "Foundry", 1),
        ("foundry", "gw2", "铸造厂", "Foundry", 1),
        ("hall", "", "大厅", "Hall", 1),
        ("stranger", "gw9", "stranger", "stranger", 1),
    }
    information.hear(Address(REGION, "hall", "gw3"))
    assert keep(information) == 1
    renamed = register(replace(FOUNDRY, name_zh="新厂"), HALL)
    keep(Information(store, renamed, FACTORS, lambda: NOW))
    listed = {tags[1:3]: tags[3] for tags, row in rows(store, NAMES).items() if row["listed"]}
    assert (listed["foundry", ""], listed["foundry", "gw1"]) == ("新厂", "新厂")
    assert ("foundry", "gw2") not in listed  # it has not spoken to this process


def test_factors_are_those_of_what_is_metered(store: MemoryStore):
    told = register(calorific=[CalorificValue("foundry", "raw_coal", "", NOW, None, 21.5, "r-1")])
    information = Information(store, told, FACTORS, lambda: NOW)
    keep(information)
    assert {tags[1:] for tags in rows(store, FACTOR_INFO)} == {
        ("foundry", "", "raw_coal", "net_calorific_value", "r-1 (2026-03-02)")
    }
    store.directory.series.add(SeriesKey(REGION, "foundry", "em-1", "energy_import"))
    store.directory.series.add(SeriesKey(REGION, "foundry", "em-9", "volume"))  # not registered
    keep(information)
    found = rows(store, FACTOR_INFO)
    own = {tags[-1]: (tags, row) for tags, row in found.items() if tags[3] == "electricity"}
    wanted = {
        row.id: row for row in FACTORS.rows.values() if row.item == "electricity"
        and row.applies_to(REGION) and row.channel_unit == "kWh"
    }  # fmt: skip
    assert own.keys() <= wanted.keys()
    assert {tags[4] for tags, _ in own.values()} == {str(measure) for measure in Factors}
    for id_, (tags, row) in own.items():
        assert (tags[:3], tags[4]) == ((REGION, "_region", ""), str(wanted[id_].measure))
        assert (row["value"], row["unit"]) == (str(wanted[id_].value), wanted[id_].unit)
        assert (row["source"], row["used"]) == (wanted[id_].source, 1)
        assert row["verified"] == int(wanted[id_].verified)
        assert row["valid_to_ms"] == (wanted[id_].valid_to_ms or OPEN_MS)
    assert keep(information) == 0


def test_only_what_changed_is_written_and_what_is_gone_is_not_listed(store: MemoryStore):
    clock = [NOW]
    information = Information(store, register(FOUNDRY, HALL), FACTORS, lambda: clock[0])
    assert keep(information) > 5
    assert keep(information) == 0
    clock[0] += DAY_MS
    assert keep(information) == 0
    assert keep(Information(store, register(FOUNDRY, HALL), FACTORS, lambda: NOW)) == 0
    less = register(meters=METERS[:1], nodes=NODES[:1], aims=replace(AIMS, budgets=()))
    keep(Information(store, less, FACTORS, lambda: NOW))
    nodes, meters, plans = (rows(store, of) for of in (NODE_INFO, METER_INFO, PLAN))
    gone = (REGION, "hall", "_total"), (REGION, "foundry", "light")
    assert {tags for tags, row in nodes.items() if not row["listed"]} == {*gone}
    assert {tags for tags, row in meters.items() if not row["listed"]} == {
        (REGION, "foundry", "em-2")
    }
    assert {tags[4] for tags, row in plans.items() if not row["listed"]} == {"budget"}


def test_a_row_that_takes_effect_later_is_told_from_its_day(store: MemoryStore):
    clock = [NOW]
    later = replace(METERS[0], role=Role.CHECK, valid_from_ms=NOW + DAY_MS // 2)
    information = Information(store, register(meters=[*METERS, later]), FACTORS, lambda: clock[0])
    keep(information)
    assert rows(store, METER_INFO)[REGION, "foundry", "em-1"]["role"] == "boundary_in"
    clock[0] += DAY_MS
    assert keep(information) == 1
    assert rows(store, METER_INFO)[REGION, "foundry", "em-1"]["role"] == "check"


def test_plans_are_told_per_site_with_unit_and_level():
    found = {
        (tags, at): (row["value"], row["unit"]) for tags, at, row in plan_rows(register(), NOW)
    }
    year, january = period_span("2026")[0], period_span("2026-01")[0]
    here = (REGION, "foundry")
    assert found == {
        ((*here, "works", "_energy", "budget", "tce_calorific", "", "year"), year): (900.0, "tce"),
        ((*here, "works", "electricity", "budget", "amount", "", "month"), january): (5e5, "kWh"),
        ((REGION, "_region", "", "_energy", "target", "energy-intensity", "at_most", "year"),
         year): (3.0, "%"),
        ((*here, "", "water", "target", "water-leakage", "at_most", "year"), year): (7.8, "%"),
        ((*here, "", "_energy", "production", "iron", "", "month"), january): (120.5, "t"),
        ((*here, "", "_energy", "quota", "kgce_per_m2", "constraint", ""), NOW - 1):
            (28.0, "kgce/m2"),
        ((*here, "", "_energy", "quota", "kgce_per_m2", "baseline", ""), NOW - 1):
            (20.0, "kgce/m2"),
        ((*here, "", "_energy", "quota", "kgce_per_product:iron", "constraint", ""), 0):
            (350.0, "kgce/t"),
    }  # fmt: skip


def test_a_plan_of_an_entity_with_several_sites_is_no_sites():
    rows_ = list(plan_rows(register(FOUNDRY, HALL), NOW))
    budgets = {tags[1] for tags, _, _ in rows_ if tags[4] == "budget"}
    assert budgets == {"_entity"}
    assert {tags[1] for tags, _, _ in rows_ if tags[4] == "quota"} == {"foundry"}
