"""`nenghao command` over API, broker and a real edge process; an edge that comes back by itself."""

import asyncio
import json
import sys

import pytest

from tests.integration.ledger import settle, wait_read
from tests.integration.world import World

pytestmark = pytest.mark.mosquitto


async def command(world: World, edge: str, *arguments: str) -> tuple[int, str]:
    site = next(site.id for site in world.district.sites if edge in site.edges)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aggregator.command_command", f"{site}/{edge}", *arguments),
        *("--url", world.url, "--token-file", str(world.folder / "token"), "--wait-s", "60"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_an_edge_obeys_restarts_in_its_place_and_loses_nothing(tmp_path):
    async with World(tmp_path) as world:
        await world.start("aggregator", *world.edges)
        await wait_read(world)
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "aggregator.tokens_command",
                "add",
                "--role",
                "engineer",
                "--everything",
            ),
            *("--name", "test", "--config", str(tmp_path / "aggregator.toml")),
            stdout=asyncio.subprocess.PIPE,
        )
        secret = (await process.communicate())[0].decode().split()[-1]
        (tmp_path / "token").write_text(secret)
        for client in (world._client, world.api._client):
            client.headers["Authorization"] = f"Bearer {secret}"
        edge = next(iter(world.edges))
        code, said = await command(world, edge, "poll-now")
        assert (code, json.loads(said)["readings"] > 0) == (0, True)
        code, said = await command(world, edge, "poll-now", "bus=nowhere")
        assert (code, "no bus 'nowhere'" in said) == (1, True)
        code, said = await command(world, edge, "set-interval", "period_s=2")
        assert (code, json.loads(said)) == (0, {"period_s": 2.0})
        pid = world.running[edge].process.pid
        code, said = await command(world, edge, "restart")
        assert (code, json.loads(said)) == (0, {})
        code, said = await command(world, edge, "resend", "from_ms=0", "to_ms=9999999999999")
        assert code == 0, said
        assert world.running[edge].process.pid == pid, "the new process is in the old one's place"
        await settle(world)
