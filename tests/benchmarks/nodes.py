"""Node figures of a city of 10 000 meters: what a minute's roll-up costs, what a chart reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from aggregator.batch import IntervalColumns
from aggregator.directory import SeriesKey
from aggregator.kernels.jit import warm_up
from aggregator.ledger.factor_tables import builtin_library
from aggregator.nodes import Nodes
from aggregator.points import Points
from aggregator.register.model import Meter, Node, Register, Role, Site
from aggregator.store.embedded import EmbeddedStore
from contract.interval import DAY_MS, HOUR_MS
from contract.stored import NODE_FIGURES, THE_REGION, TOTAL, Level
from tests.benchmarks.measure import seconds

SITES, METERS, NODES = 100, 100, 8
QUARTER_MS = 900_000
START_MS = 1_767_196_800_000  # 2026-01-01T00:00:00+08:00
REGION = "370114"
DAYS = 365
KEY = (REGION, THE_REGION, TOTAL, "electricity", "kWh")


def main() -> Iterator[str]:
    warm_up()
    sites = [f"site-{i:03}" for i in range(SITES)]
    register = Register.of(
        [Site(s, REGION, "压测", s, "load", None, None, None, None) for s in sites],
        [_meter(s, m) for s in sites for m in range(METERS)],
        nodes=[Node(s, f"n{n}", "n0" if n % 2 else "", "节", "n", None, 0)
               for s in sites for n in range(NODES)],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        store = EmbeddedStore(Path(name) / "store.duckdb", QUARTER_MS)
        store.open()
        for site in sites:
            for meter in range(METERS):
                store.directory.series.add(SeriesKey(REGION, site, f"em-{meter}", "energy_import"))
        nodes = Nodes(store, register, builtin_library().choose("demo").counts)
        places = [(REGION, site) for site in sites]
        steps = ((Level.INTERVAL, QUARTER_MS, 8), (Level.HOUR, HOUR_MS, 2), (Level.DAY, DAY_MS, 1),
                 (Level.MONTH, 31 * DAY_MS, 1))  # fmt: skip
        made: list[Points] = []

        def figures() -> None:
            made.clear()
            for level, length_ms, count in steps:
                rows = _rows(length_ms, count)
                end_ms = START_MS + count * length_ms
                made.append(nodes.figures(level, places, rows, START_MS, end_ms))

        first = seconds(figures, repeat=1)
        again = seconds(figures)
        write = seconds(lambda: [store.write_points(points) for points in made], repeat=1)
        count = sum(map(len, made))
        yield f"{SITES} sites, {SITES * METERS} meters, a roll-up of 2 h: {count} node figures"
        yield f"made in {again * 1e3:.0f} ms ({first * 1e3:.0f} ms the first time, with the trees)"
        yield f"written to the embedded store in {write * 1e3:.0f} ms"
        for level, starts in ((Level.DAY, DAYS), (Level.MONTH, 12)):
            _fill(store, level, starts)
        end_ms = START_MS + DAYS * DAY_MS
        where = {"region": [REGION], "site": [THE_REGION], "node": [TOTAL]}
        raw = SITES * METERS * DAYS * 96
        for level in (Level.DAY, Level.MONTH):
            of = NODE_FIGURES[level]
            found = len(store.points(of, START_MS + 1, end_ms, where))
            took = seconds(partial(store.points, of, START_MS + 1, end_ms, where))
            yield f"a year of the region by {level}: {found} points in {took * 1e3:.1f} ms"
        yield f"(raw readings behind it: {raw}, at one per 15 min; none is read)"
        store.close()


def _meter(site: str, number: int) -> Meter:
    main_, node = number < 2, f"n{number % NODES}"
    role, parent = (Role.BOUNDARY_IN, "") if main_ else (Role.SUB, f"em-{number % 2}")
    kept = "" if main_ else node
    return Meter(site, f"em-{number}", "electricity", role, parent, 1, "", 0, "", node=kept)


def _rows(length_ms: int, count: int) -> IntervalColumns:
    n = SITES * METERS * count
    zero, kg = np.zeros(n, np.int64), np.ones(n)
    return IntervalColumns(
        np.repeat(np.arange(SITES * METERS, dtype=np.int32), count),
        np.tile(START_MS + length_ms * np.arange(count), SITES * METERS),
        np.full(n, 10**9), zero, zero.copy(), np.full(n, length_ms), zero.copy(), zero.copy(),
        zero.copy(), zero.copy(), zero.copy(), kg, kg.copy(), kg.copy(), kg.copy(),
    )  # fmt: skip


def _fill(store: EmbeddedStore, level: Level, count: int) -> None:
    of = NODE_FIGURES[level]
    fields = dict.fromkeys(of.integers, 1) | dict.fromkeys(of.floats, 1.0)
    length_ms = DAYS * DAY_MS // count
    rows = [(KEY, START_MS + 1 + i * length_ms, fields) for i in range(count)]
    store.write_points(Points.of_rows(of, rows))
