"""`nenghao close`, as a person calls it, on a real embedded store."""

import json
from pathlib import Path

import pytest

from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.closing_command.__main__ import main
from aggregator.closings import Closings
from aggregator.config import load
from aggregator.events import Events
from aggregator.factors_command.__main__ import main as factors
from aggregator.facts import Facts
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.offline import opened
from aggregator.periods import month_of
from aggregator.records import IMPOSSIBLE_TIME, Records
from aggregator.restatements import Restatements
from aggregator.store.base import Commit, DirtyDay
from aggregator.store.embedded import EmbeddedStore
from contract.data import Batch, blocks_of, encode_data
from contract.interval import DAY_MS
from contract.reading import Reading
from contract.topics import Address, MessageKind, topic
from tests.aggregator.api_ledger import MIDNIGHT_MS, QUARTER_MS, REGION, build
from tests.aggregator.ledger_files import write_metas

MARCH = ["--region", REGION, "--month", "2026-03"]
SAID = ["--author", "Li Wei", "--reason", "monthly report"]
GRID_MICRO = 48 * 2_500_000 * 100


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Half a day of intervals whose roll-ups a crash has left undone, and their register."""
    register, data = tmp_path / "register", tmp_path / "data"
    register.mkdir()
    data.mkdir()
    ledger = build(data)
    dirty = frozenset({DirtyDay(REGION, site, MIDNIGHT_MS) for site in ("foundry", "office")})
    cumulative = ReadingColumns.empty(cumulative=True)
    instantaneous = ReadingColumns.empty(cumulative=False)
    ledger.store.commit(Commit(cumulative, instantaneous, IntervalColumns.empty(), {}, dirty))
    ledger.store.close()
    (data / "store.duckdb").rename(data / "ledger.duckdb")
    (register / "sites.csv").write_text(
        "site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude\n"
        "foundry,370114,厂,Foundry,metal casting,,10,,\n"
        "office,370114,机关,Office,government,,10,,\n",
        "utf-8",
    )
    (register / "meters.csv").write_text(
        "site,meter,carrier,role,parent,multiplier,edge,valid_from,note\n"
        "foundry,grid,electricity,boundary_in,,100,,,\n"
        "foundry,belt,raw_coal,boundary_in,,1,,,\n"
        "office,em-01,electricity,boundary_in,,1,,,\n"
        "office,em-02,electricity,boundary_in,,1,,,\n",
        "utf-8",
    )
    write_metas(data)
    path = tmp_path / "aggregator.toml"
    path.write_text(
        f'[aggregator]\nregions = ["{REGION}"]\ndata_dir = "{data}"\n'
        f'register = "{register}"\nfactor_set = "demo"\n',
        "utf-8",
    )
    return path


def test_close_freezes_the_month_and_says_what_was_not_measured(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["--config", str(config), *MARCH, *SAID, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    half_day_s, month_s = 12 * 3600, 31 * 24 * 3600
    channels = said["channels"]
    assert (said["region"], said["month"], said["sites"]) == (REGION, "2026-03", 2)
    assert said["measured_s"] == channels * half_day_s
    day_s, estimated = 24 * 3600, 4  # of those registered, from noon of the 2nd on
    assert said["estimated_s"] == estimated * (month_s - day_s - half_day_s)
    assert said["missing_s"] == channels * (month_s - half_day_s) - said["estimated_s"]
    assert said["open_registers"]["foundry/grid/energy_import"] == "2026-03-02"
    assert "foundry/pv/energy_import" not in said["open_registers"]
    assert "foundry/grid/energy_import" in said["open_channels"]
    assert said["meters_without_data"] == ["office/em-02"]
    closings = Closings(f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}")
    (closing,) = closings.closings()
    rows = {(p.meter, p.channel): p for p in closings.reported(closing, "foundry")}
    closings.close()
    grid = rows["grid", "energy_import"]
    assert grid.amount - grid.open_amount == GRID_MICRO
    assert grid.open_amount == GRID_MICRO * 59  # half days that it goes on as it did
    assert rows["pv", "energy_import"].role == ""  # has data, and is not in the register
    assert (closing.author, closing.reason, closing.factor_set) == (
        "Li Wei", "monthly report", "demo",
    )  # fmt: skip


def test_what_was_declared_since_is_in_the_figures_before_they_are_frozen(
    config: Path, tmp_path: Path
):
    with opened(load(config), "test", Events(lambda: 0)) as parts:
        parts.replayer().catch_up(parts.sites(None))
        parts.amendments.note_new()
        earlier = len(parts.restatements.find(REGION, "foundry", 0, 2**44))
    meters = tmp_path / "register" / "meters.csv"
    meters.write_text(meters.read_text("utf-8").replace(",100,", ",200,"), "utf-8")
    assert main(["--config", str(config), *MARCH, *SAID]) == 0
    url = f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}"
    closings, restatements = Closings(url), Restatements(url)
    (closing,) = closings.closings()
    rows = {(p.meter, p.channel): p for p in closings.reported(closing, "foundry")}
    grid = rows["grid", "energy_import"]
    assert grid.amount - grid.open_amount == 2 * GRID_MICRO
    told = restatements.find(REGION, "foundry", 0, 2**44)[earlier:]
    assert {(one.meter, one.cause.partition(" change ")[0]) for one in told} == {
        ("grid", "register")
    }
    day = [one for one in told if (one.channel, one.measure) == ("energy_import", "amount")]
    before, after = sum(one.from_value or 0 for one in day), sum(one.to_value or 0 for one in day)
    assert (before, after) == (GRID_MICRO / 1e6, 2 * GRID_MICRO / 1e6)
    assert not closings.restated(closing, "foundry")  # all of it came before the report
    closings.close()
    restatements.close()


def test_a_month_made_with_other_factors_than_are_configured_is_not_closed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with opened(load(config), "test", Events(lambda: 0)) as parts:
        parts.facts.begin_bases(parts.bases, {"foundry", "office"})  # as an aggregator does
    config.write_text(config.read_text("utf-8").replace('"demo"', '"national"'), "utf-8")
    close = ["--config", str(config), *MARCH, *SAID]

    def refused() -> bool:
        assert main(close) == 1
        error = capsys.readouterr().err
        return "foundry and 1 other sites were made with other factors" in error

    assert refused()
    apply = ["apply", "--config", str(config), "--yes", "--why", "notice", "--author", "Li"]
    assert factors([*apply, "--from", "2026-03-03", "--to", "2026-03-04"]) == 0
    assert "On other days, measures of foundry and 1 more still differ" in capsys.readouterr().out
    assert refused()
    assert factors([*apply, "--from", "2026-03-02", "--to", "2026-03-03"]) == 0
    assert "still differ" not in capsys.readouterr().out
    assert main(close) == 0
    closings = Closings(f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}")
    (closing,) = closings.closings()
    closings.close()
    assert closing.factor_set == "national"


def test_readings_that_a_clock_event_lets_in_must_be_in_before_a_month_is_closed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    url = f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}"
    edge, read_ms, ahead_ms = Address(REGION, "foundry", "gw1"), MIDNIGHT_MS, 100 * DAY_MS
    shown_ms = read_ms + ahead_ms
    readings = blocks_of([Reading("grid", "energy_import", shown_ms, 5_500_000_000)])
    payload = encode_data(Batch("00000000000000ab", 1, "0" * 64, 1, (), readings))
    records, facts = Records(url), Facts(url)
    records.keep(payload, topic(edge, MessageKind.DATA), IMPOSSIBLE_TIME, read_ms)
    assert main(["--config", str(config), *MARCH, *SAID, "--month", "2026-02"]) == 1
    assert "there are no figures" in capsys.readouterr().err  # nobody says when they were read
    clock = MeterEvent(
        EventKind.CLOCK, REGION, "foundry", shown_ms - 1, author="a", reason="100 days ahead",
        edge="gw1", until_ms=shown_ms + 1, offset_ms=-ahead_ms,
    )  # fmt: skip
    told = facts.tell(clock, read_ms)
    assert main(["--config", str(config), *MARCH, *SAID]) == 1
    assert "foundry: 1 readings of gw1 wait in quarantine" in capsys.readouterr().err
    facts.undo(told.id, "a", "it was another gateway", read_ms)
    assert main(["--config", str(config), *MARCH, *SAID]) == 0
    records.close()
    facts.close()


def test_close_in_words_then_list_then_refused(config: Path, capsys: pytest.CaptureFixture[str]):
    call = ["--config", str(config)]
    assert main(["list", *call]) == 0
    assert capsys.readouterr().out == "No month is closed.\n"
    assert main([*call, *MARCH, *SAID]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Closed 370114 2026-03: ")
    assert "1.61% measured, " in out
    assert "not read up to the end, estimated: foundry/belt/mass (last read 2026-03-02)" in out
    assert "Meters without any figure: office/em-02." in out
    assert main(["list", *call]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split()[:2] == [REGION, "2026-03"]
    assert "Li Wei  monthly report  demo" in row
    assert main([*call, *MARCH, *SAID]) == 1
    assert "by Li Wei; what is found afterwards is a correction" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--month", "2199-01"], 1, "2199-01 is not settled before 06:00 of 2199-02-01"),
        (["--month", "2026-02"], 1, "there are no figures of 370114 in 2026-02"),
        (["--month", "2026-3"], 2, "'2026-3' is not a month like 2026-10"),
        (["--month", "2026-13"], 2, "month"),
        (["--region", "370115"], 2, "--region 370115: this aggregator keeps 370114"),
    ],
)
def test_close_refuses(
    arguments: list[str], code: int, told: str, config: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["--config", str(config), *MARCH, *SAID, *arguments]) == code
    assert told in capsys.readouterr().err
    assert main(["list", "--config", str(config), "--json"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("blank", ["--author", "--reason"])
def test_close_wants_to_know_who_and_why(
    blank: str, config: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), *MARCH, *SAID, blank, "  "])
    assert ended.value.code == 2
    assert f"{blank} is needed to close a month" in capsys.readouterr().err


def test_close_says_who_owns_the_store_and_list_goes_on(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = EmbeddedStore(
        tmp_path / "data" / "ledger.duckdb", QUARTER_MS, owner="http://127.0.0.1:8080"
    )
    store.open()
    assert main(["--config", str(config), *MARCH, *SAID]) == 1
    assert "http://127.0.0.1:8080: stop it, close" in capsys.readouterr().err
    assert main(["list", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "No month is closed.\n"
    store.close()


def test_months_are_beijing_months():
    assert month_of("2026-03") == MIDNIGHT_MS - 24 * 3_600_000
    for text in ("2026-3", "2026", "202603", "2026-00", "+026-01", "2026-1a"):
        with pytest.raises(ValueError):
            month_of(text)
