"""How an aggregator comes by its register when it starts."""

import json

import pytest

from aggregator.app import _register_dir
from aggregator.config import AggregatorSection
from aggregator.events import Events
from aggregator.register.database import RegisterDatabase
from aggregator.register.folder import RegisterError
from tests.register_example import example, read_folder, write_folder


@pytest.fixture
def database(tmp_path):
    with RegisterDatabase(f"sqlite:///{tmp_path / 'r.sqlite'}") as database:
        database.open()
        yield database


def section(tmp_path, **settings):
    return AggregatorSection.model_validate(
        {"regions": ["370114"], "data_dir": str(tmp_path), "factor_set": "demo"} | settings
    )


def test_the_folder_is_imported_and_audited_as_start(database, tmp_path, capsys):
    folder = write_folder(tmp_path / "folder", example())
    settings = section(tmp_path, register=str(folder))
    events = Events(lambda: 1)
    assert _register_dir(settings, database, events) == folder
    assert {record.author for record in database.audit()} == {"start"}
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "register_imported"
    assert "meters 6" in json.loads(line)["changed"]
    records = len(database.audit())
    assert _register_dir(settings, database, events) == folder
    assert len(database.audit()) == records
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_wrong_stops_the_start(database, tmp_path):
    settings = section(tmp_path, register=str(tmp_path / "absent"))
    with pytest.raises(RegisterError, match="holds no file of a register"):
        _register_dir(settings, database, Events(lambda: 1))


def test_without_a_folder_the_databases_word_stands_factors_and_all(database, tmp_path):
    folder = write_folder(tmp_path / "folder", example())
    database.import_folder(folder, author="a", now_ms=1)
    found = _register_dir(section(tmp_path), database, Events(lambda: 1))
    assert found == tmp_path / "register"
    assert read_folder(found) == example()
    assert len(database.audit(table="documents")) == 1
