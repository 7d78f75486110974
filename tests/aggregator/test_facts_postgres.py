"""The book of events in Debian's PostgreSQL."""

import pytest

from tests.postgres import postgres_server
from tests.suites.facts_suite import FactsSuite

pytestmark = pytest.mark.postgres
__all__ = ["postgres_server"]


class TestFactsInPostgres(FactsSuite):
    @pytest.fixture
    def url(self, postgres_server):
        return postgres_server.url(postgres_server.new_database())
