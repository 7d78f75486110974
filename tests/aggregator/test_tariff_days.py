"""What a site bought by period of its tariff: the ledger's cost, and nothing but it."""

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.api.main import build_app
from aggregator.events import Events
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariffs import Period, Tariff
from aggregator.register.model import Register, Role
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import DirtyDay
from contract.interval import DAY_MS, month_start, next_month
from contract.stored import NODE_FIGURES, TARIFF_DAY, TOTAL, Level
from tests.aggregator.api_ledger import (
    MIDNIGHT_MS,
    NOON_MS,
    QUARTER_MS,
    REGION,
    SITE_TARIFFS,
    ApiClient,
    Ledger,
    build,
)
from tests.aggregator.test_api_cost import HOUR_KWH, change

COUNTS = builtin_library().choose("demo").counts
DAY = {"site": "foundry", "from": "2026-03-02", "to": "2026-03-03"}
KEY = (REGION, "foundry", "electricity", "kWh")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build(tmp_path)
    yield built
    built.store.close()


def rolled_up(
    ledger: Ledger,
    register: Register | None = None,
    tariffs: SiteTariffs = SITE_TARIFFS,
    days: Sequence[int] = (MIDNIGHT_MS,),
) -> Rollups:
    rollups = Rollups.with_nodes(
        ledger.store, Events(lambda: 0, io.StringIO()), register or ledger.reader.register,
        COUNTS, tariffs, lambda: NOON_MS,
    )  # fmt: skip
    dirty = [DirtyDay(REGION, one, day_ms) for one in ("foundry", "office") for day_ms in days]
    rollups.mark(dirty, min(days), max(days) + DAY_MS - QUARTER_MS)
    rollups.flush()
    while rollups.catch_up():
        pass
    return rollups


def stored(ledger: Ledger) -> dict[tuple[str, ...], dict[str, Any]]:
    points = ledger.store.points(TARIFF_DAY, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
    return {tags: row for tags, at, row in points.rows() if at == MIDNIGHT_MS}


def of_period(ledger: Ledger) -> dict[str, tuple[int, float | None]]:
    found = stored(ledger)
    return {tags[-1]: (r["amount"], r["cost_cny"]) for tags, r in found.items() if tags[:4] == KEY}


def test_the_periods_are_those_of_the_api_and_make_the_cost_of_the_day(ledger: Ledger):
    rolled_up(ledger)
    found = stored(ledger)
    with ApiClient(build_app(ledger.reader)) as client:
        (site,) = client.get("/api/v1/cost", params=DAY).json()["sites"]
    told: dict[tuple[str, ...], float | None] = {
        (REGION, "foundry", one["carrier"], period["period"] or ""): period["cost_cny"]
        for one in site["carriers"]
        for period in one["periods"]
    }
    own = {tags: row for tags, row in found.items() if tags[1] == "foundry"}
    assert {(*tags[:3], tags[4]) for tags in own} == set(told)
    for tags, row in own.items():
        assert row["cost_cny"] == pytest.approx(told[(*tags[:3], tags[4])], rel=1e-12)
    amount = {tags[-1]: row["amount"] for tags, row in own.items() if tags[:4] == KEY}
    assert amount["valley"] == HOUR_KWH * 1_000_000
    days = ledger.store.points(
        NODE_FIGURES[Level.DAY], MIDNIGHT_MS, MIDNIGHT_MS + 1,
        {"site": ["foundry"], "node": [TOTAL]},
    )  # fmt: skip
    for tags, _, day in days.rows():
        costs = [row["cost_cny"] for of, row in own.items() if of[2:4] == tags[3:5]]
        if costs:
            assert day["cost_cny"] == pytest.approx(sum(costs), rel=1e-12)
    # a site without a tariff has amounts, and no cost
    assert found[REGION, "office", "electricity", "kWh", ""]["cost_cny"] is None


# Hours of the day by period, as a person counts them in demo-hours.toml
JULY = {"sharp": 5, "peak": 2, "flat": 12, "valley": 5}
NOVEMBER = {"sharp": 2, "peak": 3, "flat": 14, "valley": 2, "deep_valley": 3}
DECEMBER = {"sharp": 3, "peak": 4, "flat": 8, "valley": 6, "deep_valley": 3}
PRICES = {"sharp": 1.10, "peak": 0.95, "flat": 0.62, "valley": 0.28, "deep_valley": 0.18}


@pytest.mark.parametrize(
    ("first", "end", "seasons"),
    [
        ("2026-07-15", "2026-07-16", [JULY]),
        ("2026-12-09", "2026-12-10", [DECEMBER]),
        ("2026-11-30", "2026-12-02", [NOVEMBER, DECEMBER]),
    ],
    ids=["July", "December", "a change of season"],
)
def test_whole_days_of_other_seasons(
    tmp_path: Path, first: str, end: str, seasons: list[dict[str, int]]
):
    midnight_ms = round(datetime.fromisoformat(f"{first}T00:00:00+08:00").timestamp()) * 1_000
    ledger = build(tmp_path, midnight_ms=midnight_ms, quarters=96 * len(seasons))
    with ApiClient(build_app(ledger.reader)) as client:
        window = {"site": "foundry", "from": first, "to": end}
        (site,) = client.get("/api/v1/cost", params=window).json()["sites"]
    (told,) = [row for row in site["carriers"] if row["carrier"] == "electricity"]
    hours = {name: sum(one.get(name, 0) for one in seasons) for name in PRICES}
    hours = {name: count for name, count in hours.items() if count}
    assert {
        row["period"]: (row["amount"]["energy_kwh"], row["cost_cny"]) for row in told["periods"]
    } == {
        name: (count * HOUR_KWH, pytest.approx(count * HOUR_KWH * PRICES[name]))
        for name, count in hours.items()
    }
    assert told["cost_cny"] == pytest.approx(
        HOUR_KWH * sum(count * PRICES[name] for name, count in hours.items())
    )

    rolled_up(ledger, days=[midnight_ms + i * DAY_MS for i in range(len(seasons))])
    points = ledger.store.points(TARIFF_DAY, 0, 2**44, {"site": ["foundry"]})
    found = {(at, tags[-1]): row for tags, at, row in points.rows() if tags[:4] == KEY}
    for i, season in enumerate(seasons):
        own = {name: row for (at, name), row in found.items() if at == midnight_ms + i * DAY_MS}
        assert {name: (row["amount"], row["cost_cny"]) for name, row in own.items()} == {
            name: (count * HOUR_KWH * 1_000_000, pytest.approx(count * HOUR_KWH * PRICES[name]))
            for name, count in season.items()
        }
    ledger.store.close()


def test_a_restated_figure_restates_its_period_alone(ledger: Ledger):
    rolled_up(ledger)
    before = of_period(ledger)
    change(ledger, "foundry", "grid", 40, cost_cny=1_000.0)  # 10 o'clock: valley
    rolled_up(ledger)
    after = of_period(ledger)
    valley = before.pop("valley"), after.pop("valley")
    assert before == after
    assert valley[1][1] == pytest.approx(HOUR_KWH * 0.28 * 3 / 4 + 1_000)
    change(ledger, "foundry", "grid", 40, cost_cny=np.nan)
    rolled_up(ledger)
    assert of_period(ledger)["valley"] == (valley[0][0], None)


def test_what_is_bought_no_longer_stays_as_zeros(ledger: Ledger):
    rolled_up(ledger)
    register = ledger.reader.register
    meters = [
        replace(row, role=Role.CHECK) if row.id == "grid" else row
        for rows in register.rows.values()
        for row in rows
    ]
    changed = Register.of(list(register.sites.values()), meters)
    nodes = rolled_up(ledger, changed).nodes
    assert nodes is not None
    month_ms = month_start(MIDNIGHT_MS)
    assert nodes.redo((REGION, "foundry"), month_ms, next_month(month_ms), changed=False) == 0
    assert set(of_period(ledger).values()) == {(0, 0.0)}
    assert stored(ledger)[REGION, "foundry", "raw_coal", "t", "flat"]["cost_cny"] > 0


def test_a_period_that_begins_inside_an_hour_is_cut_there(ledger: Ledger):
    tariff = SITE_TARIFFS.find("foundry", "electricity", "kWh")
    assert isinstance(tariff, Tariff)
    day = ((0, Period.FLAT), (10 * 60 + 30, Period.PEAK), (11 * 60, Period.FLAT))
    hours = (replace(tariff.hours[0], months=(day,) * 12),)
    halves = replace(tariff, hours=hours)
    rolled_up(ledger, tariffs=_Only(halves))
    amounts = {period: amount for period, (amount, _) in of_period(ledger).items()}
    assert amounts == {"flat": 23 * HOUR_KWH * 500_000, "peak": HOUR_KWH * 500_000}


def test_a_role_holds_for_the_intervals_that_start_in_it(ledger: Ledger):
    """The incomer becomes a check meter at half past ten, in the middle of a valley hour."""
    register = ledger.reader.register
    meters = [row for rows in register.rows.values() for row in rows]
    (grid,) = [row for row in meters if row.id == "grid"]
    half_past_ten = MIDNIGHT_MS + 42 * QUARTER_MS
    meters.append(replace(grid, role=Role.CHECK, valid_from_ms=half_past_ten))
    rolled_up(ledger, Register.of(list(register.sites.values()), meters))
    amounts = {period: amount for period, (amount, _) in of_period(ledger).items()}
    assert amounts == {"flat": 20 * HOUR_KWH * 500_000, "valley": HOUR_KWH * 500_000}


class _Only(SiteTariffs):
    """One tariff for electricity."""

    def __init__(self, tariff: Tariff) -> None:
        self._tariffs = defaultdict(dict, foundry={("electricity", "kWh"): tariff})
