"""The aggregator on InfluxDB 1.6.7: its database is killed amid the stream and comes back."""

import pytest

from contract.stored import QUALITY_SUFFIX, READING, SEQ
from tests.influx import InfluxServer, own_influx_server
from tests.integration.ledger import assert_proof, wait_read
from tests.integration.world import World

pytestmark = [pytest.mark.mosquitto, pytest.mark.influxdb]
__all__ = ["own_influx_server"]


def raw_counts(server: InfluxServer) -> dict[str, int]:
    """Edge -> raw readings in the database; there a reading is one field of a point."""
    counts = {}
    for series in server.query("nenghao", f'SELECT count(*) FROM "{READING}" GROUP BY "edge"'):
        columns = zip(series["columns"], series["values"][0], strict=True)
        counts[series["tags"]["edge"]] = sum(
            count or 0
            for name, count in columns
            if name not in {"time", f"count_{SEQ}"} and not name.endswith(QUALITY_SUFFIX)
        )
    return counts


async def test_a_killed_influxdb_loses_nothing(tmp_path, own_influx_server):
    store = f'[store]\nkind = "influx1"\nurl = "{own_influx_server.url}"\ndatabase = "nenghao"\n'
    async with World(tmp_path / "world", store=store) as world:
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        for _ in range(2):
            retries = await world.counter("store_retries")
            own_influx_server.kill()
            await world.wait_counter("store_retries", retries + 1)
            own_influx_server.start()
            taken = await world.counter("committed_batches")
            await world.wait_counter("committed_batches", taken + 2 * len(world.edges))
        await world.kill("aggregator")  # and its heads are in the database, not in its memory
        await world.start("aggregator")
        await assert_proof(world)
        held = {edge: world.outbox(edge).held_readings for edge in world.edges}
    assert raw_counts(own_influx_server) == held
