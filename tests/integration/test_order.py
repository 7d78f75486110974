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
            batches, times_ms = {}, {}
            for topic, payload in wire.of("data"):
                batch = decode_data(payload)
                key = (topic, batch.outbox, batch.seq)
                batches[key] = (topic, payload)
                times_ms[key] = batch.blocks[0].times_ms[0]
            metas = dict(wire.of("meta"))
        assert len(batches) > 360
        assert len(metas) == len(world.edges)
        ordered = [batches[key] for key in sorted(batches, key=lambda key: times_ms[key])]

        draw = random.Random(370114)
        for name, size in (("ordered", 0), ("shuffled", len(ordered)), ("jostled", 60)):
            world.data_dir.rename(world.folder / f"store-before-{name}")
            with Wire(world.broker.port, "nenghao/1/+/+/+/ack") as wire:
                for topic in metas:
                    wire.send(topic, b"", retain=True)
                await world.start("aggregator")
                if name == "shuffled":  # nobody has told the aggregator a meta yet
                    for topic, payload in ordered[:200]:
                        wire.send(topic, payload)
                    await world.wait_counter("unknown_meta_batches", 200)
                    acks = [decode_ack(payload) for _, payload in wire.of("ack")]
                    named = {name for ack in acks for name in ack.need_meta}
                    assert named == {decode_data(payload).meta for _, payload in ordered}
                    assert await world.counter("committed_batches") == 0
                for topic, payload in metas.items():
                    wire.send(topic, payload)
                # Twice but for "ordered". "jostled" goes in pieces, every other one shuffled, so
                # that live readings follow late ones.
                for start in range(0, len(ordered), size or len(ordered)):
                    piece = ordered[start : start + size] * 2 if size else ordered
                    if size and (name == "shuffled" or start // size % 2):
                        draw.shuffle(piece)
                    for topic, payload in piece:
                        wire.send(topic, payload)
                    done = min(start + (size or len(ordered)), len(ordered))
                    await world.wait_counter("committed_batches", done)
                await world.wait_counter("duplicate_batches", len(ordered) if size else 0)
            await world.end("aggregator")
            assert_raw_once(world)
            again = stored_figures(world.data_dir / "ledger.duckdb")
            assert again.keys() == told.keys()
            for level, rows in told.items():
                assert len(rows) > 10
                assert again[level] == rows, f"{name}: other figures of level {level}"
