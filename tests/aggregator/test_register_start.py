"""How an aggregator comes by its register when it starts."""

import json

import pytest

from aggregator.app import load_tables
from aggregator.config import AggregatorSection, Config
from aggregator.events import Events
from aggregator.register.database import RegisterDatabase
from aggregator.register.folder import RegisterError
from tests.register_example import example, write_folder


class Start:
    """What an aggregator does about its register at each start."""

    def __init__(self, folder) -> None:
        self.data_dir = folder
        url = f"sqlite:///{folder / 'records.sqlite'}"
        self.database = RegisterDatabase(url)
        self.database.open()

    def tables(self, register_dir=""):
        section = AggregatorSection(
            data_dir=str(self.data_dir),
            register=str(register_dir),
            regions=["370114"],
            factor_set="national",
        )
        return load_tables(Config(aggregator=section), Events(lambda: 1))


@pytest.fixture
def start(tmp_path):
    (tmp_path / "data").mkdir()
    start = Start(tmp_path / "data")
    yield start
    start.database.close()


def test_the_folder_is_imported_and_audited_as_start(start, tmp_path, capsys):
    folder = write_folder(tmp_path / "folder", example())
    start.tables(folder)
    assert {record.author for record in start.database.audit()} == {"start"}
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "register_imported"
    assert "meters 6" in json.loads(line)["changed"]
    records = len(start.database.audit())
    start.tables(folder)
    assert len(start.database.audit()) == records
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_wrong_stops_the_start(start, tmp_path):
    with pytest.raises(RegisterError, match="holds no file of a register"):
        start.tables(tmp_path / "absent")


def test_without_a_folder_the_databases_word_stands(start, tmp_path):
    start.database.import_folder(write_folder(tmp_path / "f", example()), author="a", now_ms=1)
    before = start.database.register()
    assert start.tables().register == before
    assert {record.author for record in start.database.audit()} == {"a"}


def test_factors_are_those_of_the_database_and_go_when_they_go(start, tmp_path):
    folder = write_folder(tmp_path / "f", example())
    start.database.import_folder(folder, author="a", now_ms=1)
    assert "own-steam-mass-co2" in start.tables().factors.rows
    (folder / "factors" / "own.toml").unlink()
    start.database.import_folder(folder, author="a", now_ms=2)
    assert "own-steam-mass-co2" not in start.tables().factors.rows
