"""`nenghao profiles fit`, as a person calls it, on a real embedded store."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.batch import IntervalColumns
from aggregator.directory import SeriesKey
from aggregator.ledger.profile_fit import MOST, FitError, fit, text
from aggregator.profiles_command.__main__ import main
from aggregator.register.database import RegisterDatabase
from aggregator.register.profiles import quarters, read_weights
from aggregator.store.embedded import EmbeddedStore
from contract.stored import Level
from tests.aggregator.api_ledger import MIDNIGHT_MS, QUARTER_MS, REGION
from tests.aggregator.test_closing_command import config

__all__ = ["config"]
DAYS = 14
MARCH = ["--site", "foundry", "--from", "2026-03-02", "--to", "2026-03-16"]


def rows(series: int, amounts: np.ndarray, **more: np.ndarray) -> IntervalColumns:
    n = len(amounts)
    zero, nan = np.zeros(n, np.int64), np.full(n, np.nan)
    start = MIDNIGHT_MS + np.arange(n, dtype=np.int64) * QUARTER_MS
    columns: dict[str, Any] = {
        "series": np.full(n, series, np.int32), "start_ms": start, "amount": amounts,
        "amount_estimated": zero, "amount_held": zero, "measured_ms": zero + QUARTER_MS,
        "estimated_ms": zero, "missing_ms": zero, "received": zero + 1, "expected": zero + 1,
        "flags": zero, "kgce_calorific": nan, "kgce_equivalent": nan, "co2_kg": nan,
        "cost_cny": nan,
    }  # fmt: skip
    return IntervalColumns(**(columns | more))


@pytest.fixture
def filled(config: Path) -> Path:
    """Two weeks of a works that runs from 8 to 17 on weekdays, three times as much after noon."""
    store = EmbeddedStore(config.parent / "data" / "ledger.duckdb", QUARTER_MS)
    store.open()
    series = store.directory.series.find(SeriesKey(REGION, "foundry", "grid", "energy_import"))
    at = np.arange(DAYS * 96)
    hour, day = at % 96 // 4, at // 96
    amount = np.where((hour >= 8) & (hour < 17) & (day % 7 < 5), 1_000_000, 0)
    amount = np.where(hour >= 12, 3 * amount, amount)
    odd = at == 9 * 96 + 40  # a spike that was estimated teaches nothing
    made = rows(series, np.where(odd, 10**12, amount), flags=np.where(odd, 8, 0))
    store.write_intervals(Level.INTERVAL, made)
    store.close()
    return config


def test_fit_prints_the_row_before_it_is_kept(filled: Path, capsys: pytest.CaptureFixture[str]):
    call = ["fit", "--config", str(filled), *MARCH, "--meter", "grid", "--valid-from", "2026-03-16"]
    url = f"sqlite:///{filled.parent / 'data' / 'records.sqlite'}"
    assert main(call) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    third = str(round(MOST / 3))
    assert row["weekday"].split() == ["0"] * 8 + [third] * 4 + [str(MOST)] * 5 + ["0"] * 7
    assert set(row["weekend"].split()) == {"0"}
    assert row["source"].startswith("fitted to 1343 measured intervals of 14 days")
    with RegisterDatabase(url) as database:
        assert database.register().profiles == {}

    assert main([*call, "--keep", "--author", "Li Wei", "--reason", "the shifts of 2026"]) == 0
    with RegisterDatabase(url) as database:
        (kept,) = database.register().profiles["foundry"]
        assert (kept.meter, kept.weekday) == ("grid", quarters(row["weekday"]))
        record = database.audit(table="profiles")[-1]
    assert (record.author, record.note) == ("Li Wei", "the shifts of 2026")
    assert main([*call, "--keep", "--author", "Li Wei", "--reason", "again"]) == 0
    with RegisterDatabase(url) as database:
        assert len(database.register().profiles["foundry"]) == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--meter", "belt"], "no measured interval of a weekday at 12:00"),
        (["--meter", "nobody"], "no figures of nobody at foundry"),
        (["--carrier", "water"], "no figures of water at foundry"),
    ],
)
def test_too_little_is_refused_with_its_reason(
    filled: Path, capsys: pytest.CaptureFixture[str], more: Sequence[str], reason: str
):
    assert main(["fit", "--config", str(filled), *MARCH, *more]) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("grid_min", [5, 15, 60])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_weights_are_in_proportion_to_what_flowed(grid_min, data):
    hours = data.draw(st.lists(st.integers(0, 1000), min_size=24, max_size=24))
    grid_ms, per_hour = grid_min * 60_000, 60 // grid_min
    start = MIDNIGHT_MS + np.arange(7 * 24 * per_hour, dtype=np.int64) * grid_ms
    amount = np.repeat(np.array(hours * 7, np.int64), per_hour)
    if max(hours) == 0:
        with pytest.raises(FitError, match="nothing flowed"):
            fit(start, amount, grid_ms)
        return
    found = fit(start, amount, grid_ms)
    assert found.weekday == found.weekend
    wanted = [round(hour / max(hours) * MOST) for hour in hours]
    assert all(abs(a - b) <= 1 for a, b in zip(found.weekday[::4], wanted, strict=True))
    assert quarters(read_weights(text(found.weekday))) == found.weekday
