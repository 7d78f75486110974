"""Closing a month with the records in Debian's PostgreSQL."""

import pytest

from tests.postgres import postgres_server
from tests.suites.closing_suite import ClosingSuite

pytestmark = pytest.mark.postgres
__all__ = ["postgres_server"]


class TestClosingsInPostgres(ClosingSuite):
    @pytest.fixture
    def url(self, postgres_server):
        return postgres_server.url(postgres_server.new_database())
