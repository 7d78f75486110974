"""/tree and /balance over a real embedded store with a known ledger (api_ledger.py)."""

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from aggregator.api.main import build_app
from aggregator.events import Events
from aggregator.register.formula import parse_formula
from aggregator.register.limits import limit_of
from aggregator.register.model import (
    Aims,
    Bound,
    Meter,
    Node,
    Region,
    Register,
    Role,
    Scope,
    Target,
    VirtualMeter,
)
from aggregator.rollups import Rollups
from aggregator.store.base import DirtyDay
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    QUARTER_MS,
    QUARTERS,
    REGION,
    REGISTER,
    ApiClient,
    Ledger,
    build,
)

DAY = {"from": "2026-03-02", "to": "2026-03-03"}


def target(scope: Scope, id_: str, period: str, value: float) -> Target:
    return Target(scope, id_, "water-leakage", "%", period, Bound.AT_MOST, value, f"plan {period}")


def node(id_: str, parent: str = "", since_ms: int = 0) -> Node:
    return Node("foundry", id_, parent, f"{id_} 间", id_, None, since_ms)


def meter(row: Meter, **changes: Any) -> Meter:
    return replace(row, **changes)


def register() -> Register:
    """Line stands in the casting shop until the day of the figures, then in its own node."""
    rows = {(row.site, row.id): row for row in (r for rs in REGISTER.rows.values() for r in rs)}
    line = meter(rows.pop(("foundry", "line")), parent="grid", node="casting")
    moved = meter(line, node="line-a", valid_from_ms=MIDNIGHT_MS)
    share = parse_formula("1/3*line")
    return Register.of(
        REGISTER.sites.values(),
        [*rows.values(), line, moved],
        nodes=[node("casting"), node("line-a", "casting"), node("furnace", "casting")],
        regions=[Region("370100", "", "济南市", "Jinan"), Region(REGION, "370100", "章丘", "Z")],
        virtual=[VirtualMeter("foundry", "spare", "electricity", share, "furnace", MIDNIGHT_MS)],
        aims=Aims(targets=(target(Scope.REGION, "370100", "2025", 7.9),)),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    built.reader.register = register()
    yield built
    built.store.close()


@pytest.fixture
def client(ledger: Ledger) -> Iterator[ApiClient]:
    with ApiClient(build_app(ledger.reader)) as client:
        yield client


def get(client: ApiClient, path: str, **parameters: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def electricity(client: ApiClient, **parameters: Any) -> Any:
    answer = get(client, "balance", site="foundry", carrier="electricity", **parameters)
    (row,) = answer["carriers"]
    return row


def test_the_tree_lists_nodes_below_their_parents_with_their_meters(client: ApiClient):
    answer = get(client, "tree", site="foundry")
    assert answer["at_ms"] == NOON_MS
    assert [(row["node"], row["parent"]) for row in answer["nodes"]] == [
        ("casting", ""),
        ("furnace", "casting"),
        ("line-a", "casting"),
    ]
    by_node = {row["node"]: row["meters"] for row in answer["nodes"]}
    assert by_node["casting"] == []
    assert [(m["meter"], m["role"], m["parent"]) for m in by_node["line-a"]] == [
        ("line", "sub", "grid")
    ]
    assert [(m["meter"], m["role"], m["formula"]) for m in by_node["furnace"]] == [
        ("spare", None, "+1/3*line")
    ]
    loose = [m["meter"] for m in answer["meters_without_node"]]
    assert loose == ["belt", "boiler", "gas", "grid", "pv", "water"]
    before = get(client, "tree", site="foundry", at=MIDNIGHT_MS - 1)
    assert [m["meter"] for m in before["nodes"][0]["meters"]] == ["line"]
    assert before["nodes"][1]["meters"] == []


def test_a_balance_is_the_consumption_shared_out(client: ApiClient):
    row = electricity(client, **DAY)
    consumed = get(client, "consumption", site="foundry", **DAY)["sites"][0]["carriers"]
    assert (
        row["amount"] == next(c for c in consumed if c["carrier"] == "electricity")["consumption"]
    )
    assert row["amount"] == {"energy_kwh": QUARTERS * (250 - 10 + 30)}
    nodes = {n["node"]: n for n in row["nodes"]}
    assert {id_: n["amount"]["energy_kwh"] for id_, n in nodes.items()} == {
        "casting": QUARTERS * 90,
        "furnace": QUARTERS * 30,
        "line-a": QUARTERS * 60,
    }
    assert nodes["casting"]["own"] == {"energy_kwh": 0}
    assert (nodes["line-a"]["parent"], nodes["line-a"]["name_zh"]) == ("casting", "line-a 间")
    assert row["unallocated"] == {"energy_kwh": QUARTERS * 180}
    assert row["virtual"] == [{"meter": "spare", "amount": {"energy_kwh": QUARTERS * 30}}]
    assert (row["limit"]["percent"], row["limit"]["target"]) == (5, "balance")
    assert row["exceeded"] is True
    (grid,) = row["meters"]
    assert grid["gap"] == {"energy_kwh": QUARTERS * 150}
    assert grid["exceeded"] is True
    assert (row["measured_share"], row["estimated_share"]) == (1, 0)


def test_one_interval_is_balanced_as_the_day_is(client: ApiClient):
    quarter = electricity(client, **{"from": MIDNIGHT_MS, "to": MIDNIGHT_MS + QUARTER_MS})
    assert quarter["amount"] == {"energy_kwh": 270}
    assert quarter["unallocated"] == {"energy_kwh": 180}


def test_a_move_inside_a_month_is_kept_apart_by_days(client: ApiClient, ledger: Ledger):
    rollups = Rollups(ledger.store, Events(lambda: 0, io.StringIO()))
    rollups.mark([DirtyDay(REGION, "foundry", MIDNIGHT_MS)], MIDNIGHT_MS, NOON_MS - QUARTER_MS)
    rollups.flush()
    march = {"from": "2026-03-01", "to": "2026-04-01"}
    answer = get(client, "balance", site="foundry", level="month", **march)
    assert (answer["level"], answer["figures_level"]) == ("month", "day")
    day = get(client, "balance", site="foundry", level="day", **DAY)
    shares = {"measured_share", "estimated_share"}
    for ours, its in zip(answer["carriers"], day["carriers"], strict=True):
        assert ours["amount"] == its["amount"]
        assert [(n["node"], n["amount"]) for n in ours["nodes"] if n["node"] != "casting"] == [
            (n["node"], n["amount"]) for n in its["nodes"] if n["node"] != "casting"
        ]
    assert shares <= answer["carriers"][0].keys()
    part = get(client, "balance", site="foundry", level="month", **{**march, "from": "2026-03-02"})
    assert part["carriers"] == []  # no month starts in it


def test_water_keeps_to_the_targets_leakage(client: ApiClient):
    answer = get(client, "balance", site="foundry", carrier="water", **DAY)
    (row,) = answer["carriers"]
    assert row["limit"] == {"percent": 7.9, "target": "water-leakage", "source": "plan 2025"}
    assert row["exceeded"] is None  # nothing below: not to be told


def test_the_limit_is_the_nearest_scopes_and_the_latest_that_has_begun():
    own = register()
    site = own.sites["foundry"]
    assert limit_of(own, site, "electricity", "2026-03").percent == 5
    bare = replace(own, aims=Aims())
    limit = limit_of(bare, site, "water", "2026-03")
    assert (limit.percent, limit.target) == (Fraction("7.8"), "water-leakage")
    assert not limit.exceeded(78, 1000)
    assert not limit.exceeded(-78, 1000)
    assert limit.exceeded(79, 1000)
    assert limit.exceeded(-79, 1000)
    many = [
        target(Scope.REGION, "370100", "2025", 7.9),
        target(Scope.REGION, REGION, "2025", 7.7),
        target(Scope.REGION, REGION, "2026", 7.6),
        target(Scope.REGION, REGION, "2030", 7.0),
    ]
    told = replace(own, aims=Aims(targets=tuple(many)))
    assert limit_of(told, site, "water", "2026-03").percent == Fraction("7.6")
    assert limit_of(told, site, "water", "2024-03").percent == Fraction("7.7")
    nearer = Aims(targets=(*many, target(Scope.SITE, "foundry", "2030", 3.0)))
    assert limit_of(replace(own, aims=nearer), site, "water", "2026-03").percent == 3


@pytest.mark.parametrize(
    ("parameters", "status", "parameter"),
    [
        ({}, 422, "site"),
        ({"site": "forge"}, 404, "site"),
        ({"site": "foundry", "carrier": "wood"}, 422, "carrier"),
        ({"site": "foundry", "level": "year"}, 422, "level"),
        ({"site": "foundry", "from": "2026-03-03", "to": "2026-03-02"}, 422, "from"),
        ({"site": "foundry", "from": "2006-01-01", "to": "2026-03-02"}, 422, "to"),
    ],
)
def test_refused(client: ApiClient, parameters: dict[str, str], status: int, parameter: str):
    answer = client.get("/api/v1/balance", params=parameters)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["parameter"] == parameter


def test_a_site_without_data_has_no_balance(client: ApiClient):
    assert get(client, "balance", site="empty", **DAY)["carriers"] == []
    assert get(client, "tree", site="empty")["nodes"] == []


def test_a_node_whose_meters_are_silent_has_no_amount_rather_than_nothing(
    client: ApiClient, ledger: Ledger
):
    rows = [row for rows in ledger.reader.register.rows.values() for row in rows]
    silent = Meter("foundry", "silent", "electricity", Role.SUB, "grid", 1, "", 0, "", node="hall")
    ledger.reader.register = Register.of(
        REGISTER.sites.values(), [*rows, silent], nodes=[node("casting"), node("hall")]
    )
    row = electricity(client, **DAY)
    (hall,) = [n for n in row["nodes"] if n["node"] == "hall"]
    assert (hall["amount"], hall["measured_share"]) == ({}, 0)
    assert hall["meters_without_data"] == ["silent"]
    assert row["exceeded"] is None
    assert row["meters_without_data"] == ["silent"]


def test_meters_that_convert_are_named_beside_the_total(client: ApiClient):
    (steam,) = get(client, "balance", site="foundry", carrier="steam", **DAY)["carriers"]
    assert steam["amount"] == {"heat_gj": 0}
    assert steam["converted"] == {"heat_gj": -8 * QUARTERS}
    assert steam["unexplained"] == {"heat_gj": 8 * QUARTERS}
    assert REGISTER.rows["foundry", "boiler"][0].role is Role.CONVERSION_OUT
