"""A site returns from six hours without network while another one goes on sending."""

import asyncio

import pytest

from contract.interval import GRID_MS, HOUR_MS, MINUTE_MS
from tests.integration.ledger import assert_proof, figures, wait_read
from tests.integration.world import World, wall_ms

pytestmark = pytest.mark.mosquitto

WORKS = ("works-gw1", "works-gw2")


async def test_a_backlog_arrives_beside_live_data(tmp_path):
    async with World(tmp_path) as world:
        await world.start("aggregator", "hall-gw1")
        await wait_read(world, "hall-gw1")
        to_ms = wall_ms() // MINUTE_MS * MINUTE_MS
        from_ms = to_ms - 6 * HOUR_MS
        await asyncio.gather(*(world.step(edge, from_ms, to_ms) for edge in WORKS))
        waiting = {edge: world.outbox(edge).unacked_batches for edge in WORKS}
        assert min(waiting.values()) >= 360
        await world.start(*WORKS)
        backlog = sum(waiting.values())
        other_site: set[int] = set()
        own_present = False

        async def arrived() -> bool:
            nonlocal own_present
            taken = await world.counter("committed_batches")
            other_site.add(min(row["last_ms"] for row in await world.api.proof("hall")))
            if taken < backlog / 2:
                own = [row["last_ms"] or 0 for row in await world.api.proof("works")]
                own_present |= min(own, default=0) > to_ms
            return taken >= backlog

        await world.wait_until(arrived, "the backlog is in the ledger", 60)
        # The present waits for the past neither at the other site nor at the same gateways.
        assert len(other_site) >= 4
        assert own_present
        await assert_proof(world)
        assert await world.counter("late_readings") > 0

        # Within the backlog every interval is measured: received, and nothing estimated.
        rows = await figures(world, "interval")
        inside = {
            key: amounts
            for key, amounts in rows.items()
            if key[0] == "works" and from_ms <= key[3] and key[3] + GRID_MS <= to_ms
        }
        channels = {key[:3] for key in inside}
        assert len(inside) == len(channels) * ((to_ms // GRID_MS) - -(-from_ms // GRID_MS))
        assert all(amounts[1:] == (0, 0, 1) for amounts in inside.values())
