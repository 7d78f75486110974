"""The menus of the dashboards over what the aggregator itself writes of a register."""

import re
from typing import Any

import pytest

from aggregator.information import Information
from aggregator.ledger.factor_tables import builtin_library
from aggregator.register.model import Meter, Node, Region, Register, Role, Site, SubItem
from aggregator.store.influx1 import Influx1Store
from contract.interval import GRID_MS
from grafana import alerts, figures
from grafana.board import building_variable, meter_variable, region_variable, site_variable
from grafana.influxql import Query
from grafana.words import Words
from tests.influx import InfluxServer, influx_server

pytestmark = pytest.mark.influxdb
__all__ = ["influx_server"]

FACTORS = builtin_library().choose("demo")
NOW = 1_772_409_600_000  # 2026-03-02T08:00:00+08:00
REGION = "370114"
REGISTER = Register.of(
    [
        Site("foundry", REGION, "示范铸造厂", "Foundry", "metal casting", None, None, None, None),
        Site("hospital", REGION, "示范医院", "Hospital", "hospital", 58e3, 1150, 36.7, 117.5),
    ],
    [
        Meter("foundry", "em-main", "electricity", Role.BOUNDARY_IN, "", 40, "gw1", 0, "总进线"),
        Meter("foundry", "em-sub", "electricity", Role.SUB, "em-main", 1, "gw1", 0, ""),
    ],
    regions=[Region(REGION, "370100", "章丘区", "Zhangqiu")],
    nodes=[
        Node("foundry", "shop", "", "一车间", "Shop", None, 0),
        Node("foundry", "light", "shop", "照明", "Light", SubItem.LIGHTING_SOCKETS, 0),
    ],
)


@pytest.fixture(scope="module")
def database(influx_server: InfluxServer) -> Any:
    store = Influx1Store(influx_server.url, "menus", GRID_MS)
    store.open()
    information = Information(store, REGISTER, FACTORS, lambda: NOW)
    while information.keep() is not None:
        pass
    store.close()
    return lambda text: influx_server.query("menus", text)


def choices(database: Any, query: Query) -> dict[str, str]:
    text = query.text
    for name, value in (("region", REGION), ("site", "foundry")):
        text = text.replace(f"${{{name}:regex}}", value)
    rows = [row[1] for series in database(text) for row in series["values"]]
    matches = [re.fullmatch(r"(.*) \| (\S+)", row) for row in rows]
    return {match[2]: match[1] for match in matches if match}


def test_menus_offer_names_and_hold_ids(database: Any) -> None:
    zh, en = Words("zh"), Words("en")
    assert choices(database, region_variable(zh).query) == {REGION: "章丘区"}
    sites = {"foundry": "示范铸造厂", "hospital": "示范医院"}
    assert choices(database, site_variable(zh).query) == sites
    assert choices(database, site_variable(en).query) == {
        "foundry": "Foundry",
        "hospital": "Hospital",
    }
    assert choices(database, building_variable(zh).query) == {"hospital": "示范医院"}
    assert choices(database, meter_variable(zh).query) == {"em-main": "总进线", "em-sub": "em-sub"}


def test_alarms_find_the_names_of_sites_and_of_their_edges(database: Any) -> None:
    of = {rule.of_edges: rule for rule in alerts.rules()}
    for language, name in (("zh", "示范铸造厂"), ("en", "Foundry")):
        words = Words(language)
        sites, edges = (database(alerts.names(words, of[one]).text) for one in (False, True))
        named = {one["tags"]["site"]: one["tags"][words.name_field] for one in sites}
        assert (set(named), named["foundry"]) == ({"foundry", "hospital"}, name)
        (edge,) = edges
        assert edge["tags"] == {
            "region": REGION, "site": "foundry", "edge": "gw1", words.name_field: name,
        }  # fmt: skip


def test_only_top_nodes_are_parts_of_a_site(database: Any) -> None:
    """What is below one is part of it already: both in one stack would count twice."""
    text = figures.node_names(Words("zh")).text
    text = text.replace("${region:regex}", REGION).replace("${site:regex}", "foundry")
    assert [series["tags"]["node"] for series in database(text)] == ["shop"]


def test_a_site_without_an_area_has_none(database: Any) -> None:
    for site, rows in (("foundry", []), ("hospital", [58e3])):
        text = figures.site_facts(Words("zh"), "floor_area_m2").text
        text = text.replace("${region:regex}", REGION).replace("${site:regex}", site)
        assert [row[1] for series in database(text) for row in series["values"]] == rows
