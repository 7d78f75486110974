"""SIGKILL of edges in mid-stream: what was not committed yet is lost, energy never is."""

import pytest

from tests.integration.ledger import assert_proof, assert_raw_once, wait_read
from tests.integration.world import World

pytestmark = pytest.mark.mosquitto


async def test_killed_edges_lose_no_energy(tmp_path):
    async with World(tmp_path) as world:
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        for round_ in range(2):
            for edge in world.edges:
                await world.kill(edge)
                await world.start(edge)
            await world.wait_counter("committed_batches", 9 * (round_ + 2))

        # Without a broker readings live in the outbox alone; the kill must not touch them.
        await world.kill("broker")
        before = {edge: world.outbox(edge) for edge in world.edges}

        async def buffered() -> bool:
            return all(
                world.outbox(edge).next_seq >= before[edge].next_seq + 3 for edge in world.edges
            )

        await world.wait_until(buffered, "three batches more in each outbox")
        for edge in world.edges:
            await world.kill(edge)
        killed = {edge: world.outbox(edge) for edge in world.edges}
        await world.start("broker", *world.edges)
        await assert_proof(world)

        for edge, outbox in killed.items():
            now = world.outbox(edge)
            assert outbox.unacked_batches >= 3
            assert (now.id, now.floor) == (outbox.id, outbox.floor), "the outbox was made anew"
            assert now.next_seq > outbox.next_seq
        await world.end("aggregator")
        assert_raw_once(world)
