"""Payloads that no edge of ours sends, beside one that is healthy."""

import json
import random

import pytest

from contract.data import decode_data
from tests.integration.ledger import assert_proof, assert_raw_once, wait_read
from tests.integration.wire import Wire
from tests.integration.world import World

pytestmark = pytest.mark.mosquitto


def hostile_payloads(good: bytes) -> list[bytes]:
    """Broken in many ways; the last ones are a good batch with one thing wrong."""
    draw = random.Random(1)
    document = json.loads(good)

    def broken(**members: object) -> bytes:
        return json.dumps({**document, **members}).encode()

    return [
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"9" * 60_000,
        b" " * 10_000_000,
        good[:-1],
        good + b"}",
        *(draw.randbytes(draw.randrange(1, 5_000)) for _ in range(20)),
        good.replace(b'"t0":', b'"t0":1e400,"u":', 1),
        broken(v=2),
        broken(v=True),
        broken(outbox="0" * 15),
        broken(seq=0),
        broken(seq=2**70),
        broken(seq=-1),
        broken(floor=0),
        broken(void=[[5, 3]]),
        broken(blocks=[{**document["blocks"][0], "dt": []}]),
        broken(blocks=[{**document["blocks"][0], "channels": {"bad": [1]}}]),
    ]


async def test_hostile_payloads_touch_nobody_else(tmp_path):
    async with World(tmp_path, edges=["hall-gw1"]) as world:
        with Wire(world.broker.port, "nenghao/1/+/+/+/data") as wire:
            await world.start("aggregator", "hall-gw1")
            await wait_read(world)
            own, good = wire.of("data")[0]
            assert decode_data(good).seq >= 1
            payloads = hostile_payloads(good)
            for payload in payloads:
                wire.send(own, payload)
                wire.send(own.replace("hall-gw1", "stranger"), payload)
            for odd in ("nenghao/1/370114/hall/HALL/data", "nenghao/1/370114/hall/-/data"):
                wire.send(odd, good)
            await world.wait_counter("undecodable_messages", 2 * len(payloads))
            await world.wait_counter("foreign_messages", 2)
            taken = await world.counter("committed_batches")
            await world.wait_counter("committed_batches", taken + 3)
        await assert_proof(world)
        assert await world.counter("undecodable_messages") == 2 * len(payloads)
        assert await world.counter("voided_batches") == 0
        await world.end("aggregator")
        assert_raw_once(world)
