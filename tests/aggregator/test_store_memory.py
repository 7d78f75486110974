"""The suite's own reference passes the suite."""

import pytest

from tests.suites.memory_store import MemoryDatabase, MemoryStore
from tests.suites.store_suite import StoreKit, StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def kit(self):
        database = MemoryDatabase()
        return StoreKit(lambda grid_ms: MemoryStore(database, grid_ms))
