"""One round of roll-ups of a city: every register has moved since the last one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aggregator.batch import Int32, IntervalColumns
from aggregator.directory import SeriesKey
from aggregator.events import Events
from aggregator.kernels.jit import warm_up
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariffs import TariffLibrary
from aggregator.parameters import Parameters
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.rollups import Rollups, days_of
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Commit, Store
from aggregator.store.embedded import EmbeddedStore
from aggregator.stuck import Stuck
from contract.interval import HOUR_MS

METERS_OF_SITE, HOURS, ROUNDS = 20, 18, 4
QUARTER_MS = 900_000
START_MS = 1_767_196_800_000  # 2026-01-01T00:00:00+08:00
REGION = "370114"
CHANNELS = ("energy_import", "energy_export", "power", "voltage_a", "voltage_b", "voltage_c",
            "current_a", "frequency")  # fmt: skip


def main() -> Iterator[str]:
    warm_up()
    for meters in (1_000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as name:
            store = EmbeddedStore(Path(name) / "store.duckdb", QUARTER_MS)
            store.open()
            yield from _rounds(store, meters)
            store.close()


def _rounds(store: Store, meters: int) -> Iterator[str]:
    sites = [f"site-{i:05}" for i in range(meters // METERS_OF_SITE)]
    register = Register.of(
        [Site(s, REGION, "压测", s, "load", None, None, None, None) for s in sites],
        [_meter(s, m) for s in sites for m in range(METERS_OF_SITE)],
    )
    series = store.directory.series
    for site in sites:
        for meter in range(METERS_OF_SITE):
            for channel in CHANNELS:
                series.add(SeriesKey(REGION, site, f"em-{meter}", channel))
    of_site = [store.directory.cumulative_of_site(REGION, site) for site in sites]
    moved = np.concatenate(of_site)
    now_ms = START_MS + HOURS * HOUR_MS
    rollups = Rollups.with_nodes(
        store,
        Events(lambda: 0),
        register,
        builtin_library().choose("demo").counts,
        SiteTariffs(register, TariffLibrary({}), QUARTER_MS),
        lambda: now_ms,
        Stuck(store, Parameters(store.directory, register)),
    )

    def touch(from_ms: int, to_ms: int) -> None:
        rows = _rows(moved, from_ms, to_ms)
        days = days_of(store.directory, rows)
        store.commit(Commit.without_readings(rows, dirty=days))
        rollups.mark(days, from_ms, to_ms - 1)

    for hour in range(HOURS):
        touch(START_MS + hour * HOUR_MS, START_MS + (hour + 1) * HOUR_MS)
    rollups.flush()
    while rollups.catch_up():
        pass
    took, cpu = [], []
    for _ in range(ROUNDS):
        touch(now_ms - QUARTER_MS, now_ms)
        began, used = time.perf_counter(), time.process_time()
        rollups.flush()
        took.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    yield (
        f"{meters:,} meters, {len(moved):,} registers: a round {np.median(took):.2f} s, "
        f"{np.median(cpu):.2f} CPU s, {np.median(cpu) / len(moved) * 1e6:.0f} us per register"
    )


def _meter(site: str, number: int) -> Meter:
    role, parent = (Role.BOUNDARY_IN, "") if number == 0 else (Role.SUB, "em-0")
    return Meter(site, f"em-{number}", "electricity", role, parent, 1, "", 0, "")


def _rows(series: Int32, from_ms: int, to_ms: int) -> IntervalColumns:
    count = (to_ms - from_ms) // QUARTER_MS
    n = len(series) * count
    zero, kg = np.zeros(n, np.int64), np.ones(n)
    return IntervalColumns(
        np.repeat(series, count).astype(np.int32),
        np.tile(from_ms + QUARTER_MS * np.arange(count), len(series)),
        np.full(n, 10**9), zero, zero.copy(), np.full(n, QUARTER_MS), zero.copy(), zero.copy(),
        zero.copy(), zero.copy(), zero.copy(), kg, kg.copy(), kg.copy(), kg.copy(),
    )  # fmt: skip
