"""`nenghao replay` on ledgers that the real book made: damaged, then right to the last bit."""

import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.config import load
from aggregator.directory import SeriesKey, Source
from aggregator.events import Events
from aggregator.facts import Facts
from aggregator.kernels.rollup import fixed_starts
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.offline import Parts, opened
from aggregator.prove_command.__main__ import main as prove
from aggregator.records import Records
from aggregator.register.database import RegisterDatabase
from aggregator.replay import Replayer
from aggregator.replay_command.__main__ import main
from aggregator.restatements import Restatements
from aggregator.store.base import Commit, DirtyDay
from aggregator.store.embedded import EmbeddedStore
from contract.interval import DAY_MS, GRID_MS, HOUR_MS, MINUTE_MS, month_start
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.stored import BALANCES, NODE_FIGURES, TARIFF_DAY, Level, Measurement
from contract.topics import Address
from tests.influx import influx_server

__all__ = ["influx_server"]

ROOT = Path(__file__).parent.parent.parent
REGION = "370114"
CALL = ("--why", "test", "--author", "li", "--config")
METERS = {("works", "em-1"): 40, ("works", "em-2"): 1, ("hall", "em-1"): 1}
FIRST_MS = month_start(1_760_000_000_000) + 20 * DAY_MS  # 2025-10-21
OF_NODES = (*NODE_FIGURES.values(), *BALANCES.values(), TARIFF_DAY)
Figures = Mapping[Level | str, Any]
"""By level the columns of channels' figures, by measurement the points of nodes."""


def walk(seed: str, days: int) -> list[tuple[int, int]]:
    """A register of 1 000 kWh that wraps, with gaps, spikes and one reset."""
    draw = random.Random(seed)
    time_ms, value, readings = FIRST_MS + draw.randrange(HOUR_MS), 0, []
    while time_ms < FIRST_MS + days * DAY_MS:
        shown = 999_000_000 if draw.random() < 0.01 else value % 1_000_000_000
        readings.append((time_ms, shown))
        step = draw.choice([20, 20, 20, 25, 31, 600]) * MINUTE_MS + draw.randrange(5_000)
        time_ms, value = time_ms + step, value + draw.randrange(step * 16)
        if draw.random() < 0.002:
            value = 0
    return readings


def write_config(folder: Path, store: str = "", port: int = 0) -> Path:
    register, data = folder / "register", folder / "data"
    register.mkdir()
    data.mkdir()
    (register / "sites.csv").write_text(
        "site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude,tariff\n"
        "works,370114,厂,Works,metal casting,,10,,,demo-electricity\n"
        "hall,370114,馆,Hall,government,,10,,,\n",
        "utf-8",
    )
    (register / "meters.csv").write_text(
        "site,meter,carrier,role,parent,multiplier,edge,valid_from,note\n"
        + "".join(
            f"{site},{meter},electricity,boundary_in,,{ratio},,,\n"
            for (site, meter), ratio in METERS.items()
        ),
        "utf-8",
    )
    records = Records(f"sqlite:///{data / 'records.sqlite'}")
    records.open()
    channel = MetaChannel("energy_import", "kWh", 1_000.0, 60.0, 0.01)
    for site in ("works", "hall"):
        own = [name for its_site, name in METERS if its_site == site]
        payload = encode_meta(Meta(tuple(MetaMeter(name, "s", "m", (channel,)) for name in own)))
        edge, name = Address(REGION, site, "gw-1"), meta_hash(payload)
        records.keep_metas({(edge, name): payload}, {edge: (FIRST_MS, name)})
    records.close()
    config = folder / "aggregator.toml"
    config.write_text(
        f'[aggregator]\nregions = ["{REGION}"]\ndata_dir = "{data}"\nregister = "{register}"\n'
        f'factor_set = "demo"\n[api]\nport = {port}\n{store}',
        "utf-8",
    )
    return config


def opening(config: Path):
    return opened(load(config), "test", Events(lambda: 0))


def live(config: Path, days: int) -> Figures:
    """Let the book take readings as they come, some of them late; return what is stored then."""
    with opening(config) as parts:
        book, store = parts.book, parts.store
        everything = [
            (time_ms, SeriesKey(REGION, site, meter, "energy_import"), micro)
            for site, meter in METERS
            for time_ms, micro in walk(site + meter, days)
        ]
        draw = random.Random(1)
        arrival = {id(one): one[0] + draw.choice([0] * 30 + [3 * DAY_MS]) for one in everything}
        everything.sort(key=lambda one: (arrival[id(one)], one[1]))
        for seq, first in enumerate(range(0, len(everything), 400), 1):
            take(parts, everything[first : first + 400], seq)
        parts.rollups.flush()
        while parts.rollups.catch_up():
            pass
        assert not store.dirty_days()
        assert book
        return stored(parts)


def take(parts: Parts, readings, seq: int) -> None:
    """What the pipeline does with a commit."""
    book, directory = parts.book, parts.store.directory
    count = len(readings)
    series = [directory.series.add(key) for _, key, _ in readings]
    source = directory.sources.add(Source(REGION, "works", "gw-1", "0" * 16))
    raw = ReadingColumns(
        np.array(series, np.int32),
        np.array([time_ms for time_ms, _, _ in readings], np.int64),
        np.array([micro for _, _, micro in readings], np.int64),
        np.zeros(count, np.uint8),
        np.full(count, source, np.int32),
        np.full(count, seq, np.int64),
    )
    for site in ("works", "hall"):
        assert len(book.load_site(REGION, site)) == 0
    counted = book.counted(raw)
    late = book.is_late(counted)
    figures = book.recompute(counted) if late else book.advance(counted)
    days = set(
        zip(
            figures.series.tolist(),
            fixed_starts(figures.start_ms.copy(), DAY_MS).tolist(),
            strict=True,
        )
    )
    dirty = frozenset(DirtyDay(REGION, directory.series.key(i).site, day) for i, day in days)
    parts.store.commit(Commit(raw, ReadingColumns.empty(cumulative=False), figures, {}, dirty))
    parts.amendments.note_new()
    if len(figures):
        parts.rollups.mark(dirty, int(figures.start_ms.min()), int(figures.start_ms.max()))


def stored(parts: Parts) -> Figures:
    directory = parts.store.directory
    series = np.array(sorted(range(len(directory.series)), key=directory.series.key), np.int32)
    found: dict[Level | str, Any] = {of.name: points(parts, of) for of in OF_NODES}
    for level in Level:
        rows = [
            parts.store.intervals(level, series[i : i + 1], 0, 2**44) for i in range(len(series))
        ]
        columns = zip(*(part.columns()[1:] for part in rows), strict=True)
        found[level] = tuple(np.concatenate(column) for column in columns)
    return found


def points(parts: Parts, of: Measurement) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Points but those that are all zeros; measures agree to 1e-9, and are cut here."""
    return {
        (tags, at): {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for tags, at, row in parts.store.points(of, 0, 2**44).rows()
        if any(row.values())
    }


def now(config: Path) -> Figures:
    with opening(config) as parts:
        return stored(parts)


def same(a: Figures, b: Figures) -> bool:
    return all(a[of.name] == b[of.name] for of in OF_NODES) and all(
        len(one) == len(other) and np.array_equal(one, other, equal_nan=one.dtype == np.float64)
        for level in Level
        for one, other in zip(a[level], b[level], strict=True)
    )


def spoil(config: Path, *statements: str) -> None:
    folder = config.parent / "data"
    store = EmbeddedStore(folder / "ledger.duckdb", GRID_MS)
    store.open()
    for statement in statements:
        store._cursor.execute(statement)
    store.close()


def records_of(config: Path, site: str):
    restatements = Restatements(f"sqlite:///{config.parent / 'data' / 'records.sqlite'}")
    try:
        return restatements.find(REGION, site, 0, 2**44)
    finally:
        restatements.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


DAY_5 = FIRST_MS + 5 * DAY_MS
DAMAGES = {
    "an interval changed": f"UPDATE interval SET amount = amount + 1 WHERE start_ms = {DAY_5}",
    "intervals lost": f"DELETE FROM interval WHERE start_ms BETWEEN {DAY_5} AND {DAY_5 + DAY_MS}",
    "durations and flags": f"UPDATE interval SET measured_ms = 7, flags = 3, received = 0 "
    f"WHERE start_ms > {DAY_5}",
    "measures not determined": f"UPDATE interval SET cost_cny = NULL WHERE start_ms > {DAY_5}",
    "hours lost": f"DELETE FROM hour WHERE start_ms > {DAY_5}",
    "an hour wrong": f"UPDATE hour SET amount = 5 WHERE start_ms = {DAY_5}",
    "a day wrong": f"UPDATE day SET co2_kg = 5 WHERE start_ms = {DAY_5}",
    "months wrong": "UPDATE month SET amount_held = 77, missing_ms = 0",
    "figures of nodes wrong": f"UPDATE node_hour SET amount = 5 WHERE time_ms = {DAY_5}; "
    f"UPDATE node_day SET amount = amount + 1 WHERE time_ms = {DAY_5} AND site = 'works'; "
    f"UPDATE node_month SET co2_kg = NULL; DELETE FROM node_interval WHERE time_ms > {DAY_5}",
    "a node that nobody knows": "INSERT INTO node_day SELECT * REPLACE ('x' AS node) "
    "FROM node_day WHERE node = '_total' AND site <> '_region'",
    "a region wrong": f"UPDATE node_day SET amount = 5 WHERE time_ms = {DAY_5} "
    f"AND site = '_region'; DELETE FROM node_month WHERE site = '_region'",
    "balances and costs wrong": f"UPDATE balance_day SET residual = 3 WHERE time_ms = {DAY_5}; "
    f"DELETE FROM balance_month; UPDATE tariff_day SET cost_cny = 7 WHERE time_ms = {DAY_5}",
    "all of it lost": "DELETE FROM interval; DELETE FROM hour; DELETE FROM day; DELETE FROM month",
}


def test_whatever_is_damaged_is_as_live_made_it(config: Path, capsys):
    right = live(config, 13)
    assert len(right[Level.MONTH][0]) == 2 * len(METERS)
    assert main([*CALL, str(config)]) == 0
    assert "all figures were right; nothing was changed" in capsys.readouterr().out
    assert same(now(config), right)
    for name, statement in DAMAGES.items():
        spoil(config, *statement.split(";"))
        assert not same(now(config), right), name
        assert main([*CALL, str(config)]) == 0
        out = capsys.readouterr().out
        assert "nothing was changed" not in out, name
        assert same(now(config), right), name
        assert main([*CALL, str(config)]) == 0
        assert "nothing was changed" in capsys.readouterr().out, name
    assert not (config.parent / "data" / "replay.jsonl").exists()


def test_the_proof_of_each_day_closes_wherever_readings_lie(config: Path, capsys):
    live(config, 18)
    call = ["--config", str(config), "--from", "2025-10-20", "--to", "2025-11-10", "--by", "day"]
    assert prove([*call, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 21 * len(METERS)
    assert sum(row["rollovers"] for row in rows) > 0
    assert sum(row["held_ms"] for row in rows) > 0
    inside = [row for row in rows if row["first_ms"] == row["from_ms"]]
    assert len(inside) >= 17 * len(METERS)  # the register stood at the border, between readings
    for day in range(22, 30):  # of a long life little more is read than the period
        alone = ["--config", str(config), "--from", f"2025-10-{day}", "--to", f"2025-10-{day + 1}"]
        assert prove([*alone, "--json"]) == 0
        again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert again == [row for row in rows if row["from_ms"] == again[0]["from_ms"]]
    spoil(config, f"UPDATE interval SET amount = amount + 1 WHERE start_ms = {DAY_5}")
    assert prove(call) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if "DOES NOT" in line]
    assert [line.split()[2] for line in wrong] == ["2025-10-26"] * len(METERS)


def test_a_day_that_is_not_settled_changes_freely(config: Path, monkeypatch):
    live(config, 2)
    settled_ms = FIRST_MS + DAY_MS + 6 * HOUR_MS
    damage = f"UPDATE interval SET amount = amount + 1 WHERE start_ms = {FIRST_MS + HOUR_MS}"
    for now_ms, records in ((settled_ms - 1, 0), (settled_ms, len(METERS))):
        monkeypatch.setattr("aggregator.offline.wall_ms", lambda at=now_ms: at)
        spoil(config, damage)
        assert main([*CALL, str(config)]) == 0
        with opening(config) as parts:
            assert not parts.store.dirty_days()  # of this run's own marks none is left over
        found = [*records_of(config, "works"), *records_of(config, "hall")]
        assert len([one for one in found if one.measure == "amount"]) == records


def test_settled_days_leave_records_and_others_do_not_change(config: Path, capsys):
    right = live(config, 4)
    spoil(
        config,
        f"UPDATE interval SET amount = amount + 2000000 WHERE start_ms = {FIRST_MS + DAY_MS}",
        f"UPDATE day SET cost_cny = 3 WHERE start_ms = {FIRST_MS + 2 * DAY_MS}",
    )
    call = ["--config", str(config), "--site", "works", "--why", "bad disk", "--author", "li"]
    assert main([*call, "--from", "2025-10-22", "--to", "2025-10-23"]) == 0
    found = {
        (one.meter, one.measure): one
        for one in records_of(config, "works")
        if one.cause == "replay"
    }
    assert set(found) == {("em-1", "amount"), ("em-2", "amount")}
    one = found["em-1", "amount"]
    assert one.from_value is not None
    assert one.to_value == pytest.approx(one.from_value - 2)
    assert (one.day_ms, one.why) == (FIRST_MS + DAY_MS, "li: bad disk")
    assert not records_of(config, "hall")
    assert not same(now(config), right)  # the other site, and the day outside the range
    assert main([*call]) == 0
    roll_ups = [one for one in records_of(config, "works") if one.cause == "replay of day figures"]
    assert {(one.measure, one.day_ms, one.from_value) for one in roll_ups} == {
        ("cost_cny", FIRST_MS + 2 * DAY_MS, 3.0)
    }
    assert not same(now(config), right)
    assert main([*CALL, str(config)]) == 0
    assert same(now(config), right)


def test_figures_that_no_reading_explains_say_that_nothing_is_known(config: Path, capsys):
    live(config, 3)
    spoil(
        config,
        f"INSERT INTO interval SELECT * REPLACE (start_ms + {3 * DAY_MS} AS start_ms) "
        f"FROM interval WHERE start_ms = {FIRST_MS + HOUR_MS}",
        f"INSERT INTO hour SELECT * REPLACE (start_ms - {DAY_MS} AS start_ms) "
        f"FROM hour WHERE start_ms = {FIRST_MS + HOUR_MS}",
    )
    assert main([*CALL, str(config)]) == 0
    assert main([*CALL, str(config)]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    with opening(config) as parts:
        series = np.arange(len(METERS), dtype=np.int32)
        at = FIRST_MS + HOUR_MS + 3 * DAY_MS
        rows = parts.store.intervals(Level.INTERVAL, series, at, at + 1)
        assert (rows.amount.tolist(), rows.missing_ms.tolist()) == ([0] * 3, [GRID_MS] * 3)
        hours = parts.store.intervals(Level.HOUR, series, 0, FIRST_MS)
        assert (hours.amount.tolist(), hours.missing_ms.tolist()) == ([0] * 3, [HOUR_MS] * 3)
        hours = parts.store.intervals(Level.DAY, series, 0, FIRST_MS)
        assert hours.amount.tolist() == [0] * 3


def test_killed_in_the_middle_it_goes_on_where_it_was(config: Path, capsys):
    days = 100
    right = live(config, days)
    spoil(
        config,
        "UPDATE interval SET amount = amount + 1, cost_cny = 0",
        "UPDATE hour SET amount = 0",
        "DELETE FROM day",
    )
    file = config.parent / "data" / "replay.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "aggregator.replay_command", *CALL, str(config)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and len(file.read_text("utf-8").splitlines()) >= 3:
            process.kill()
            break
        time.sleep(0.001)
    assert process.wait() == -signal.SIGKILL
    done = len(file.read_text("utf-8").splitlines()) - 1
    half = now(config)
    assert not same(half, right)
    with file.open("a", encoding="utf-8") as torn:
        torn.write('{"part": ["370')
    assert main([*CALL, str(config)]) == 0
    out = capsys.readouterr().out
    months = int(out.split("Going on: ")[1].split(" of ")[1].split()[0])
    assert f"Going on: {done} of {months}" in out
    assert 2 <= done < months
    assert same(now(config), right)
    assert not file.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_it_is_and_is_left_clean(config: Path, monkeypatch):
    live(config, 15)  # October and November of two sites, and of their region
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    assert main([*CALL, str(config)]) == 0
    shown = [one.removesuffix("\x1b[K") for one in screen.getvalue().split("\r") if one]
    assert shown == [
        "[..............................] 0/6 hall 2025-10",
        "[#####.........................] 1/6 hall 2025-11",
        "[##########....................] 2/6 works 2025-10",
        "[###############...............] 3/6 works 2025-11",
        "[####################..........] 4/6 370114 2025-10",
        "[#########################.....] 5/6 370114 2025-11",
        "",
    ]
    assert screen.getvalue().endswith("\r\x1b[K")


def test_an_interrupted_run_for_something_else_or_with_restart_is_not_gone_on_with(
    config: Path, capsys, monkeypatch
):
    live(config, 18)

    def interrupted(self: Replayer, part):
        if part.site == "works":
            raise KeyboardInterrupt
        return was(self, part)

    was = Replayer.replay
    monkeypatch.setattr(Replayer, "replay", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main([*CALL, str(config)])
    monkeypatch.undo()
    file = config.parent / "data" / "replay.jsonl"
    kept = file.read_text("utf-8")
    assert json.loads(kept.splitlines()[0]) == {"from_ms": None, "site": None, "to_ms": None}
    capsys.readouterr()
    for more, goes_on in (([], True), (["--restart"], False), (["--site", "hall"], False)):
        file.write_text(kept, "utf-8")
        assert main([*CALL, str(config), *more]) == 0
        assert ("Going on: 2 of 6" in capsys.readouterr().out) is goes_on


def test_a_row_of_the_register_is_named_with_who_changed_it(config: Path, capsys):
    live(config, 3)
    meters = config.parent / "register" / "meters.csv"
    text = meters.read_text("utf-8")
    meters.write_text(text.replace("works,em-1,electricity,boundary_in,,40",
                                   "works,em-1,electricity,boundary_in,,80"), "utf-8")  # fmt: skip
    assert main([*CALL, str(config)]) == 0
    causes = {(one.meter, one.cause, one.why) for one in records_of(config, "works")}
    with RegisterDatabase(f"sqlite:///{config.parent / 'data' / 'records.sqlite'}") as database:
        audit = database.audit()
    (number,) = [
        number
        for number, record in enumerate(audit, start=1)
        if record.change.before is not None and record.change.table == "meters"
    ]
    assert causes == {("em-1", f"register change {number}", "by start")}


def test_what_a_crash_left_due_is_done_first(config: Path, capsys):
    right = live(config, 3)
    spoil(
        config,
        f"UPDATE hour SET amount = 1 WHERE start_ms >= {FIRST_MS + DAY_MS}",
        f"INSERT INTO dirty VALUES ('{REGION}', 'works', {FIRST_MS + DAY_MS}), "
        f"('{REGION}', 'works', {FIRST_MS + 2 * DAY_MS})",
    )
    assert main([*CALL, str(config), "--site", "works"]) == 0
    assert not records_of(config, "works")  # roll-ups that were due are no restatement
    assert main([*CALL, str(config)]) == 0
    assert same(now(config), right)


def test_what_people_declared_is_applied_first_under_its_own_cause(config: Path, capsys):
    live(config, 18)
    facts = Facts(f"sqlite:///{config.parent / 'data' / 'records.sqlite'}")
    exchanged = MeterEvent(
        EventKind.EXCHANGE, REGION, "works", DAY_5 + 12_345, author="t", reason="seal 7",
        meter="em-1", channel="energy_import", final_micro=None, start_micro=7,
    )  # fmt: skip
    clock = MeterEvent(
        EventKind.CLOCK, REGION, "works", DAY_5 + 3 * DAY_MS, author="t", reason="hour ahead",
        meter="em-1", channel="energy_import", until_ms=DAY_5 + 9 * DAY_MS, offset_ms=-HOUR_MS,
        edge="gw-1",
    )  # fmt: skip
    for event in (exchanged, clock):
        facts.tell(event, DAY_5)
    facts.close()
    assert main([*CALL, str(config)]) == 0
    # the amendment's figures, made in one go, are those made month by month
    assert "all other figures were right" in capsys.readouterr().out
    assert {one.cause for one in records_of(config, "works")} == {"event 1", "event 2"}
    right = now(config)
    spoil(config, f"DELETE FROM interval WHERE start_ms BETWEEN {DAY_5} AND {DAY_5 + 5 * DAY_MS}")
    assert main([*CALL, str(config)]) == 0
    assert same(now(config), right)
    assert prove(["--config", str(config), "--from", "2025-10-26", "--to", "2025-10-27"]) == 0


def test_each_settled_figure_that_follows_the_register_first_leaves_a_record(config: Path):
    meters = config.parent / "register" / "meters.csv"
    first = meters.read_text("utf-8")
    late = "works,em-2,electricity,boundary_in,,1,,,\n"
    meters.write_text(first.replace(late, ""), "utf-8")
    before = live(config, 4)[Level.INTERVAL]
    meters.write_text(first.replace(",40,", ",80,"), "utf-8")
    assert main([*CALL, str(config)]) == 0
    after = now(config)[Level.INTERVAL]
    names = [field.name for field in fields(IntervalColumns)][1:]
    amount = names.index("amount")
    told = [one for one in records_of(config, "works") if one.measure == "amount"]
    assert {one.meter for one in told} == {"em-1", "em-2"}
    assert {one.cause.partition(" change ")[0] for one in told} == {"register"}
    recorded = sum((one.to_value or 0) - (one.from_value or 0) for one in told)
    changed = int(after[amount].sum() - before[amount].sum())
    assert changed > 0
    assert recorded == pytest.approx(changed / 1e6)


def test_refused_while_an_aggregator_has_the_store(config: Path, capsys):
    live(config, 1)
    store = EmbeddedStore(
        config.parent / "data" / "ledger.duckdb", GRID_MS, owner="http://127.0.0.1:8080"
    )
    store.open()
    assert main([*CALL, str(config)]) == 1
    store.close()
    assert "http://127.0.0.1:8080: stop it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--from", "2025-10-22", "--to", "2025-10-22"], 2, "is not before"),
        (["--site", "nowhere"], 1, "no data of site nowhere"),
    ],
)
def test_wrong_calls(arguments, code, told, config: Path, capsys):
    live(config, 1)
    assert main([*CALL, str(config), *arguments]) == code
    assert told in capsys.readouterr().err


def test_a_replay_of_settled_days_wants_a_reason(config: Path, capsys: pytest.CaptureFixture[str]):
    live(config, 1)
    assert main(["--config", str(config), "--author", "li"]) == 2
    assert main(["--config", str(config), "--why", " ", "--author", "li"]) == 2
    assert "--why and --author are needed" in capsys.readouterr().err
    tomorrow = date.today() + timedelta(days=1)  # noqa: DTZ011 - open under any clock
    assert main(["--config", str(config), "--from", str(tomorrow)]) == 0
    with pytest.raises(SystemExit):
        main(["--config", str(config), "--why", "test", "--author", "a: b"])


@pytest.mark.influxdb
def test_on_influxdb(tmp_path: Path, influx_server, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    database = f"replay_{uuid.uuid4().hex}"
    store = f'[store]\nkind = "influx1"\nurl = "{influx_server.url}"\ndatabase = "{database}"\n'
    config = write_config(tmp_path, store, port)
    right = live(config, 18)
    with opening(config) as parts:
        series = np.arange(len(METERS), dtype=np.int32)
        for level in (Level.INTERVAL, Level.HOUR, Level.MONTH):
            rows = parts.store.intervals(level, series, DAY_5 - 40 * DAY_MS, DAY_5 + 2 * DAY_MS)
            columns = rows.columns()
            columns[2] = columns[2] + 1
            parts.store.write_intervals(level, IntervalColumns(*columns))
    influx_server.query(
        database,
        f'DELETE FROM "interval" WHERE time > {DAY_5}000000 AND time < {DAY_5 + DAY_MS}000000',
    )
    influx_server.query(database, f'DELETE FROM "day" WHERE time > {DAY_5}000000')
    assert not same(now(config), right)
    assert main([*CALL, str(config)]) == 0
    assert "were changed" in capsys.readouterr().out
    assert same(now(config), right)
    assert main([*CALL, str(config)]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    with socket.create_server(("127.0.0.1", port)):
        assert main([*CALL, str(config)]) == 1
    assert f"an aggregator seems to run: http://127.0.0.1:{port}" in capsys.readouterr().err
