"""SIGKILL of the aggregator, amid a backlog and amid live data: it goes on where its store is."""

import asyncio

import pytest

from contract.interval import HOUR_MS, MINUTE_MS
from tests.integration.ledger import assert_proof, assert_raw_once
from tests.integration.wire import Wire
from tests.integration.world import World, wall_ms

pytestmark = pytest.mark.mosquitto


async def test_a_killed_aggregator_neither_loses_nor_counts_twice(tmp_path):
    async with World(tmp_path) as world:
        to_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        await asyncio.gather(
            *(world.step(edge, to_ms - 2 * HOUR_MS, to_ms) for edge in world.edges)
        )
        with Wire(world.broker.port, "nenghao/1/+/+/+/data") as wire:
            await world.start("aggregator", *world.edges)
            backlog = 120 * len(world.edges)
            for _ in range(2):  # amid the backlog: some batches of it are in, most are not
                await world.wait_counter("committed_batches", 8)
                backlog -= await world.counter("committed_batches")
                await world.kill("aggregator")
                await world.start("aggregator")
            assert backlog > 0, "the kills came too late"

            async def drained() -> bool:
                now = await world.api.now()
                return now is not None and now.outbox_batches <= 2 * len(world.edges)

            await world.wait_until(drained, "the backlog is in")
            for _ in range(2):  # amid live data
                taken = await world.counter("committed_batches")
                await world.wait_counter("committed_batches", taken + 3)
                await world.kill("aggregator")
                await world.start("aggregator")

            # Edges have ended, all is acked. What comes again now is known from the receipts.
            await assert_proof(world)
            sent = wire.of("data")
            doubles = await world.counter("duplicate_batches")
            taken = await world.counter("committed_batches")
            for topic, payload in sent:
                wire.send(topic, payload)
            await world.wait_counter("duplicate_batches", doubles + len(sent))
            assert await world.counter("committed_batches") == taken
        await world.end("aggregator")
        assert_raw_once(world)
