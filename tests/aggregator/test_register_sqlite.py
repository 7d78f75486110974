"""The register in SQLite: the suite, and what only files do."""

import pytest

from aggregator.register.database import RegisterDatabase
from aggregator.register.engine import DatabaseError, sqlite_file
from tests.register_example import example, write_folder
from tests.suites.register_suite import T0, RegisterSuite


class TestRegisterInSqlite(RegisterSuite):
    @pytest.fixture
    def url(self, tmp_path):
        return sqlite_file(tmp_path / "100 %? #ü.sqlite")


def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path):
    path = tmp_path / "letter.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseError, match=r"letter\.sqlite.*not a database"):
        RegisterDatabase(sqlite_file(path)).open()


def test_a_folder_that_is_absent_is_named(tmp_path):
    with pytest.raises(DatabaseError, match="nowhere"):
        RegisterDatabase(sqlite_file(tmp_path / "nowhere" / "r.sqlite")).open()


def test_readers_see_the_old_register_while_one_writes(tmp_path):
    folder = write_folder(tmp_path / "folder", example())
    with RegisterDatabase(sqlite_file(tmp_path / "r.sqlite")) as database:
        database.open()
        database.import_folder(folder, author="a", now_ms=T0)
        with database._engine.begin() as writer:
            writer.exec_driver_sql("DELETE FROM sites")
            assert len(database.register().sites) == 2
            writer.rollback()
