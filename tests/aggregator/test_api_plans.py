"""/plans and /unit-consumption over a known ledger."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregator.api.main import build_app
from aggregator.register.model import (
    Aims,
    Indicator,
    Product,
    Production,
    Quota,
    Register,
    Scope,
    Target,
)
from aggregator.register.model import Bound as BoundOf
from tests.aggregator.api_ledger import MIDNIGHT_MS, REGION, REGISTER, ApiClient, Ledger, build
from tests.aggregator.test_daily_proof import roll_up

QUOTA = Quota(
    "cast", Indicator.ENERGY_PER_PRODUCT, "", "", "castings", "", 400.0, 300.0, 2.0, 0, "GB", True
)


def register(*production: Production) -> Register:
    products = {id_: Product(id_, f"{id_} 件", id_, "t") for id_ in ("castings", "pipes")}
    target = Target(Scope.REGION, REGION, "x", "%", "2026", BoundOf.AT_MOST, 1.0, "plan")
    aims = Aims(products, production, (QUOTA,), (), (target,))
    return replace(REGISTER, aims=aims)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    roll_up(built, MIDNIGHT_MS)
    yield built
    built.store.close()


def ask(ledger: Ledger, path: str, **parameters: str) -> Any:
    with ApiClient(build_app(ledger.reader)) as client:
        answer = client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text


def test_unit_consumption_is_energy_over_output(ledger: Ledger):
    made = (
        Production("foundry", "castings", "2026-03", 50.0),
        Production("foundry", "castings", "2026-02", 50.0),
    )
    ledger.reader.register = register(*made)
    march, february = ask(ledger, "unit-consumption", site="foundry")
    span = {"from": "2026-03-01", "to": "2026-04-01"}
    (site,) = ask(ledger, "consumption", site="foundry", level="month", **span)["sites"]
    energy = march["energy_kgce_calorific"]
    assert energy == pytest.approx(site["total"]["kgce_calorific"])
    assert march["kgce_calorific_per_unit"] == pytest.approx(energy / 50)
    assert march["kgce_equivalent_per_unit"] == pytest.approx(march["energy_kgce_equivalent"] / 50)
    assert march["reason"] == ""
    levels = {row["level"]: (row["value"], row["unit"], row["exceeded"]) for row in march["quotas"]}
    over = energy / 50
    assert levels == {
        "constraint": (400.0, "kgce/t", over > 400),
        "baseline": (300.0, "kgce/t", over > 300),
        "guide": (2.0, "kgce/t", True),
    }
    assert february["kgce_calorific_per_unit"] is None
    assert "determined" in february["reason"]
    assert {row["exceeded"] for row in february["quotas"]} == {None}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ([Production("foundry", "castings", "2026-03", 0.0)], "nothing was made"),
        (
            [
                Production("foundry", "castings", "2026-03", 5.0),
                Production("foundry", "pipes", "2026", 5.0),
            ],
            "also made pipes",
        ),
    ],
)
def test_what_says_nothing_is_null_with_its_reason(
    ledger: Ledger, made: list[Production], reason: str
):
    ledger.reader.register = register(*made)
    first = ask(ledger, "unit-consumption", site="foundry")[0]
    assert first["kgce_calorific_per_unit"] is None
    assert reason in first["reason"]


def test_plans_are_listed_by_site(ledger: Ledger):
    ledger.reader.register = register(Production("foundry", "castings", "2026-03", 50.0))
    rows = ask(ledger, "plans", site="foundry")
    kinds = {(row["site"], row["kind"], row["bound"]) for row in rows}
    assert kinds == {
        ("_region", "target", "at_most"),
        ("foundry", "production", ""),
        ("foundry", "quota", "constraint"),
        ("foundry", "quota", "baseline"),
        ("foundry", "quota", "guide"),
    }
    assert [row["kind"] for row in ask(ledger, "plans", site="office")] == ["target"]
    assert ask(ledger, "plans", format="csv").startswith("\ufeffregion,site,entity")
