"""SIGKILL of a broker that keeps nothing on disk: it is a wire, so losing it loses nothing."""

import pytest

from contract.meta import decode_meta
from tests.integration.ledger import assert_proof, assert_raw_once, wait_read
from tests.integration.wire import Wire
from tests.integration.world import World

pytestmark = pytest.mark.mosquitto


async def metas_retained(world: World) -> dict[str, bytes]:
    """Wait until the broker keeps a meta of every edge; topic -> payload."""
    with Wire(world.broker.port, "nenghao/1/+/+/+/meta") as wire:

        async def all_there() -> bool:
            return len(wire.retained) == len(world.edges)

        await world.wait_until(all_there, "a retained meta of every edge")
        return dict(wire.retained)


async def test_a_killed_broker_loses_nothing(tmp_path):
    async with World(tmp_path) as world:
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        metas = await metas_retained(world)
        for _ in range(2):
            await world.kill("broker")
            batches = {edge: world.outbox(edge).next_seq for edge in world.edges}

            async def buffered(batches: dict[str, int] = batches) -> bool:
                return all(world.outbox(e).next_seq > seq + 1 for e, seq in batches.items())

            await world.wait_until(buffered, "batches without a broker")
            taken = await world.counter("committed_batches")
            await world.start("broker")
            await world.wait_counter("committed_batches", taken + 2 * len(world.edges))
        assert await metas_retained(world) == metas
        await assert_proof(world)
        assert await world.counter("voided_batches") == 0
        await world.end("aggregator")
        assert_raw_once(world)


async def test_an_aggregator_that_knows_no_meta_asks_for_it(tmp_path):
    """Records and retained copies are lost, the edges' connections are not: `need_meta`."""
    async with World(tmp_path) as world:
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        metas = await metas_retained(world)
        await world.kill("aggregator")
        for file in world.data_dir.glob("records.sqlite*"):
            file.unlink()
        with Wire(world.broker.port) as wire:
            for topic in metas:
                wire.send(topic, b"", retain=True)
        await world.start("aggregator")
        await world.wait_counter("unknown_meta_batches", 1)
        await world.wait_counter("committed_batches", 3 * len(world.edges))
        assert await metas_retained(world) == metas
        assert all(decode_meta(payload).meters for payload in metas.values())
        await assert_proof(world)
        await world.end("aggregator")
        assert_raw_once(world)
