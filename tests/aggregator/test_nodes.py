"""Stored node figures: a site is exactly the sum of its parts at every level, as the API says."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from aggregator.api.accounts import site_account
from aggregator.api.main import build_app
from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.factors import Measure
from aggregator.node_figures import NodeFigures
from aggregator.nodes import Nodes
from aggregator.register.model import Aims, Meter, Register, Role, Scope, Site
from aggregator.rollups import Rollups
from aggregator.store.base import Commit, DirtyDay, Store, StoreRetriable
from contract.interval import DAY_MS, HOUR_MS, day_start, month_start, next_month
from contract.stored import (
    BALANCES,
    ENERGY,
    GENERATION,
    MEASURE_FIELDS,
    NODE_FIGURES,
    NODE_PLAN,
    OUT,
    PROOF_DAY,
    THE_REGION,
    TOTAL,
    UNALLOCATED,
    Level,
)
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, QUARTERS, REGION, ApiClient, Ledger
from tests.aggregator.api_ledger import build as build_ledger
from tests.aggregator.test_api_balance import register as balance_register
from tests.aggregator.test_api_balance import target
from tests.aggregator.test_tree import (
    MOVE_MS,
    QUARTER_MS,
    SITE,
    SLOTS,
    START_MS,
    World,
    expected,
    worlds,
)
from tests.aggregator.test_tree import columns as columns_of
from tests.suites.memory_store import MemoryDatabase, MemoryStore

PLACE = (REGION, "foundry")
COUNTS = builtin_library().choose("demo").counts
LEVELS = (Level.HOUR, Level.DAY, Level.MONTH)
STARTS = {
    Level.HOUR: MIDNIGHT_MS,
    Level.DAY: MIDNIGHT_MS,
    Level.MONTH: month_start(MIDNIGHT_MS),
}
NOTHING, NONE = (ReadingColumns.empty(cumulative=c) for c in (True, False))
OWN = {TOTAL, UNALLOCATED, GENERATION, OUT}


def rollups_of(store: Store, register: Register, now_ms: int = NOON_MS) -> Rollups:
    events = Events(lambda: 0, io.StringIO())
    nodes = NodeFigures(store, Nodes(store, register, COUNTS), lambda: now_ms)
    return Rollups(store, events, nodes=nodes)


def site(id_: str, region: str = REGION) -> Site:
    return Site(id_, region, id_, id_, "metal", None, None, None, None)


def stored(store: Store, level: Level, **where: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the points of a level: (region, site, node, carrier, unit, start) -> fields."""
    chosen = {name: [value] for name, value in where.items()}
    points = store.points(NODE_FIGURES[level], 0, 2**60, chosen)
    return {(*tags, at): fields for tags, at, fields in points.rows()}


def mark(
    store: Store, rollups: Rollups, rows: IntervalColumns, places: set[tuple[str, str]]
) -> None:
    """Commit intervals, and mark their days as the pipeline does."""
    days = {day_start(at) for at in rows.start_ms.tolist()}
    dirty = {DirtyDay(*place, day) for place in places for day in days}
    store.commit(Commit(NOTHING, NONE, rows, {}, frozenset(dirty)))
    rollups.mark(dirty, int(rows.start_ms.min()), int(rows.start_ms.max()))


def filled(world: World, register: Register, later_ms: int = 0) -> tuple[MemoryStore, Rollups]:
    """Roll figures up; those from where the world changes come so much later."""
    store = MemoryStore(MemoryDatabase(), QUARTER_MS)
    store.open()
    _, rows = columns_of(world.figures)
    for id_, channel in world.figures:
        store.directory.series.add(SeriesKey(REGION, SITE, id_, channel))
    kg = rows.amount.astype(np.float64)
    start_ms = rows.start_ms + later_ms * (rows.start_ms >= MOVE_MS)
    rows = replace(
        rows,
        start_ms=start_ms,
        kgce_calorific=kg,
        kgce_equivalent=2 * kg,
        co2_kg=3 * kg,
        cost_cny=kg,
    )
    rollups = rollups_of(store, register, START_MS + 2 * DAY_MS)
    mark(store, rollups, rows, {(REGION, SITE)})
    rollups.flush()
    return store, rollups


@settings(deadline=None)
@given(worlds())
def test_a_site_is_exactly_the_sum_of_its_parts_at_every_level(world: World):
    """Shares are rounded once at each level; here none needs to be, so that levels agree too."""
    figures = {key: [27_000 * one for one in amounts] for key, amounts in world.figures.items()}
    world = replace(world, figures=figures)
    register = Register.of([site(SITE)], world.meters, nodes=world.nodes, virtual=world.virtual)
    store, _ = filled(world, register)
    total, own, amounts = expected(world, START_MS, START_MS + SLOTS * QUARTER_MS)
    tops = {n.id for n in register.nodes_of(SITE, START_MS) if not n.parent}
    moved = {n.id for n in world.nodes if n.valid_from_ms}
    for level in LEVELS:
        found = {
            key[2]: row["amount"]
            for key, row in stored(store, level, carrier="electricity").items()
            if key[1] == SITE
        }
        assert found.get(TOTAL, 0) == total
        assert found.get(UNALLOCATED, 0) == own[""]
        nodes = {id_: amount for id_, amount in amounts.items() if id_}
        assert {id_: found.get(id_, 0) for id_ in nodes} == nodes
        if not moved & (tops | set(nodes)):
            assert sum(found.get(id_, 0) for id_ in tops) + found.get(UNALLOCATED, 0) == total
    slots = stored(store, Level.INTERVAL, site=SITE, carrier="electricity")
    assert sum(row["amount"] for row in slots.values()) == total
    assert {key[2] for key in slots} <= {TOTAL}
    assert all(row["missing_ms"] >= 0 for row in stored(store, Level.HOUR).values())


@settings(deadline=None)
@given(worlds())
def test_the_parts_of_each_figure_make_it_up_whatever_is_rounded_or_moved(world: World):
    """Everything that moves does so between two hours; shares are rounded at every level."""
    later_ms = START_MS + HOUR_MS - MOVE_MS

    def moved(rows: list[Any]) -> list[Any]:
        return [
            replace(row, valid_from_ms=row.valid_from_ms and row.valid_from_ms + later_ms)
            for row in rows
        ]

    nodes = moved(world.nodes)
    register = Register.of(
        [site(SITE)], moved(world.meters), nodes=nodes, virtual=moved(world.virtual)
    )
    store, _ = filled(world, register, later_ms)
    scale = sum(abs(one) for amounts in world.figures.values() for one in amounts)
    totals = {}
    for level in LEVELS:
        figures: dict[int, dict[str, dict[str, Any]]] = {}
        for key, row in stored(store, level, site=SITE, carrier="electricity").items():
            figures.setdefault(key[-1], {})[key[2]] = row
        totals[level] = sum(of[TOTAL]["amount"] for of in figures.values() if TOTAL in of)
        for start_ms, of in figures.items():
            if level is not Level.HOUR and any(n.valid_from_ms for n in nodes):
                continue  # of two trees
            tops = [n.id for n in register.nodes_of(SITE, start_ms + 1) if not n.parent]
            parts = [of[name] for name in (*tops, UNALLOCATED) if name in of]
            whole = of.get(TOTAL, dict.fromkeys(("amount", *MEASURE_FIELDS), 0))
            assert sum(row["amount"] for row in parts) == whole["amount"]
            for name in MEASURE_FIELDS:
                assert sum(row[name] for row in parts) == pytest.approx(
                    whole[name], rel=1e-9, abs=1e-9 * scale
                )
    assert len(set(totals.values())) == 1


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    built = build_ledger(tmp_path)
    built.reader.register = balance_register()
    yield built
    built.store.close()


def rolled_up(ledger: Ledger, register: Register | None = None, now_ms: int = NOON_MS) -> Rollups:
    rollups = rollups_of(ledger.store, register or ledger.reader.register, now_ms)
    days = [DirtyDay(REGION, one, MIDNIGHT_MS) for one in ("foundry", "office")]
    rollups.mark(days, MIDNIGHT_MS, NOON_MS - QUARTER_MS)
    rollups.flush()
    while rollups.catch_up():
        pass
    return rollups


def micro(amounts: Mapping[str, float]) -> int:
    (value,) = amounts.values() or (0,)
    return round(value * 1_000_000)


def test_what_is_stored_is_what_the_balance_of_the_api_says(ledger: Ledger):
    rolled_up(ledger)
    with ApiClient(build_app(ledger.reader)) as client:
        for level in LEVELS:
            start = STARTS[level]
            length = HOUR_MS if level is Level.HOUR else DAY_MS
            asked = {"site": "foundry", "level": str(level), "from": start, "to": start + length}
            answer = client.get("/api/v1/balance", params=asked).json()
            rows = {
                (key[2], key[3]): row
                for key, row in stored(ledger.store, level, site="foundry").items()
                if key[5] == start
            }
            assert answer["carriers"]
            for one in answer["carriers"]:
                carrier = one["carrier"]
                if (TOTAL, carrier) in rows:
                    assert rows[TOTAL, carrier]["amount"] == micro(one["amount"])
                if (UNALLOCATED, carrier) in rows:
                    assert rows[UNALLOCATED, carrier]["amount"] == micro(one["unallocated"])
                for node in one["nodes"]:
                    row = rows[node["node"], carrier]
                    assert row["amount"] == micro(node["amount"])
                    assert row["amount_held"] == micro(node["held"])


def test_comprehensive_energy_is_that_of_the_account(ledger: Ledger):
    rolled_up(ledger)
    found = site_account(
        ledger.reader, ledger.reader.register.sites["foundry"], Level.DAY, MIDNIGHT_MS,
        MIDNIGHT_MS + DAY_MS,
    )  # fmt: skip
    (energy,) = stored(ledger.store, Level.DAY, site="foundry", carrier=ENERGY, node=TOTAL).values()
    for measure in Measure:
        assert energy[measure] == pytest.approx(found.total[measure], rel=1e-12)
    assert energy["cost_cny"] == pytest.approx(found.cost_cny, rel=1e-12)
    assert energy["amount"] == 0
    bought = [
        ledger.series("foundry", *one)
        for one in (("grid", "energy_import"), ("belt", "mass"), ("water", "volume"))
    ]  # and nothing for what the sun gave
    paid = ledger.store.intervals(
        Level.INTERVAL, np.array(bought, np.int32), MIDNIGHT_MS, NOON_MS
    ).cost_cny.sum()
    assert energy["cost_cny"] == pytest.approx(paid, rel=1e-12)
    by_carrier = {
        key[3]: row for key, row in stored(ledger.store, Level.DAY, site="foundry").items()
        if key[2] == TOTAL
    }  # fmt: skip
    for carrier in found.carriers:
        row = by_carrier.get(carrier.carrier)
        if carrier.consumption:
            assert row is not None
            for measure in Measure:
                told = carrier.kg.get(measure)
                assert row[measure] == (told if told is None else pytest.approx(told, rel=1e-12))
    assert by_carrier["water"]["co2_kg"] is None  # a medium: in no converted total
    parts = stored(ledger.store, Level.DAY, site="foundry", carrier=ENERGY)
    tops = ("casting", UNALLOCATED)
    for name in MEASURE_FIELDS:
        values = [row[name] for key, row in parts.items() if key[2] in tops]
        assert None not in values
        assert sum(values) == pytest.approx(energy[name], rel=1e-9)


def test_generation_and_coverage_are_told(ledger: Ledger):
    rolled_up(ledger)
    day = {
        key[2]: row
        for key, row in stored(ledger.store, Level.DAY, site="foundry").items()
        if key[3] == "electricity"
    }
    assert day[GENERATION]["amount"] == QUARTERS * 30_000_000
    assert day[GENERATION]["co2_kg"] == 0  # won on site
    total = day[TOTAL]  # grid and pv stand behind it, both measured for half the day
    assert (total["measured_ms"], total["missing_ms"]) == (DAY_MS, DAY_MS)
    assert (total["received"], total["expected"]) == (2 * QUARTERS, 2 * 96)
    hour = stored(ledger.store, Level.HOUR, site="foundry", node=TOTAL, carrier="electricity")
    assert {row["missing_ms"] for row in hour.values()} == {0}


def test_a_region_is_the_sum_of_its_sites(ledger: Ledger):
    rolled_up(ledger)
    for level in LEVELS:
        rows = stored(ledger.store, level, carrier="electricity")
        sums: dict[tuple[str, int], int] = {}
        for (_, site_, node, *_, at), row in rows.items():
            if site_ != THE_REGION and node in OWN:
                sums[node, at] = sums.get((node, at), 0) + row["amount"]
        region = {
            (key[2], key[5]): row["amount"] for key, row in rows.items() if key[1] == THE_REGION
        }
        assert region == sums
        assert region


def intervals(series: int, day_ms: int, quarters: range, amount: int = 5) -> IntervalColumns:
    """Fully measured quarters of a day."""
    start_ms = np.array([day_ms + i * QUARTER_MS for i in quarters], np.int64)
    zero, one = np.zeros(len(start_ms), np.int64), np.ones(len(start_ms), np.int64)
    kg = np.ones(len(start_ms))
    return IntervalColumns(
        np.full(len(start_ms), series, np.int32), start_ms,
        amount * one, zero, zero, QUARTER_MS * one, zero, zero, one, one, zero, kg, kg, kg, kg,
    )  # fmt: skip


def test_a_site_that_is_silent_is_missing_in_its_region():
    """Beside a measured one: a part of a day or days; a new one only since it is there."""
    first, noon = day_start(START_MS), day_start(START_MS) + DAY_MS // 2
    store = MemoryStore(MemoryDatabase(), QUARTER_MS)
    store.open()
    since = {"measured": 0, "spoke": 0, "new": noon, "never": 0}
    register = Register.of(
        [site(name) for name in since],
        [
            Meter(name, "em-1", "electricity", Role.BOUNDARY_IN, "", 1, "", since_ms, "")
            for name, since_ms in since.items()
        ],
    )
    measured, spoke, new = (
        store.directory.series.add(SeriesKey(REGION, name, "em-1", "energy_import"))
        for name in ("measured", "spoke", "new")
    )
    rollups = rollups_of(store, register, START_MS + 9 * DAY_MS)
    for part in (
        intervals(measured, first, range(96)),
        intervals(spoke, first, range(48)),
        intervals(measured, first + DAY_MS, range(96)),
        intervals(new, first + 2 * DAY_MS, range(96)),
    ):
        place = (REGION, store.directory.series.key(int(part.series[0])).site)
        mark(store, rollups, part, {place})
    rollups.flush()
    while rollups.catch_up():
        pass

    def told(level: Level) -> dict[int, tuple[float, ...]]:
        rows = stored(store, level, site=THE_REGION, node=TOTAL, carrier="electricity")
        return {
            key[-1]: (row["measured_ms"] / HOUR_MS, row["missing_ms"] / HOUR_MS, row["expected"])
            for key, row in rows.items()
        }

    assert told(Level.DAY) == {
        first: (36, 12 + 12, 2 * 96 + 48),
        first + DAY_MS: (24, 2 * 24, 3 * 96),
        first + 2 * DAY_MS: (24, 2 * 24, 3 * 96),
    }
    hours = told(Level.HOUR)
    assert hours[first + 11 * HOUR_MS] == (2, 0, 2 * 4)
    assert hours[noon] == (1, 2, 3 * 4)
    month = month_start(first)
    days = (next_month(month) - month) // DAY_MS
    assert told(Level.MONTH)[month][2] == 2 * 96 * days + (next_month(month) - noon) // QUARTER_MS


def test_a_day_gets_its_balance_when_it_is_over_and_is_due_to_be_proved_when_settled(
    ledger: Ledger,
):
    rollups = rolled_up(ledger)
    assert list(ledger.store.points(BALANCES[Level.DAY], 0, 2**60).rows()) == []
    later = rolled_up(ledger, now_ms=MIDNIGHT_MS + DAY_MS + HOUR_MS)
    found = {
        tags[2:5]: fields
        for tags, _, fields in ledger.store.points(BALANCES[Level.DAY], 0, 2**60).rows()
        if tags[1] == "foundry" and tags[4] == "electricity"
    }
    site_row = found[TOTAL, "", "electricity"]
    assert site_row["parent"] == QUARTERS * 270_000_000
    assert site_row["residual"] == QUARTERS * 180_000_000
    assert site_row["children"] == QUARTERS * 90_000_000
    assert (site_row["limit_ppm"], site_row["over"], site_row["without_data"]) == (50_000, 1, 0)
    assert found["", "grid", "electricity"]["residual"] == QUARTERS * 150_000_000
    water = ledger.store.points(BALANCES[Level.MONTH], 0, 2**60, {"carrier": ["water"]})
    assert [(row["limit_ppm"], row["over"]) for _, _, row in water.rows()] == [(79_000, None)]
    assert list(ledger.store.points(PROOF_DAY, 0, 2**60).rows()) == []
    rolled_up(ledger, now_ms=MIDNIGHT_MS + DAY_MS + 6 * HOUR_MS)
    due = ledger.store.points(PROOF_DAY, 0, 2**60)
    assert {(tags, at, row["due"]) for tags, at, row in due.rows()} == {
        ((REGION, one), MIDNIGHT_MS, 1) for one in ("foundry", "office")
    }
    assert rollups is not later


@pytest.mark.parametrize(("targets", "percent", "over"), [((), 7.8, True), ((7.9,), 7.9, False)])
def test_a_water_network_that_loses_7_85_percent(
    ledger: Ledger, targets: tuple[float, ...], percent: float, over: bool
):
    """One plant, two zones: above Laiwu's limit, which is the table's, and below Jining's."""
    plant = Meter("network", "plant", "water", Role.BOUNDARY_IN, "", 1, "", 0, "")
    zones = [replace(plant, id=id_, role=Role.SUB, parent="plant") for id_ in ("east", "west")]
    aims = Aims(targets=tuple(target(Scope.REGION, REGION, "2025", one) for one in targets))
    register = Register.of([site("network")], [plant, *zones], aims=aims)
    ledger.reader.register = register
    rollups = rollups_of(ledger.store, register, MIDNIGHT_MS + DAY_MS)
    for meter, amount in (("plant", 20_000), ("east", 10_000), ("west", 8_430)):
        index = ledger.store.directory.series.add(SeriesKey(REGION, "network", meter, "volume"))
        rows = intervals(index, MIDNIGHT_MS, range(QUARTERS), amount)
        mark(ledger.store, rollups, rows, {(REGION, "network")})
    rollups.flush()
    for of in BALANCES.values():
        rows_ = list(ledger.store.points(of, 0, 2**60, {"site": ["network"]}).rows())
        assert {(tags[2], tags[3]) for tags, _, _ in rows_} == {(TOTAL, ""), ("", "plant")}
        for _, _, row in rows_:
            assert (row["parent"], row["residual"]) == (QUARTERS * 20_000, QUARTERS * 1_570)
            assert (row["limit_ppm"], row["over"]) == (percent * 10_000, int(over))
    with ApiClient(build_app(ledger.reader)) as client:
        asked = {"site": "network", "from": "2026-03-02", "to": "2026-03-03"}
        (water,) = client.get("/api/v1/balance", params=asked).json()["carriers"]
    assert (water["limit"]["percent"], water["exceeded"]) == (percent, over)
    assert [(one["meter"], one["exceeded"]) for one in water["meters"]] == [("plant", over)]


def test_a_silent_sites_balance_is_made_at_the_next_start(ledger: Ledger):
    rolled_up(ledger)
    again = rollups_of(ledger.store, ledger.reader.register, MIDNIGHT_MS + 3 * DAY_MS)
    again.flush()
    days = ledger.store.points(BALANCES[Level.DAY], 0, 2**60, {"site": ["foundry"]})
    assert set(days.time_ms.tolist()) == {MIDNIGHT_MS}


def changed(register: Register) -> Register:
    """`line` was in no node, and the grid's feeder to it a check meter: told after the fact."""
    rows = [row for of in register.rows.values() for row in of]
    rows = [replace(row, node="") if row.id == "line" else row for row in rows]
    rows = [replace(row, role=Role.CHECK) if row.id == "pv" else row for row in rows]
    return Register.of(
        register.sites.values(), rows, nodes=[n for of in register.nodes.values() for n in of],
        regions=register.regions.values(), aims=register.aims,
    )  # fmt: skip


def everything(store: Store) -> dict[str, Any]:
    """Return all node figures and balances but points of zeros."""
    kinds = [*NODE_FIGURES.values(), *BALANCES.values()]
    return {
        of.name: {
            (tags, at): fields
            for tags, at, fields in store.points(of, 0, 2**60).rows()
            if any(value for name, value in fields.items() if name != "over")
        }
        for of in kinds
    }


@pytest.mark.parametrize("pieces", [0, 3, 9, 99])
def test_a_changed_register_makes_figures_again_whenever_it_was_interrupted(
    ledger: Ledger, tmp_path: Path, pieces: int
):
    now_ms = MIDNIGHT_MS + 2 * DAY_MS
    rolled_up(ledger, now_ms=now_ms)
    new = changed(ledger.reader.register)
    first = rollups_of(ledger.store, new, now_ms)
    for _ in range(pieces):
        first.catch_up()
    second = rollups_of(ledger.store, new, now_ms)  # the process was killed and starts again
    while second.catch_up():
        pass
    fresh = build_ledger(tmp_path / "fresh")
    try:
        rolled_up(fresh, new, now_ms)
        assert everything(ledger.store) == everything(fresh.store)
    finally:
        fresh.store.close()
    gone = stored(ledger.store, Level.DAY, site="foundry", node="line-a", carrier="electricity")
    assert [row["amount"] for row in gone.values()] == [0]
    third = rollups_of(ledger.store, new, now_ms)
    assert sum(iter(third.catch_up, False)) == 2  # each site was looked at, and no more
    noted = {tags for tags, _, _ in ledger.store.points(NODE_PLAN, 0, 1).rows()}
    assert noted == {(REGION, "foundry"), (REGION, "office")}


def test_a_store_that_fails_midway_leaves_the_marks(ledger: Ledger):
    class Failing:
        def __init__(self) -> None:
            self.left = 3

        def __getattr__(self, name: str) -> Any:
            if name == "write_points":
                self.left -= 1
                if self.left == 0:
                    raise StoreRetriable("away")
            return getattr(ledger.store, name)

    store: Any = Failing()
    rollups = rollups_of(store, ledger.reader.register)
    day = DirtyDay(REGION, "foundry", MIDNIGHT_MS)
    ledger.store.commit(Commit(NOTHING, NONE, IntervalColumns.empty(), {}, frozenset({day})))
    rollups.mark([day], MIDNIGHT_MS, NOON_MS - QUARTER_MS)
    with pytest.raises(StoreRetriable):
        rollups.flush()
    assert ledger.store.dirty_days() == {day}
    rollups.flush()
    assert ledger.store.dirty_days() == frozenset()
    assert stored(ledger.store, Level.MONTH, site=THE_REGION)
