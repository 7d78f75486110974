"""Four measures of stored intervals made anew.

Measured on 400 meters; a rate, which more meters are taken to keep: the work is done by site.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.kernels.jit import warm_up
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.restate import Restater
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Commit
from aggregator.store.embedded import EmbeddedStore
from tests.benchmarks.measure import rate, seconds

SITES, METERS, DAYS = 20, 20, 30
QUARTER_MS = 900_000
START_MS = 1_767_196_800_000  # 2026-01-01T00:00:00+08:00
END_MS = START_MS + DAYS * 96 * QUARTER_MS
REGION = "370114"


def main() -> Iterator[str]:
    warm_up()
    sites = [f"site-{i:02}" for i in range(SITES)]
    register = Register.of(
        [Site(s, REGION, "压测", s, "load", None, None, None, None, tariffs=("demo-electricity",))
         for s in sites],
        [Meter(s, f"em-{m:02}", "electricity", Role.BOUNDARY_IN, "", 1, "", 0, "")
         for s in sites for m in range(METERS)],
    )  # fmt: skip
    hours = SITES * METERS * DAYS * 24
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = EmbeddedStore(folder / "store.duckdb", QUARTER_MS)
        store.open()
        for site in sites:
            for meter in range(METERS):
                store.directory.series.add(
                    SeriesKey(REGION, site, f"em-{meter:02}", "energy_import")
                )
        parameters = Parameters(store.directory, register)
        tariffs = SiteTariffs(register, builtin_tariffs(), QUARTER_MS)
        made = {
            name: Measures(store.directory, parameters, builtin_library().choose(name), tariffs)
            for name in ("national", "demo")
        }
        rows = _intervals(SITES * METERS)
        none = (ReadingColumns.empty(cumulative=True), ReadingColumns.empty(cumulative=False))
        store.commit(Commit(*none, rows, {}, frozenset()))
        restatements = Restatements(f"sqlite:///{folder / 'records.sqlite'}")
        restatements.open()
        rollups = Rollups(store, Events(lambda: 0))

        measures = seconds(lambda: made["demo"].of(rows.series, rows.start_ms, rows.amount))
        restater = Restater(store, made["demo"])
        chosen = restater.sites()
        plan = seconds(lambda: list(restater.plan(chosen, START_MS, END_MS, END_MS)), repeat=1)
        apply = seconds(
            lambda: list(
                restater.apply(
                    chosen, START_MS, END_MS, END_MS * 2, restatements=restatements,
                    rollups=rollups, cause="benchmark", why="benchmark",
                )
            ),
            repeat=1,
        )  # fmt: skip
        restatements.close()
        store.close()
    on = f"measured on {SITES * METERS} meters x {DAYS} days"
    what = f"{len(rows)} intervals, four measures (time-of-use cost), {on}"
    yield f"{what}: {rate(hours, measures)} meter-hours"
    yield f"the same from the embedded store, planned: {rate(hours, plan)} meter-hours"
    yield f"... applied, with roll-ups and records of every day: {rate(hours, apply)} meter-hours"


def _intervals(series: int) -> IntervalColumns:
    count = DAYS * 96
    n = series * count
    amount = np.random.default_rng(5).integers(0, 10**8, n)
    zero, one = np.zeros(n, np.int64), np.ones(n, np.int64)
    unknown = np.full(n, np.nan)
    return IntervalColumns(
        np.repeat(np.arange(series, dtype=np.int32), count),
        np.tile(START_MS + QUARTER_MS * np.arange(count), series),
        amount, zero, zero.copy(), np.full(n, QUARTER_MS), zero.copy(), zero.copy(),
        one, one.copy(), zero.copy(), unknown, unknown.copy(), unknown.copy(), unknown.copy(),
    )  # fmt: skip
