"""The inbox holds no more memory than it may, whatever the messages look like."""

import io
import sys

from aggregator.events import Counter, Events
from aggregator.ingest.subscriber import Inbox, Message

LIMIT = 100_000


def filled(payload_bytes: int) -> tuple[list[Message], int]:
    """Offer more than the limit; return what was queued, and how many were dropped."""
    events = Events(lambda: 0, io.StringIO())
    inbox = Inbox(LIMIT, events)
    offered = 2 * LIMIT // max(payload_bytes, 100)
    for i in range(offered):
        inbox.put(Message(f"nenghao/1/370114/works/gw-{i}/state", bytes(payload_bytes)))
    taken = inbox.take(0)
    assert inbox.take(0) == []
    assert len(taken) + events.counts()[Counter.INBOX_DROPPED] == offered
    return taken, offered


def test_small_messages_count_with_what_they_really_take():
    for payload_bytes in (0, 1, 100, 10_000):
        taken, offered = filled(payload_bytes)
        assert 0 < len(taken) < offered
        memory = sum(sys.getsizeof(m) + sum(map(sys.getsizeof, m)) + 8 for m in taken)
        assert LIMIT / 2 < memory < LIMIT


def test_room_is_given_back_when_messages_are_taken():
    inbox = Inbox(1_000, Events(lambda: 0, io.StringIO()))
    for _ in range(5):
        inbox.put(Message("t", bytes(600)))
        inbox.put(Message("t", bytes(600)))
        assert len(inbox.take(0)) == 1
