"""The book of events in SQLite."""

import pytest

from tests.suites.facts_suite import FactsSuite


class TestFactsInSqlite(FactsSuite):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'records.sqlite'}"
