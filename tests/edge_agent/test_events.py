"""Events are counted, whatever becomes of their lines."""

import os
from pathlib import Path

from edge_agent.events import AgentStopped, EventLog


def test_a_full_disk_below_the_log_ends_nothing():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        events = EventLog(lambda: 0, full)
        events.emit(AgentStopped(1))
        events.emit(AgentStopped(2))
        assert events.counts() == {"agent_stopped": 2}
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # for what it still holds
