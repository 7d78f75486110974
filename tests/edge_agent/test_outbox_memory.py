import pytest

from edge_agent.outbox.base import MemoryOutbox
from tests.suites.outbox_suite import OutboxSuite


class TestMemoryOutbox(OutboxSuite):
    @pytest.fixture
    def make(self, evictions):
        def make(max_bytes=self.max_bytes, max_days=190.0):
            return MemoryOutbox(max_bytes, max_days, lambda *e: evictions.append(e))

        return make
