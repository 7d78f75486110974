"""Integrated channels: replayed to the last bit, proved without a register, sure after a crash."""

import json
import random
import socket
import uuid
from pathlib import Path

import numpy as np
import pytest

from aggregator.batch import ReadingColumns
from aggregator.directory import SeriesKey, Source
from aggregator.offline import Parts
from aggregator.prove_command.__main__ import main as prove
from aggregator.replay_command.__main__ import main as replay
from aggregator.store.base import Commit
from contract.interval import DAY_MS, GRID_MS, HOUR_MS
from contract.stored import Level
from tests.aggregator.test_replay_command import (
    CALL,
    FIRST_MS,
    REGION,
    now,
    opening,
    records_of,
    same,
    spoil,
    stored,
    write_config,
)
from tests.influx import influx_server
from tests.oracle.integral import integral

__all__ = ["influx_server"]

FLOW = SeriesKey(REGION, "hall", "ht-1", "heat_flow")
HEAT = FLOW._replace(channel="heat")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return declared(tmp_path)


def declared(tmp_path: Path, store: str = "", port: int = 0) -> Path:
    config = write_config(tmp_path, store, port)
    register = tmp_path / "register"
    with (register / "meters.csv").open("a", encoding="utf-8") as file:
        file.write("hall,ht-1,heat,boundary_in,,1,,,\n")
    (register / "integrated_channels.csv").write_text(
        "site,meter,channel,valid_from,source\nhall,ht-1,heat,,no counter\n", "utf-8"
    )
    return config


def walk(days: int) -> dict[int, float]:
    draw, time_ms, found = random.Random(7), FIRST_MS + 1_000, {}
    while time_ms < FIRST_MS + days * DAY_MS:
        found[time_ms] = round(draw.uniform(0, 9), 3)
        time_ms += draw.choice([60_000] * 50 + [900_000, 900_001, 4 * HOUR_MS])
    return found


def take(parts: Parts, rates: dict[int, float], seq: int) -> None:
    """Store readings as the pipeline does, with the marks of what has to be integrated."""
    directory, count = parts.store.directory, len(rates)
    source = directory.sources.add(Source(REGION, "hall", "gw-1", "0" * 16))
    raw = ReadingColumns(
        np.full(count, directory.series.add(FLOW), np.int32),
        np.array(list(rates), np.int64),
        np.array(list(rates.values()), np.float64),
        np.zeros(count, np.uint8),
        np.full(count, source, np.int32),
        np.full(count, seq, np.int64),
    )
    days, _ = parts.book.integration.touch(raw)
    assert days
    nothing = Commit.without_readings(dirty=days)
    parts.store.commit(Commit(nothing.cumulative, raw, nothing.intervals, {}, days))


def truth_of(shown: dict[int, float]) -> dict[int, int]:
    rates = {at: round(rate * 1e6) for at, rate in shown.items()}
    return {start: one.amount for start, one in integral(rates, 900_000, GRID_MS).items()}


def known(parts: Parts) -> dict[int, int]:
    series = np.array([parts.store.directory.series.find(HEAT)], np.int32)
    rows = parts.store.intervals(Level.INTERVAL, series, 0, 2**44)
    return dict(zip(rows.start_ms.tolist(), rows.amount.tolist(), strict=True))


def test_a_crash_before_integrating_a_replay_and_the_proof(config: Path, capsys):
    shown = walk(4)
    truth = truth_of(shown)
    with opening(config) as parts:
        take(parts, dict(list(shown.items())[::2]), 1)  # and is killed here
    assert replay([*CALL, str(config)]) == 0
    with opening(config) as parts:
        take(parts, dict(list(shown.items())[1::2]), 2)  # and here once more
        assert known(parts) != truth
        made = parts.book.integration.touched()
    with opening(config) as parts:
        assert parts.store.dirty_days()
        again = parts.book.integration.touched()
        assert sum(high - low for _, low, high in again) >= sum(high - low for _, low, high in made)
    assert replay([*CALL, str(config)]) == 0
    with opening(config) as parts:
        assert known(parts) == truth
        assert not parts.store.dirty_days()
        right = stored(parts)
    told = [one for one in records_of(config, "hall") if one.measure == "amount"]
    assert {one.meter for one in told} == {"ht-1"}
    # what came before the first figure, and what did after it
    assert {one.cause for one in told} == {"recovery", "late readings"}
    changed = sum((one.to_value or 0) - (one.from_value or 0) for one in told)
    assert changed == pytest.approx(sum(truth.values()) / 1e6)
    assert len(right[Level.MONTH][0]) == 1
    for damage in (
        f"UPDATE interval SET amount = amount + 1 WHERE start_ms > {FIRST_MS + DAY_MS}",
        f"DELETE FROM interval WHERE start_ms > {FIRST_MS + DAY_MS}",
        "UPDATE hour SET flags = 0",
        "DELETE FROM interval; DELETE FROM hour; DELETE FROM day; DELETE FROM month",
    ):
        spoil(config, *damage.split(";"))
        assert not same(now(config), right), damage
        assert replay([*CALL, str(config)]) == 0
        assert same(now(config), right), damage
    capsys.readouterr()

    call = ["--config", str(config), "--site", "hall", "--json"]
    assert prove([*call, "--from", "2025-10-20", "--to", "2025-10-30", "--by", "day"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(row["booked_micro"] for row in rows) == sum(truth.values())
    assert {row["integrated"] for row in rows} == {True}
    spoil(config, f"UPDATE interval SET amount = amount + 1 WHERE start_ms = {max(truth)}")
    assert prove(call) == 1
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["difference_micro"], row["closes"]) == (-1, False)


def test_figures_whose_rates_are_gone_stay(config: Path):
    with opening(config) as parts:
        take(parts, walk(3), 1)
    assert replay([*CALL, str(config)]) == 0
    right = now(config)
    spoil(config, f"DELETE FROM instant_202510 WHERE time_ms < {FIRST_MS + DAY_MS + HOUR_MS}")
    assert replay([*CALL, str(config)]) == 0
    assert same(now(config), right)


@pytest.mark.influxdb
def test_on_influxdb_after_a_kill(tmp_path: Path, influx_server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    database = f"integrated_{uuid.uuid4().hex}"
    store = f'[store]\nkind = "influx1"\nurl = "{influx_server.url}"\ndatabase = "{database}"\n'
    config, shown = declared(tmp_path, store, port), walk(3)
    later = {at: rate for at, rate in shown.items() if at // 60_000 % 5 == 0}
    with opening(config) as parts:
        take(parts, {at: rate for at, rate in shown.items() if at not in later}, 1)
        found = parts.book.integration.lacking(REGION, "hall", FIRST_MS + 4 * DAY_MS)
        parts.store.commit(Commit.without_readings(found))
        assert known(parts) != truth_of(shown)
        take(parts, later, 2)  # and is killed: what is left is the marks
    assert replay([*CALL, str(config)]) == 0
    with opening(config) as parts:
        assert known(parts) == truth_of(shown)
        assert not parts.store.dirty_days()
