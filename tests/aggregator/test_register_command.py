"""`nenghao register`: what a person sees, and the exit codes."""

import json

import pytest

from aggregator.config import ConfigError, load
from aggregator.register.__main__ import main
from aggregator.register.engine import DatabaseError, database_url
from tests.register_example import example, read_folder, write_folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "aggregator.toml"
    path.write_text(
        f'[aggregator]\nregions = ["370114"]\ndata_dir = "{tmp_path}/var"\nfactor_set = "demo"\n'
    )
    return str(path)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "folder", example())


def test_check_counts_or_names_every_problem(folder, capsys):
    assert main(["check", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("good: 2 sites, 5 meters\n")
    write_folder(folder, {"meters.csv": example()["meters.csv"].replace(",40,", ",0,")})
    assert main(["check", str(folder)]) == 1
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("meters.csv: line 4: multiplier: 0 is not above 0")
    assert second.startswith("meters.csv: line 5: multiplier: 0 is not above 0")
    assert last == "nenghao register: 2 problem(s)"


def test_import_export_log(config, folder, tmp_path, capsys):
    call = ["import", str(folder), "--config", config, "--author", "district"]
    assert main(call) == 0
    changed = capsys.readouterr().out
    for part in ("budgets 3", "documents 1", "entities 2", "meters 6"):
        assert part in changed
    assert main(call) == 0
    assert capsys.readouterr().out == "changed: nothing\n"

    write_folder(folder, {"sites.csv": example()["sites.csv"].replace(",310,", ",312,")})
    assert main([*call, "--dry-run"]) == 0
    told = "sites: foundry: headcount '310' -> '312'\n"
    assert capsys.readouterr().out == f"{told}would change: sites 1\n"
    assert main([*call, "--note", "new shift"]) == 0
    assert main(["export", str(tmp_path / "out"), "--config", config]) == 0
    assert read_folder(tmp_path / "out") == read_folder(folder)

    capsys.readouterr()
    assert main(["log", "--config", config, "--limit", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines(keepends=True)
    assert line.endswith(f"+08:00 district (new shift): {told}")
    assert main(["log", "--config", config, "--table", "sites", "--format", "json"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    record = json.loads(last)
    assert (record["author"], record["note"], record["key"]) == (
        "district", "new shift", {"site": "foundry"},
    )  # fmt: skip
    assert (record["before"]["headcount"], record["after"]["headcount"]) == ("310", "312")
    assert main(["log", "--config", config, "--since", "2199-01-01"]) == 0
    assert capsys.readouterr().out == ""


DOCUMENT = "factors/own.toml"
STOPS = {
    "tariff that is not there": (
        "sites.csv", ",demo-electricity demo-gas", ",demo-electricity demo-gaz",
        "sites.csv: line 2: tariff: no tariff 'demo-gaz'; there are: ",
    ),
    "two tariffs for one thing": (
        "sites.csv", ",demo-electricity demo-gas", ",demo-electricity shandong-110kv-example",
        "sites.csv: line 2: tariff: demo-electricity and shandong-110kv-example both price",
    ),
    "factor of no unit": (
        DOCUMENT, 'unit = "kgCO2/t"', 'unit = "kgCO2/lb"',
        f"{DOCUMENT}: row 1 (own-steam-mass-co2): unit: unknown",
    ),
    "gap between factors": (
        DOCUMENT, "verified = false\n", """verified = false
valid_to = 2021-01-01
[[factor]]
id = "own-steam-later"
item = "steam"
measure = "co2_kg"
value = 413.9
unit = "kgCO2/t"
data_year = 2020
basis = "standing"
valid_from = 2022-01-01
region = "national"
edition = "example"
source = "computed"
verified = false
""", f"{DOCUMENT}: row (own-steam-later): valid_from: gap",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPS)
def test_what_would_stop_the_next_start_is_refused_where_it_stands(case, config, folder, capsys):
    file, old, new, told = STOPS[case]
    import_ = ["import", str(folder), "--config", config]
    assert main(import_) == 0
    text = example()[file]
    assert text.count(old) == 1
    write_folder(folder, {file: text.replace(old, new)})
    for call in (["check", str(folder)], import_):
        assert main(call) == 1
        assert told in capsys.readouterr().err
    write_folder(folder, {file: text})
    assert main(import_) == 0
    assert capsys.readouterr().out == "changed: nothing\n"


def test_a_document_alone_is_judged_beside_what_the_database_holds(
    config, folder, tmp_path, capsys
):
    assert main(["import", str(folder), "--config", config]) == 0
    sites = example()["sites.csv"].replace("demo-electricity", "own")
    write_folder(tmp_path / "some", {"sites.csv": sites})
    assert main(["import", str(tmp_path / "some"), "--config", config]) == 1
    assert "sites.csv: line 2: tariff: no tariff 'own'" in capsys.readouterr().err


def test_wrong_calls(config, folder, tmp_path, capsys):
    assert main(["log", "--config", config, "--since", "yesterday"]) == 2
    assert "--since: 'yesterday' is neither a date" in capsys.readouterr().err
    assert main(["log", "--config", str(tmp_path / "absent.toml")]) == 2
    assert main(["log", "--database", "mysql://localhost/x"]) == 1
    assert "mysql: the register is kept in sqlite or postgresql" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "absent"), "--config", config]) == 1
    assert "absent: holds no file of a register" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["import", str(folder)])


def test_an_address_with_a_password_is_refused():
    with pytest.raises(DatabaseError, match="put it into a file"):
        database_url("postgresql+psycopg://me:secret@127.0.0.1/x")


def test_a_file_takes_no_password():
    with pytest.raises(DatabaseError, match="takes no password"):
        database_url("sqlite:///r.sqlite", "password")


def test_the_configuration_names_the_database(tmp_path, config):
    path = tmp_path / "aggregator.toml"
    assert load(path).aggregator.database_url().database == str(tmp_path / "var" / "records.sqlite")
    good = path.read_text()
    path.write_text(good + 'database = "postgresql+psycopg://me@db.example/x"\n')
    assert load(path).aggregator.database_url().host == "db.example"
    (tmp_path / "password").write_text("p@ss/w:rd\n")
    path.write_text(path.read_text() + f'database_password_file = "{tmp_path}/password"\n')
    assert load(path).aggregator.database_url().password == "p@ss/w:rd"
    path.write_text(good + 'database = "oracle://x"\n')
    with pytest.raises(ConfigError, match=r"aggregator\.database: .*oracle"):
        load(path)
