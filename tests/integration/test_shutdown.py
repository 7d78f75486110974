"""SIGTERM ends every process with 0, soon, and leaves nothing running and no port taken."""

import socket

import pytest

from tests.integration.ledger import wait_read
from tests.integration.world import World

pytestmark = pytest.mark.mosquitto

SOON_S = 5.0


async def test_every_process_ends_in_order(tmp_path):
    async with World(tmp_path) as world:
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        assert await world.end("hall-gw1") < SOON_S
        assert world.outbox("hall-gw1").unacked_batches == 0
        assert await world.end("aggregator") < SOON_S
        await world.kill("broker")  # a gateway without network ends as soon
        for edge in ("works-gw1", "works-gw2"):
            assert await world.end(edge) < SOON_S
            assert world.outbox(edge).unacked_batches > 0
        assert await world.end("meters") < SOON_S
        assert world.processes_left() == []
        for port in world.all_ports():
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"{port} is still taken"
