"""How an aggregator comes by its register when it starts."""

import json

import pytest

from aggregator.app import _bring_in, _factors
from aggregator.events import Events
from aggregator.register.database import RegisterDatabase
from aggregator.register.folder import RegisterError
from tests.register_example import example, write_folder


@pytest.fixture
def database(tmp_path):
    with RegisterDatabase(f"sqlite:///{tmp_path / 'r.sqlite'}") as database:
        database.open()
        yield database


def test_the_folder_is_imported_and_audited_as_start(database, tmp_path, capsys):
    folder = str(write_folder(tmp_path / "folder", example()))
    events = Events(lambda: 1)
    _bring_in(folder, database, events)
    assert {record.author for record in database.audit()} == {"start"}
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "register_imported"
    assert "meters 6" in json.loads(line)["changed"]
    records = len(database.audit())
    _bring_in(folder, database, events)
    assert len(database.audit()) == records
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_wrong_stops_the_start(database, tmp_path):
    with pytest.raises(RegisterError, match="holds no file of a register"):
        _bring_in(str(tmp_path / "absent"), database, Events(lambda: 1))


def test_without_a_folder_the_databases_word_stands(database, tmp_path):
    database.import_folder(write_folder(tmp_path, example()), author="a", now_ms=1)
    before = database.register()
    _bring_in("", database, Events(lambda: 1))
    assert database.register() == before
    assert {record.author for record in database.audit()} == {"a"}


def test_factors_are_those_of_the_database_and_go_when_they_go(database, tmp_path):
    folder = write_folder(tmp_path, example())
    database.import_folder(folder, author="a", now_ms=1)
    assert "own-steam-mass-co2" in _factors(database).rows
    (folder / "factors" / "own.toml").unlink()
    database.import_folder(folder, author="a", now_ms=2)
    assert "own-steam-mass-co2" not in _factors(database).rows
