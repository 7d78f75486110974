"""Tokens in Debian's PostgreSQL."""

import pytest

from tests.postgres import postgres_server
from tests.suites.tokens_suite import TokensSuite

pytestmark = pytest.mark.postgres
__all__ = ["postgres_server"]


class TestTokensInPostgres(TokensSuite):
    @pytest.fixture
    def url(self, postgres_server):
        return postgres_server.url(postgres_server.new_database())
