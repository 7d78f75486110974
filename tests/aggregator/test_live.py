"""What is known of edges and last values right now."""

from dataclasses import replace

from aggregator.live import Live
from contract.state import EdgeState, OutboxState, offline_state
from contract.topics import Address

GW = Address("370114", "works", "gw-1")


def test_an_edge_that_went_offline_still_has_what_it_held():
    live = Live()
    online = EdgeState(online=True, time_ms=1, outbox=OutboxState(depth_batches=7))
    live.take_state(GW, online)
    live.take_state(GW, offline_state(2))
    assert live.states()[GW] == replace(online, online=False, time_ms=2)
    live.take_state(GW, replace(online, time_ms=3))
    assert live.states()[GW].online


def test_an_edge_never_seen_online_is_offline():
    live = Live()
    live.take_state(GW, offline_state(2))
    assert live.states()[GW] == offline_state(2)
