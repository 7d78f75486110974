"""The control port: time per site and per edge, and refusals that leave everything as it was."""

import asyncio
import json

import pytest

from simulators.demo.clients import ControlError, ask_control
from simulators.timeline import TimeError, Timeline
from tests.simulators.conftest import ORIGIN_MS, Serve, Wall

SITES = {"a-gw1": "a", "a-gw2": "a", "b-gw1": "b"}


def test_a_site_stands_for_its_edges() -> None:
    line = Timeline(SITES, Wall(), ORIGIN_MS)
    line.freeze(line.edges_of("a"), ORIGIN_MS + 60_000)
    line.freeze(line.edges_of("a-gw2"), ORIGIN_MS + 90_000)
    assert [line.now_ms(edge) - ORIGIN_MS for edge in SITES] == [60_000, 90_000, 86_400_000]


def test_time_goes_back_only_when_told() -> None:
    line = Timeline(SITES, Wall(), ORIGIN_MS)
    both = line.edges_of("a")
    line.freeze(both, ORIGIN_MS + 5000)
    line.freeze(both, ORIGIN_MS + 5000)
    with pytest.raises(TimeError, match="already shown"):
        line.freeze(both, ORIGIN_MS + 4999)
    assert line.now_ms("a-gw1") == ORIGIN_MS + 5000
    line.freeze(both, ORIGIN_MS, rewind=True)
    assert line.now_ms("a-gw1") == ORIGIN_MS
    with pytest.raises(TimeError, match="origin"):
        line.freeze(both, ORIGIN_MS - 1, rewind=True)


def test_live_does_not_fall_behind_what_was_shown() -> None:
    wall = Wall(ORIGIN_MS + 10_500)
    line = Timeline(SITES, wall, ORIGIN_MS)
    line.freeze(("b-gw1",), ORIGIN_MS + 20_000)
    line.follow(("b-gw1",))
    assert line.now_ms("b-gw1") == ORIGIN_MS + 20_000
    wall.time_ms = ORIGIN_MS + 30_999
    assert line.now_ms("b-gw1") == ORIGIN_MS + 30_000


def test_over_the_socket(serve: Serve) -> None:
    async def play() -> None:
        async with serve() as ports:

            async def say(port: int, request: object) -> dict[str, object]:
                reader, writer = await asyncio.open_connection(ports.host, port)
                line = request if isinstance(request, bytes) else json.dumps(request).encode()
                writer.write(line + b"\n")
                answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
                writer.close()
                assert isinstance(answer, dict)
                return answer

            time_ms = ORIGIN_MS + 60_000
            both, own = ports.control, ports.edges["foundry-gw1"]
            assert await say(both, {"group": "foundry", "time_ms": time_ms}) == {"ok": True}
            # an edge's own port: the site's name means this edge alone
            assert await say(own, {"group": "foundry", "time_ms": time_ms + 9}) == {"ok": True}
            request = {"group": "foundry-gw2", "time_ms": time_ms + 1}
            assert await say(both, request) == {"ok": True}
            assert await say(both, {"group": "foundry", "live": True}) == {"ok": True}

            for port, bad, reason in [
                (both, b"{", "not a JSON line"),
                (both, b"[1]", "JSON object"),
                (both, b"[" * 5000, "not a JSON line"),
                (both, {"group": "x", "time_ms": time_ms}, "no group 'x'"),
                (both, {"group": "offices", "time_ms": True}, "integer"),
                (both, {"group": "offices", "time_ms": 1.5}, "integer"),
                (both, {"group": "foundry", "time_ms": time_ms}, "already shown"),
                (both, {}, "names"),
                (own, {"group": "offices", "time_ms": time_ms}, "foundry-gw1 alone"),
            ]:
                answer = await say(port, bad)
                assert answer["ok"] is False
                assert reason in str(answer["error"])

            power = (await ask_control(ports.host, both, {"power": True}))["power"]
            offices = {row["meter"]: row["per_hour"] for row in power if row["site"] == "offices"}
            subs = ("em-lighting", "em-hvac", "em-power", "em-special")
            assert offices["em-main"] == pytest.approx(sum(offices[sub] for sub in subs))
            assert (await ask_control(ports.host, both, {"served": True}))["served"] == []
            with pytest.raises(ControlError, match="no group"):
                await ask_control(ports.host, both, {"group": "y", "live": True})

    asyncio.run(play())
