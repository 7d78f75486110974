"""Closing a month with the records in SQLite."""

import pytest

from tests.suites.closing_suite import ClosingSuite


class TestClosingsInSqlite(ClosingSuite):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'records.sqlite'}"
