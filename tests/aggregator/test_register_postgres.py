"""The register in Debian's PostgreSQL: the suite, and what only a server does."""

import pytest

from aggregator.register.database import RegisterDatabase
from aggregator.register.engine import DatabaseError, database_url
from tests.postgres import PASSWORD, postgres_server
from tests.register_example import example, write_folder
from tests.suites.register_suite import T0, RegisterSuite

pytestmark = pytest.mark.postgres
__all__ = ["postgres_server"]


class TestRegisterInPostgres(RegisterSuite):
    @pytest.fixture
    def url(self, postgres_server):
        return postgres_server.url(postgres_server.new_database())


def test_the_password_comes_from_a_file(postgres_server, tmp_path):
    address = postgres_server.address(postgres_server.new_database())
    url = database_url(address, str(postgres_server.password_file))
    with RegisterDatabase(url) as database:
        database.open()
        folder = write_folder(tmp_path, example())
        assert database.import_folder(folder, author="a", now_ms=T0)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_is_refused_and_never_printed(postgres_server, tmp_path, password):
    (tmp_path / "password").write_text(password)
    url = database_url(postgres_server.address("postgres"), str(tmp_path / "password"))
    with pytest.raises(DatabaseError) as caught:
        RegisterDatabase(url).open()
    assert "password" in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_database_that_is_absent_is_named(postgres_server):
    with pytest.raises(DatabaseError, match="absent_one"):
        RegisterDatabase(postgres_server.url("absent_one")).open()
