"""The control port: time per site and per edge, and refusals that leave everything as it was."""

import asyncio
import json

import pytest

from edge_agent.codecs.modbus import ReadWords
from edge_agent.errors import MeterError
from edge_agent.links.modbus import ModbusTcpLink
from simulators.control import ControlPort
from simulators.demo.clients import ControlError, ask_control
from simulators.district import District, build_meters
from simulators.timeline import TimeError, Timeline
from simulators.wire import Faults
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


def test_faults_are_put_on_a_meter_and_taken_off(district: District) -> None:
    line = Timeline({"offices-gw1": "offices"}, Wall(), ORIGIN_MS)
    meters = [one for one in build_meters(district, ORIGIN_MS) if one.identity.site == "offices"]
    meter = next(one for one in meters if one.identity.id == "em-main")
    others = [one for one in meters if one is not meter]
    port = ControlPort(line, meters)
    edge = meter.identity.edge

    def say(**request: object) -> dict[str, object]:
        return port.answer_line(json.dumps(request).encode())

    def power() -> float:
        register = next(one for one in meter.device.registers if one.channel == "power")
        return meter.number(register, line.now_ms(edge))

    def shown(hour: int) -> int:
        return meter.shown_micro(ORIGIN_MS + hour * 3_600_000)["energy_import"]

    at_ms = ORIGIN_MS + 10 * 3_600_000
    assert say(group=edge, time_ms=at_ms) == {"ok": True}
    assert power() > 10
    well, right = power(), [shown(hour) for hour in (9, 10, 12, 20)]
    for kind in ("ratio", "late:20", "exception"):
        assert say(fault="offices/em-main", kind=kind) == {"ok": True, "time_ms": at_ms}
    assert power() == pytest.approx(well / 10, abs=1)
    assert (meter.faults.exception, meter.faults.delay_s) == (4, 3.0)
    assert all(one.faults == Faults(seed=one.faults.seed) for one in others)
    assert say(group=edge, time_ms=at_ms + 2 * 3_600_000) == {"ok": True}
    assert say(heal="offices/em-main") == {"ok": True, "time_ms": at_ms + 2 * 3_600_000}
    assert meter.faults == Faults(seed=meter.faults.seed)
    assert [shown(9), shown(10)] == right[:2]
    step_micro = 10_000
    assert abs(shown(12) - shown(10) - (right[2] - right[1]) / 10) <= step_micro
    assert abs(shown(20) - shown(12) - (right[3] - right[2])) <= step_micro

    for request, reason in [
        ({"fault": "offices/em-none", "kind": "stuck"}, "no meter 'offices/em-none'"),
        ({"fault": "offices/em-main", "kind": "asleep"}, "'asleep' is none of silent"),
        ({"fault": "offices/em-main"}, "is none of silent"),
        ({"heal": "foundry/em-main"}, "no meter 'foundry/em-main'"),
    ]:
        answer = say(**request)
        assert answer["ok"] is False
        assert reason in str(answer["error"])


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

            link = ModbusTcpLink(ports.host, ports.meters["offices", "em-main"], 5)
            ask = ReadWords(1, 3, 0x081A, 2)
            said = []
            doors: list[tuple[int, dict[str, object]]] = [
                (both, {"fault": "offices/em-main", "kind": "exception"}),
                (ports.edges["offices-gw1"], {"heal": "offices/em-main"}),
            ]
            for door, request in doors:
                await ask_control(ports.host, door, request)
                try:
                    said.append(f"{len(await link.read(ask))} words")
                except MeterError as error:
                    said.append(error.reason)
            await link.close()
            assert said == ["device failure (code 4)", "2 words"]

            power = (await ask_control(ports.host, both, {"power": True}))["power"]
            offices = {row["meter"]: row["per_hour"] for row in power if row["site"] == "offices"}
            subs = ("em-lighting", "em-hvac", "em-power", "em-special")
            assert offices["em-main"] == pytest.approx(sum(offices[sub] for sub in subs))
            assert (await ask_control(ports.host, both, {"served": True}))["served"] == []
            with pytest.raises(ControlError, match="no group"):
                await ask_control(ports.host, both, {"group": "y", "live": True})

    asyncio.run(play())
