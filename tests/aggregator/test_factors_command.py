"""`nenghao factors`, as a person calls it; `apply` on a real embedded store."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from aggregator.factors_command.__main__ import main
from aggregator.prove_command.__main__ import main as prove
from aggregator.register.database import RegisterDatabase
from aggregator.restatements import Restatements
from aggregator.signature import signer
from aggregator.store.embedded import EmbeddedStore
from aggregator.terminal import table
from contract.stored import Level
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, QUARTER_MS, REGION, build
from tests.aggregator.test_charges import TARIFF

BAD_FACTORS = """\
[[factor]]
id = "works-coal"
item = "raw_coal"
measure = "kgce_calorific"
value = 0.65
unit = "kgce/pound"
data_year = 2026
basis = "standing"
valid_from = 2026-01-01
region = "national"
edition = "laboratory"
verified = true
"""


def test_list_shows_the_rows_of_a_set(capsys: pytest.CaptureFixture[str]):
    assert (
        main(["list", "--set", "national", "--carrier", "electricity", "--measure", "co2_kg"]) == 0
    )
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:6] == ["sets", "carrier", "measure", "value", "unit", "region"]
    assert [(row.split()[3], row.split()[4]) for row in rows] == [
        ("0.5568", "kgCO2/kWh"),
        ("0.5366", "kgCO2/kWh"),
        ("0.5306", "kgCO2/kWh"),
    ]
    assert "2023-01-01 to ..." in rows[-1]
    assert "NO" in rows[-1].split()


def test_list_for_programs_keeps_the_source_in_full(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--set", "national", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    by_id = {row["id"]: row for row in rows}
    row = by_id["grid-national-2021"]
    assert (row["value"], row["unit"], row["sets"]) == ("0.5568", "kgCO2/kWh", ["national"])
    assert row["unused_in"] == []
    assert by_id["grid-national-2023"]["unused_in"] == ["national"]
    assert all(len(row["source"]) >= 10 for row in rows)


def test_list_of_tariffs(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--tariffs", "--tariff", "demo-electricity", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["period"], row["value"]) for row in rows] == [
        ("sharp", "1.10"),
        ("peak", "0.95"),
        ("flat", "0.62"),
        ("valley", "0.28"),
        ("deep_valley", "0.18"),
    ]


def test_list_of_what_a_tariff_asks_for_by_the_month(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "tariffs").mkdir()
    text = TARIFF.replace("per_kw = 30\nverified = true", "per_kw = 30\nverified = false")
    (tmp_path / "tariffs" / "two-part.toml").write_text(text, "utf-8")
    folder = ["--register", str(tmp_path)]
    assert main(["list", *folder, "--tariffs", "--tariff", "two-part", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["period"], row["value"], row["unit"]) for row in rows] == [
        ("price", "flat", "0.6", "CNY/kWh"),
        ("demand-1", "contracted demand", "20", "CNY/kVA/month"),
        ("demand-1", "measured demand", "30", "CNY/kW/month"),
        ("demand-2", "contracted demand", "24.5", "CNY/kVA/month"),
        ("demand-2", "measured demand", "38.4", "CNY/kW/month"),
        ("blocks-1", "above 2520 kWh/year", "0.05", "CNY/kWh"),
        ("blocks-1", "above 4800 kWh/year", "0.3", "CNY/kWh"),
    ]
    assert main(["check", *folder]) == 0
    assert "note: tariff two-part: not verified, so not used: demand-1" in capsys.readouterr().out


def test_list_of_nothing_is_no_success(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--carrier", "peat"]) == 1
    assert "no row is of that kind" in capsys.readouterr().err


def test_list_names_the_sets_there_are(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--set", "nationwide"]) == 2
    assert "no set 'nationwide'; there are: demo, industry-guide" in capsys.readouterr().err


def test_check_of_what_is_shipped(capsys: pytest.CaptureFixture[str]):
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "note: set shandong: not verified, so not used: electricity-equivalent-37" in out
    assert out.splitlines()[-1].startswith("good: ")


def test_check_names_every_problem_of_all_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "factors").mkdir()
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "factors" / "works.toml").write_text(BAD_FACTORS, "utf-8")
    (tmp_path / "tariffs" / "contract.toml").write_text('[tariff]\ntitle = "x"\n', "utf-8")
    assert main(["check", "--register", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "works.toml: row 1 (works-coal): source: missing" in out
    assert "contract.toml: [[price]]: at least one such table is needed" in out
    assert "contract.toml: [tariff]: carrier: missing" in out
    assert main(["check", "--register", str(tmp_path / "nowhere")]) == 2


def test_cells_stand_below_each_other_though_chinese_is_wide():
    lines = table(["name", "kWh"], [["演示", "1"], ["demo", "20"]], right=("kWh",)).splitlines()
    assert lines == ["name  kWh", "演示    1", "demo   20"]


# apply


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A register and a store with half a day of figures made under the set `demo`."""
    register, data = tmp_path / "register", tmp_path / "data"
    register.mkdir()
    data.mkdir()
    ledger = build(data)
    ledger.store.close()
    (data / "store.duckdb").rename(data / "ledger.duckdb")
    (register / "sites.csv").write_text(
        "site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude,tariff\n"
        "foundry,370114,厂,Foundry,metal casting,,10,,,demo-electricity demo-coal demo-water\n"
        "office,370114,机关,Office,government,,10,,,\n",
        "utf-8",
    )
    (register / "meters.csv").write_text(
        "site,meter,carrier,role,parent,multiplier,edge,valid_from,note\n"
        "foundry,grid,electricity,boundary_in,,100,,,\n"
        "foundry,pv,electricity,own_generation,,1,,,\n"
        "foundry,line,electricity,sub,,1,,,\n"
        "foundry,belt,raw_coal,boundary_in,,1,,,\n"
        "foundry,boiler,steam,conversion_out,,1,,,\n"
        "foundry,water,water,boundary_in,,1,,,\n"
        "foundry,gas,natural_gas,boundary_in,,1,,,\n"
        "office,em-01,electricity,boundary_in,,1,,,\n",
        "utf-8",
    )
    return write_config(tmp_path, "demo")


def write_config(folder: Path, factor_set: str) -> Path:
    path = folder / "aggregator.toml"
    path.write_text(
        f'[aggregator]\nregions = ["{REGION}"]\ndata_dir = "{folder / "data"}"\n'
        f'register = "{folder / "register"}"\nfactor_set = "{factor_set}"\n',
        "utf-8",
    )
    return path


DAY = ["--from", "2026-03-02", "--to", "2026-03-03"]


def co2_of_the_grid(folder: Path) -> float:
    store = EmbeddedStore(folder / "data" / "ledger.duckdb", QUARTER_MS)
    store.open()
    series = [
        i
        for i, key in enumerate(store.directory.series.keys())
        if (key.meter, key.channel) == ("grid", "energy_import")
    ]
    rows = store.intervals(Level.INTERVAL, np.array(series, np.int32), MIDNIGHT_MS, NOON_MS)
    store.close()
    return float(rows.co2_kg.sum())


def test_under_the_set_they_were_made_with_nothing_differs(
    config: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["apply", "--config", str(config), *DAY]) == 0
    assert "Nothing differs" in capsys.readouterr().out


def test_without_yes_it_is_only_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = co2_of_the_grid(tmp_path)
    assert main(["apply", "--config", str(config), *DAY, "--set", "national"]) == 0
    out = capsys.readouterr().out
    line = next(row for row in out.splitlines() if row.startswith("foundry  co2_kg"))
    assert line.split()[2:5] == ["4", "1", str(4 * 48)]  # channels, days, intervals
    assert "Nothing was changed." in out
    assert co2_of_the_grid(tmp_path) == before


def test_what_is_only_told_or_proved_imports_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tariff = (tmp_path / "register" / "sites.csv").read_text("utf-8").replace(" demo-coal", "")
    (tmp_path / "register" / "sites.csv").write_text(tariff, "utf-8")
    assert main(["apply", "--config", str(config), *DAY]) == 0
    out = capsys.readouterr().out
    assert "foundry  cost_cny" in out  # as after the import: the belt has no price any more
    assert "Nothing was changed." in out
    assert prove(["--config", str(config), "--site", "foundry", "--meter", "grid"]) == 0
    with RegisterDatabase(f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}") as database:
        assert database.audit() == ()
        assert not database.register().sites
        call = ["apply", "--config", str(config), *DAY, "--yes", "--why", "no coal"]
        assert main([*call, "--author", "Li Wei"]) == 0
        assert {record.author for record in database.audit()} == {"start"}


def test_yes_changes_and_records(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_config(tmp_path, "national")
    call = ["apply", "--config", str(config), *DAY, "--site", "foundry"]
    assert main([*call, "--yes", "--why", "notice 47 of 2025", "--author", "Li Wei"]) == 0
    assert "Changed." in capsys.readouterr().out
    assert np.isnan(co2_of_the_grid(tmp_path))  # 2023's row of the set is not verified
    records = Restatements(f"sqlite:///{tmp_path / 'data' / 'records.sqlite'}")
    found = records.find(REGION, "foundry", MIDNIGHT_MS, MIDNIGHT_MS + 1)
    records.close()
    one = next(
        r for r in found if (r.meter, r.channel, r.measure) == ("grid", "energy_import", "co2_kg")
    )
    said = ("factors national", "Li Wei: notice 47 of 2025", None)
    assert (one.cause, one.why, one.to_value) == said
    assert signer(one.cause, one.why) == "Li Wei"
    assert signer("event 7", "belt scale: 2 % low") == ""
    assert one.from_value == pytest.approx(12_000 * 0.6191)
    assert main(call) == 0
    assert "Nothing differs" in capsys.readouterr().out
    # the other site keeps what it had
    assert main(["apply", "--config", str(config), *DAY, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["site"] for line in lines} == {"office"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "national", "--yes", "--why", "x"], "would go on under demo"),
        (["--yes"], "--yes wants --why"),
        (["--yes", "--why", "  "], "--yes wants --why"),
        (["--to", "2026-03-02"], "--from 2026-03-02 is not before"),
    ],
)
def test_apply_refuses(
    arguments: list[str], told: str, config: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["apply", "--config", str(config), *DAY, *arguments]) == 2
    assert told in capsys.readouterr().err


def test_apply_says_who_owns_the_store(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = EmbeddedStore(
        tmp_path / "data" / "ledger.duckdb", QUARTER_MS, owner="http://127.0.0.1:8080"
    )
    store.open()
    assert main(["apply", "--config", str(config), *DAY]) == 1
    store.close()
    assert "http://127.0.0.1:8080: stop it" in capsys.readouterr().err


def test_apply_keeps_away_from_a_server_that_an_aggregator_writes_to(
    config: Path, capsys: pytest.CaptureFixture[str]
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = config.read_text("utf-8")
        config.write_text(f'{text}[store]\nkind = "influx1"\n[api]\nport = {port}\n', "utf-8")
        assert main(["apply", "--config", str(config), *DAY]) == 1
    assert f"an aggregator seems to run: http://127.0.0.1:{port}" in capsys.readouterr().err


def test_apply_names_an_unknown_site_and_an_unknown_set(
    config: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["apply", "--config", str(config), *DAY, "--site", "nowhere"]) == 1
    assert "no figures of site nowhere" in capsys.readouterr().err
    assert main(["apply", "--config", str(config), *DAY, "--set", "nowhere"]) == 1
    assert "no set 'nowhere'" in capsys.readouterr().err
