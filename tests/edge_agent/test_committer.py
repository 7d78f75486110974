from edge_agent import committer as committer_module
from edge_agent.clock import SystemClock
from edge_agent.committer import Committer
from edge_agent.events import CommitFailed, CommitRecovered, Event, ReadingsDropped
from edge_agent.outbox.sqlite import SqliteOutbox
from tests.suites.outbox_suite import META, registers


def test_a_disk_that_stays_full_bounds_memory_and_is_told_on_change_only(tmp_path, monkeypatch):
    monkeypatch.setattr(committer_module, "MAX_PENDING_READINGS", 500)
    events: list[Event] = []
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", 1 << 24, 190)
    outbox.use_meta(META)
    committer = Committer(outbox, SystemClock(), events.append, 30)
    outbox._db.execute("PRAGMA max_page_count = 1")
    for i in range(5):
        outbox.append(registers(200, 200 * i))
        assert not committer.commit()
        assert outbox.pending == min(200 * (i + 1), 500)
    outbox._db.execute("PRAGMA max_page_count = 100000")
    assert committer.commit()
    failed, *others = events
    assert isinstance(failed, CommitFailed)
    assert "full" in failed.reason
    assert others == [ReadingsDropped(100), CommitRecovered(500)]
    assert outbox.stats().dropped_readings == 500
    outbox.close()
