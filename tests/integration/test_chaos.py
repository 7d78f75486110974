"""Whatever is killed, whenever: the long run, with a seed that names it."""

import asyncio
import random

import pytest

from contract.interval import HOUR_MS, MINUTE_MS
from tests.integration.ledger import assert_proof, assert_raw_once, wait_read
from tests.integration.world import World, wall_ms

pytestmark = [pytest.mark.mosquitto, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_kills_at_random_times(tmp_path, seed):
    draw = random.Random(seed)
    async with World(tmp_path) as world:
        to_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        await asyncio.gather(
            *(world.step(edge, to_ms - 6 * HOUR_MS, to_ms) for edge in world.edges)
        )
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        for _ in range(30):
            part = draw.choice(["aggregator", "aggregator", "broker", *world.edges])
            await asyncio.sleep(draw.uniform(0.05, 2))  # the moment of the kill is drawn,
            await world.kill(part)
            await asyncio.sleep(draw.uniform(0, 3))  # and so is how long the part is away
            await world.start(part)
        await assert_proof(world, within_s=120)
        await world.end("aggregator")
        assert_raw_once(world)
