"""A year of 1 000 meters read each 15 minutes: from raw readings to all measures of all levels.

    python -m tests.benchmarks.year

First the kernels alone, beside pandas doing the plain case: both on some meters, their seconds
scaled to all of them, since no meter depends on another; then the whole road of some of the meters,
from the embedded store's raw tables to its committed intervals, hours, days and months.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.book import Book
from aggregator.directory import SeriesKey, Source
from aggregator.events import Events
from aggregator.kernels.jit import warm_up
from aggregator.kernels.register import IntervalRows, advance, new_heads
from aggregator.kernels.rollup import fixed_starts
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.rollups import Rollups, summed
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Commit, DirtyDay
from aggregator.store.embedded import EmbeddedStore
from contract.interval import DAY_MS, GRID_MS, HOUR_MS, day_start, month_start, next_month
from contract.stored import MEASURE_FIELDS
from tests.benchmarks.measure import machine, rate, seconds
from tests.benchmarks.register import GAP_MS, LIMIT, in_pandas

METERS, DAYS = 1_000, 365
AT_ONCE, IN_PANDAS, STORED = 50, 10, 100
PER_SITE = 50
PER_METER = DAYS * 96
START_MS = 1_735_660_800_000  # 2025-01-01T00:00:00+08:00
JITTER_MS = 5_000
HOURS = DAYS * 24
Int64 = NDArray[np.int64]


def main() -> Iterator[str]:
    warm_up()
    times, values = readings(AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name:
        year = _Year(Path(name))
        took = METERS / AT_ONCE * seconds(lambda: year.figures(times, values), repeat=2)
        few = times[: IN_PANDAS * PER_METER], values[: IN_PANDAS * PER_METER]
        slow = METERS / IN_PANDAS * seconds(lambda: plain_in_pandas(*few), repeat=1)
        same = _check(year, *few)
        yield (
            f"{METERS} meters, {METERS * PER_METER / 1e6:.0f} M readings to intervals, hours, days "
            f"and months with {len(MEASURE_FIELDS)} measures, kernels on one core: {took:.1f} s "
            f"(measured on {AT_ONCE} meters, scaled x {METERS // AT_ONCE}); pandas, plain case: "
            f"{slow:.0f} s (measured on {IN_PANDAS}, scaled x {METERS // IN_PANDAS}), "
            f"x {slow / took:.0f}, {same}"
        )
        wall, cpu, meters = year.whole_road(times, values)
        yield (
            f"embedded store, raw tables to committed intervals of {meters} meters: {wall[0]:.1f} s"
            f" = {rate(meters * HOURS, wall[0])} meter-hours; with all roll-ups {sum(wall):.1f} s "
            f"= {rate(meters * HOURS, sum(wall))} ({cpu:.1f} CPU s)"
        )


def readings(meters: int) -> tuple[Int64, Int64]:
    """Registers [micro-units] read a little after every quarter of an hour, meter by meter."""
    rng = np.random.default_rng(11)
    values = np.cumsum(rng.integers(0, LIMIT // 5, (meters, PER_METER)), axis=1)
    times = START_MS + GRID_MS * np.arange(PER_METER) + rng.integers(0, JITTER_MS, values.shape)
    return times.ravel(), values.ravel()


class _Year:
    """A register of electricity meters with a time-of-use tariff, and a store for some of them."""

    def __init__(self, folder: Path) -> None:
        sites = [f"site-{i}" for i in range(STORED // PER_SITE)]
        self._keys = [(site, f"em-{m:02}") for site in sites for m in range(PER_SITE)]
        register = Register.of(
            [
                Site(s, "370114", "压测", s, "load", None, None, None, None,
                     tariffs=("demo-electricity",))
                for s in sites
            ],
            [Meter(s, m, "electricity", Role.BOUNDARY_IN, "", 1, "", 0, "")
             for s, m in self._keys],
        )  # fmt: skip
        self.store = EmbeddedStore(folder / "ledger.duckdb", GRID_MS)
        self.store.open()
        self.store.directory.series.add_all(
            SeriesKey("370114", site, meter, "energy_import") for site, meter in self._keys
        )
        self.store.directory.sources.add(Source("370114", sites[0], "gw", f"{1:016x}"))
        self.parameters = Parameters(self.store.directory, register)
        tariffs = SiteTariffs(register, builtin_tariffs(), GRID_MS)
        factors = builtin_library().choose("demo")
        self.measures = Measures(self.store.directory, self.parameters, factors, tariffs)

    def figures(self, times: Int64, values: Int64) -> list[IntervalColumns]:
        """All levels of some meters, by the product's own functions and kernels."""
        count = len(times) // PER_METER
        heads = new_heads(*(np.full(count, x, np.int64) for x in (0, LIMIT, GAP_MS, 0)))
        offsets = np.arange(count + 1) * PER_METER
        rows, _ = advance(heads, np.arange(count), offsets, times, values, GRID_MS)
        base = self._columns(rows)
        levels = [base]
        for length_ms in (HOUR_MS, DAY_MS):
            below = levels[-1]
            starts = fixed_starts(below.start_ms.copy(), length_ms)
            levels.append(summed(below, starts, length_ms, GRID_MS))
        days = levels[-1]
        firsts, at = np.unique(days.start_ms, return_inverse=True)
        months = np.array([month_start(int(first)) for first in firsts])
        for month_ms in np.unique(months).tolist():
            inside = days.take(months[at] == month_ms)
            length_ms = next_month(month_ms) - month_ms
            levels.append(summed(inside, np.full(len(inside), month_ms), length_ms, GRID_MS))
        return levels

    def _columns(self, rows: IntervalRows) -> IntervalColumns:
        series = rows.slot.astype(np.int32)
        return IntervalColumns(
            series, rows.start_ms, rows.amount, rows.amount_estimated, rows.amount_held,
            rows.measured_ms, rows.estimated_ms,
            GRID_MS - rows.measured_ms - rows.estimated_ms,
            rows.received, np.ones(len(rows), np.int64), rows.flags,
            **self.measures.of(series, rows.start_ms, rows.amount),
        )  # fmt: skip

    def whole_road(self, times: Int64, values: Int64) -> tuple[tuple[float, float], float, int]:
        """Fill the raw tables; return wall seconds (intervals, roll-ups), CPU seconds, meters."""
        for first in range(0, STORED, AT_ONCE):
            self._append(times, values, first)
        book = Book(self.store, self.parameters, self.measures)
        rollups = Rollups(self.store, Events(lambda: 0))
        cpu, began = time.process_time(), time.monotonic()
        none = (ReadingColumns.empty(cumulative=True), ReadingColumns.empty(cumulative=False))
        for site in dict.fromkeys(site for site, _ in self._keys):
            made = book.load_site("370114", site)  # the figures it finds missing: all of them
            starts = np.unique(made.start_ms)
            days = {DirtyDay("370114", site, day_start(at)) for at in starts.tolist()}
            self.store.commit(Commit(*none, made, {}, frozenset(days)))
            for day in days:
                rollups.mark([day], day.day_ms, day.day_ms + DAY_MS - 1)
        written = time.monotonic()
        rollups.flush()
        ended = time.monotonic()
        return (written - began, ended - written), time.process_time() - cpu, len(self._keys)

    def _append(self, times: Int64, values: Int64, first: int) -> None:
        count = len(times)
        readings = ReadingColumns(
            np.repeat(np.arange(first, first + AT_ONCE, dtype=np.int32), PER_METER),
            times, values, np.zeros(count, np.uint8), np.zeros(count, np.int32),
            np.ones(count, np.int64),
        )  # fmt: skip
        none = ReadingColumns.empty(cumulative=False)
        self.store.commit(Commit(readings, none, IntervalColumns.empty(), {}, frozenset()))


def plain_in_pandas(times: Int64, values: Int64) -> pd.DataFrame:
    """No verdicts, no rollover: intervals, four measures of constant factors, three roll-ups."""
    frame = in_pandas(len(times) // PER_METER, times, values).reset_index()
    for k, name in enumerate(MEASURE_FIELDS):
        frame[name] = frame.amount / 1e6 * (0.1229 + k)
    local = pd.to_datetime(frame.start + 28_800_000, unit="ms")
    for period in ("h", "D", "M"):
        frame.assign(start=local.dt.to_period(period)).groupby(["slot", "start"]).sum()
    return frame


def _check(year: _Year, times: Int64, values: Int64) -> str:
    base = year.figures(times, values)[0]
    frame = plain_in_pandas(times, values).set_index(["slot", "start"])
    theirs = frame.amount.reindex(pd.MultiIndex.from_arrays([base.series, base.start_ms]))
    close = np.abs(theirs.to_numpy() - base.amount).max() <= 1
    return "same amounts" if close else "amounts DIFFER"


if __name__ == "__main__":
    print(machine())
    for text in main():
        print(f"  {text}")
