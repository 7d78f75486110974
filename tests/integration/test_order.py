"""Invariant 2 over the real road: doubled, shuffled batches end in the very same figures."""

import asyncio
import random

import pytest

from contract.ack import decode_ack
from contract.data import decode_data
from contract.interval import HOUR_MS, MINUTE_MS
from tests.integration.ledger import (
    assert_proof,
    assert_raw_once,
    stored_figures,
)
from tests.integration.wire import Wire
from tests.integration.world import World, wall_ms

pytestmark = pytest.mark.mosquitto


async def test_every_batch_twice_and_shuffled_gives_the_same_figures(tmp_path):
    async with World(tmp_path) as world:
        to_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        await asyncio.gather(
            *(world.step(edge, to_ms - 2 * HOUR_MS, to_ms) for edge in world.edges)
        )
        with Wire(world.broker.port, "nenghao/1/+/+/+/data", "nenghao/1/+/+/+/meta") as wire:
            await world.start("aggregator", *world.edges)
            await assert_proof(world)
            await world.end("aggregator")
            assert_raw_once(world)
            told = stored_figures(world.data_dir / "ledger.duckdb")
            batches = {}
            for topic, payload in wire.of("data"):
                batch = decode_data(payload)
                batches[topic, batch.outbox, batch.seq] = payload
            metas = dict(wire.of("meta"))
        assert len(batches) > 360
        assert len(metas) == len(world.edges)
        ordered = [(key[0], payload) for key, payload in sorted(batches.items())]

        for name, twice in (("ordered", False), ("shuffled", True)):
            world.data_dir.rename(world.folder / f"store-before-{name}")
            with Wire(world.broker.port, "nenghao/1/+/+/+/ack") as wire:
                for topic in metas:
                    wire.send(topic, b"", retain=True)
                await world.start("aggregator")
                stream = list(ordered)
                if twice:
                    stream = 2 * stream
                    random.Random(370114).shuffle(stream)
                    for topic, payload in stream[:200]:  # nobody told the aggregator a meta yet
                        wire.send(topic, payload)
                    await world.wait_counter("unknown_meta_batches", 200)
                    acks = [decode_ack(payload) for _, payload in wire.of("ack")]
                    named = {name for ack in acks for name in ack.need_meta}
                    assert named == {decode_data(payload).meta for _, payload in ordered}
                    assert await world.counter("committed_batches") == 0
                for topic, payload in metas.items():
                    wire.send(topic, payload)
                for topic, payload in stream:
                    wire.send(topic, payload)
                await world.wait_counter("committed_batches", len(ordered))
                await world.wait_counter("duplicate_batches", len(stream) - len(ordered))
            await world.end("aggregator")
            assert_raw_once(world)
            again = stored_figures(world.data_dir / "ledger.duckdb")
            assert again.keys() == told.keys()
            for level, rows in told.items():
                assert len(rows) > 10
                assert again[level] == rows, f"{name}: other figures of level {level}"
