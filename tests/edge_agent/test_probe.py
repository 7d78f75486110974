"""`nenghao edge probe` on simulated meters: a pseudo-terminal with four protocols, and TCP."""

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.channels import catalogue
from edge_agent.__main__ import main
from edge_agent.clock import SteppingClock
from edge_agent.codecs import cjt188, dlt645, mbus
from edge_agent.config import BusConfig, EdgeConfig, PollConfig, parse_config
from edge_agent.errors import ConfigError, LinkError
from edge_agent.links.registry import make_link
from edge_agent.poller import build_pollers
from edge_agent.probe.place import EdgeFile, connected, refuse_second_master
from edge_agent.probe.plan import USUAL, Wanted, settings, stages
from edge_agent.probe.seek import Seeker
from edge_agent.probe.survey import Survey, survey
from edge_agent.probe.writing import buses, report
from edge_agent.registers import all_models, load_device_maps
from simulators.bench import SITE, build_bench
from simulators.dlt645_meter import Dlt645Station
from simulators.images import meter_address
from simulators.meter import SimulatedMeter
from simulators.modbus_meter import ModbusServer, serve_modbus
from simulators.server import port_of
from simulators.wire import SimulatedWire, Station, _collided
from tests.edge_agent.field import ORIGIN_MS, simulated

HEAD = """\
[edge]
region = "370114"
site = "bench"
id = "gw1"
data_dir = "var"

[uplink]  # kept as it is
host = "broker"
"""
MODELS = ("eastron-sdm630", "dlt645-2007-three-phase", "cjt188-heat", "kamstrup-multical-601")
MAPS = load_device_maps(all_models())
QUICK = Wanted(units=(1, 2, 3, 4, 5), timeout_s=0.15, watch_s=0.2)


async def look(bus: BusConfig, kinds: Sequence[str], wanted: Wanted) -> Survey:
    questions: list[str] = []
    found = await survey(
        bus, kinds, wanted, MAPS.values(), make_link,
        lambda stage, number, found: questions.append(f"{stage.protocol} {number} {found}"),
    )  # fmt: skip
    assert questions
    return found


def configured(bus: BusConfig, found: Survey, tmp_path: Path) -> EdgeConfig:
    """What an edge makes of the file the probe has written into."""
    file = tmp_path / "edge.toml"
    file.write_text(HEAD)
    EdgeFile(file).add("\n".join(buses(bus, found.verdicts)))
    assert file.read_text().startswith(HEAD)
    assert main(["check-config", "--config", str(file)]) == 0
    return parse_config(file.read_bytes(), file)


async def polled(config: EdgeConfig) -> dict[str, dict[str, float]]:
    """What an edge with this configuration reads in one poll, by model and channel."""
    models = {meter.id: meter.model for bus in config.buses for meter in bus.meters}
    clock = SteppingClock(ORIGIN_MS)
    taken: dict[str, dict[str, float]] = {}

    class Sink:
        def append(self, readings):
            for reading in readings:
                taken.setdefault(models[reading.meter], {})[reading.channel] = reading.value

    for poller in build_pollers(
        config.buses, PollConfig(60), MAPS, make_link, clock, Sink(), print
    ):
        await poller.poll_once()
        await poller.close()
    return taken


def shown(meters: Sequence[SimulatedMeter]) -> dict[str, dict[str, int]]:
    """What each count showed when it was read last, by model and channel."""
    rows: list[Any] = [(meter.device.model, row) for meter in meters for row in meter.served()]
    found: dict[str, dict[str, int]] = {}
    for model, row in rows:
        found.setdefault(model, {})[row["channel"]] = row["last"]["served_micro"]
    return found


def counts(values: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        model: {name: value for name, value in of.items() if catalogue()[name].cumulative}
        for model, of in values.items()
    }


async def test_finds_meters_of_four_protocols_and_their_baud_rate(tmp_path):
    now_ms = ORIGIN_MS + 3_600_000
    bench = build_bench(MODELS, ORIGIN_MS, lambda: now_ms)
    wire = SimulatedWire(bench.stations, 19_200)
    path = tmp_path / "rs485"
    wire.plug(path)
    bus = BusConfig("probe", device=str(path))
    wanted = replace(QUICK, bauds=(9600, 19_200), parities=("even",), units=(1, 4))
    try:
        found = await look(bus, ["serial"], wanted)
        assert {v.setting.baud for v in found.verdicts} == {19_200}
        best = {v.found.protocol: v.best.device.model for v in found.verdicts if v.best}
        assert best == dict(zip(("modbus", "dlt645", "cjt188", "mbus"), MODELS, strict=True))
        assert len(found.verdicts) == 4
        config = configured(bus, found, tmp_path)
        assert (config.buses[0].baud, config.buses[0].parity) == (19_200, "even")
        assert counts(await polled(config)) == shown(bench.meters)
        said = "\n".join(report(found.verdicts))
        assert re.search(r"\+6 power 1\S+ kW and U x I x power factor = 1\S+ kW agree", said)
        assert "its address names maker KAM" in said
    finally:
        await wire.stop()


async def test_several_meters_of_each_protocol_even_where_answers_collide(tmp_path):
    """Two meters that answer a wildcard at once make noise: their addresses are narrowed down."""
    now_ms = ORIGIN_MS + 3_600_000
    models = ("dlt645-2007-single-phase", "dlt645-2007-three-phase", "gwf-mtkcoder", "itron-cf-51")
    bench = build_bench(models, ORIGIN_MS, lambda: now_ms)
    wire = SimulatedWire(bench.stations)
    path = tmp_path / "rs485"
    wire.plug(path)
    bus = BusConfig("probe", device=str(path))
    wanted = replace(
        QUICK, bauds=(115_200,), parities=("even",), protocols=("dlt645", "mbus"), units=(1,),
        timeout_s=0.05,
    )  # fmt: skip
    try:
        found = await look(bus, ["serial"], wanted)
        best = {v.best.device.model: v.found.address for v in found.verdicts if v.best}
        assert set(best) == set(models)
        for meter in bench.meters:
            address = meter_address(meter.device.protocol, SITE, meter.identity.id)
            assert best[meter.device.model].startswith(address)
        config = configured(bus, found, tmp_path)
        assert counts(await polled(config)) == shown(bench.meters)
    finally:
        await wire.stop()


async def test_two_meters_without_a_way_to_narrow_down_need_their_addresses(tmp_path):
    now_ms = ORIGIN_MS + 3_600_000
    bench = build_bench(("cjt188-water", "cjt188-water", "cjt188-gas"), ORIGIN_MS, lambda: now_ms)
    wire = SimulatedWire(bench.stations)
    path = tmp_path / "rs485"
    wire.plug(path)
    bus = BusConfig("probe", device=str(path))
    wanted = replace(
        QUICK, bauds=(115_200,), parities=("even",), protocols=("cjt188",), timeout_s=0.05
    )
    addresses = [meter_address("cjt188", SITE, f"m{number}") for number in (1, 2, 3)]
    try:
        found = await look(bus, ["serial"], wanted)
        assert [v.found.address for v in found.verdicts] == [addresses[2]]
        assert "give their addresses" in found.notes[0]
        found = await look(bus, ["serial"], replace(wanted, addresses=tuple(addresses[:2])))
        assert {v.found.address for v in found.verdicts} == set(addresses)
        assert {v.best.device.model for v in found.verdicts if v.best} == {
            "cjt188-water", "cjt188-gas",
        }  # fmt: skip
    finally:
        await wire.stop()


class AnyUnit(ModbusServer):
    """As many meters with a network port of their own: whatever unit is asked, it answers."""

    def _answer(self, unit: int, pdu: bytes) -> bytes:
        return super()._answer(1, pdu)


@pytest.mark.parametrize("kind", [ModbusServer, AnyUnit])
async def test_modbus_tcp_units_and_a_meter_that_answers_to_all(tmp_path, kind):
    meter = simulated("acrel-adl400")
    now_ms = ORIGIN_MS + 3_600_000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: kind(meter, lambda: now_ms), "127.0.0.1", 0)
    bus = BusConfig("probe", host="127.0.0.1", port=port_of(server))
    try:
        found = await look(bus, ["modbus-tcp", "tcp"], QUICK)
        assert [(v.found.unit, v.best and v.best.device.model) for v in found.verdicts] == [
            (1, "acrel-adl400")
        ]
        same = [note for note in found.notes if "the same meter" in note]
        assert len(same) == (4 if kind is AnyUnit else 0)
        config = configured(bus, found, tmp_path)
        assert config.buses[0].kind == "modbus-tcp"
        values = await polled(config)
        assert counts(values) == shown([meter])
    finally:
        server.close()


class Crowd:
    """A link to stations that answer at once, over each other, without the time a wire takes."""

    is_open = True

    def __init__(self, *stations: Station) -> None:
        self.stations = stations
        self.asked = 0

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def read(self, question: Any) -> Any:
        self.asked += 1
        answers = [a for station in self.stations for a in station.hear(question.request)]
        return question.heard(_collided(answers))


async def test_dlt645_addresses_are_narrowed_down_as_far_as_they_are_alike():
    addresses = ["100000001112", "200000001112", "200000000012", "999999999912"]
    crowd = Crowd(*(Dlt645Station(address, lambda _: bytes(4)) for address in addresses))
    seeker = Seeker(crowd, Wanted(), lambda: None)
    found = [meter.address async for meter in seeker.look("dlt645")]
    assert sorted(found) == sorted(addresses)
    # Each level of pairs that are alike is a hundred questions.
    assert crowd.asked == 4 + 6 * 100


async def test_the_command_estimates_tells_and_writes(tmp_path, capsys):
    meter = simulated("eastron-sdm630")
    server = await serve_modbus(meter, lambda: ORIGIN_MS + 3_600_000)
    file = tmp_path / "edge.toml"
    file.write_text(HEAD)
    call = ["probe", "--tcp", f"127.0.0.1:{port_of(server)}", "--protocols", "modbus-tcp"]
    call += ["--units", "1-3", "--watch-s", "0.1"]
    try:
        assert await asyncio.to_thread(main, [*call, "--config", str(file)]) == 0
        said = capsys.readouterr()
        assert "3 questions at 1 settings: at most 0:02 to look" in said.err
        assert "at most 0:01 left: Modbus TCP, modbus, question 1; 0 found here" in said.err
        assert "1. eastron-sdm630 (Eastron SDM630 Modbus): +24" in said.err
        assert "# eastron-sdm72dm-v2 fits as well: the plate decides." in file.read_text()
        assert main(["check-config", "--config", str(file)]) == 0
        assert await asyncio.to_thread(main, [*call, "--config", str(file)]) == 2
        assert "bus[0]: reads this already" in capsys.readouterr().err
        assert await asyncio.to_thread(main, call) == 0
        assert 'model = "eastron-sdm630"' in capsys.readouterr().out
    finally:
        server.close()


async def test_rtu_over_tcp(tmp_path):
    now_ms = ORIGIN_MS + 3_600_000
    bench = build_bench(("chint-dtsu666", "cjt188-water"), ORIGIN_MS, lambda: now_ms)
    wire = SimulatedWire(bench.stations)
    bus = BusConfig("probe", host="127.0.0.1", port=await wire.serve())
    try:
        found = await look(bus, ["modbus-tcp", "tcp"], QUICK)
        config = configured(bus, found, tmp_path)
        assert [bus.kind for bus in config.buses] == ["tcp"]
        assert counts(await polled(config)) == shown(bench.meters)
    finally:
        await wire.stop()


async def test_nobody_there_is_bounded_and_said(tmp_path):
    wire = SimulatedWire([])
    path = tmp_path / "rs485"
    wire.plug(path)
    bus = BusConfig("probe", device=str(path))
    try:
        began = asyncio.get_running_loop().time()
        found = await look(bus, ["serial"], replace(QUICK, limit_s=0.5))
        assert asyncio.get_running_loop().time() - began < 3
        assert found.verdicts == []
        assert found.notes == ["stopped looking after 0.5 s: not everything was tried"]
    finally:
        await wire.stop()


async def test_a_port_in_use_is_refused(tmp_path):
    wire = SimulatedWire([])
    path = tmp_path / "rs485"
    wire.plug(path)
    bus = BusConfig("probe", device=str(path))
    agent = make_link(replace(bus, kind="serial"), "", 0)
    try:
        await agent.open()
        with pytest.raises(LinkError, match="another process uses it"):
            await survey(bus, ["serial"], QUICK, [], make_link, print)
    finally:
        await agent.close()
        await wire.stop()


async def test_a_connection_in_use_is_refused():
    wire = SimulatedWire([])
    port = await wire.serve()
    refuse_second_master("127.0.0.1", port)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with pytest.raises(LinkError, match="stop the agent first"):
            refuse_second_master("127.0.0.1", port)
    finally:
        writer.close()
        await wire.stop()


def test_the_kernels_table_of_connections():
    lines = [
        "  sl  local_address rem_address   st tx_queue rx_queue",
        "   0: 0100007F:A2C4 6401A8C0:01F6 01 00000000:00000000 00:00000000",
        "   1: 0100007F:A2C5 6501A8C0:01F6 06 00000000:00000000 00:00000000",
        "   2: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000200007F:01F7 01 0:0",
    ]
    assert connected(lines) == {("192.168.1.100", 502), ("127.0.0.2", 503)}


def test_the_plan_and_what_it_takes():
    assert [s.baud for s in settings(["serial"], Wanted())] == [s.baud for s in USUAL]
    chosen = settings(["serial"], Wanted(bauds=(2400,), parities=("even",), protocols=("mbus",)))
    assert [str(setting) for setting in chosen] == ["2400 even"]
    assert [s.protocols for s in chosen] == [("mbus",)]
    some = stages(["serial"], Wanted(bauds=(9600,), parities=("none",), units=(1, 2)))
    assert [(s.protocol, s.questions) for s in some] == [
        ("modbus", 2), ("dlt645", 4), ("cjt188", 8), ("mbus", 2),
    ]  # fmt: skip
    assert some[0].seconds == pytest.approx(2 * (0.5 + 60 * 11 / 9600))
    assert sum(s.seconds for s in stages(["serial"], Wanted())) < Wanted().limit_s
    known = Wanted(addresses=("1" * 12, "2" * 14), protocols=("dlt645", "cjt188"))
    assert [s.questions for s in stages(["tcp"], known)] == [6, 16]


def test_roll_calls_tell_who_answered_and_what_is_broken():
    call = dlt645.CallMeters("AAAAAAAAAA12", "00010000")
    mine = dlt645.encode("000000000012", 0x91, bytes(8))
    other = dlt645.encode("000000000013", 0x91, bytes(8))
    assert call.heard(call.request + b"\xfe\xfe" + mine + other).who == ("000000000012",)
    assert not call.heard(call.request + b"\xfe" + mine).broken
    assert call.heard(mine[:-3]).broken
    assert not call.heard(b"\x00\xff").broken, "a line that turns"
    gas = cjt188.encode(0x30, "00000000000007", 0x81, bytes(22))
    assert cjt188.CallMeters(0xAA, "1F90").heard(gas).who == ("30/00000000000007",)
    assert mbus.CallMeters().heard(mbus.CallMeters().request + b"\xe5\xe5").who == ("",)
    assert mbus.CallMeters("1234FFFF").heard(b"").who == ()
    address = "516615662D2C0104"
    assert (mbus.maker_of(address), mbus.medium_of(address)) == ("KAM", 4)


def test_a_bus_that_is_read_already_and_a_file_that_is_wrong(tmp_path):
    file = tmp_path / "edge.toml"
    file.write_text(HEAD)
    EdgeFile(file).refuse_known(BusConfig("b", host="h", port=502))
    file.write_text(
        HEAD + '[[bus]]\nid = "b1"\nhost = "h"\n[[bus.meter]]\nid = "em-1"\nmodel = "abb-b23"\n'
    )
    assert EdgeFile(file).ids == {"b1", "em-1"}
    with pytest.raises(ConfigError, match=r"bus\[0\]: reads this already"):
        EdgeFile(file).refuse_known(BusConfig("b", host="h", port=502))
    file.write_text(HEAD.replace("370114", "x"))
    with pytest.raises(ConfigError, match=r"edge\.region"):
        EdgeFile(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--device --tcp"),
        (["--tcp", "gateway"], "not HOST:PORT"),
        (["--device", "/dev/x", "--units", "1-300"], "not within 0 to 255"),
        (["--device", "/dev/x", "--protocols", "zigbee"], "with commas"),
        (["--device", "/dev/x", "--baud", "fast"], "is not like"),
    ],
)
def test_a_wrong_call_says_so(arguments, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        sys.exit(main(["probe", *arguments]))
    assert said in capsys.readouterr().err


def test_no_such_port(capsys):
    assert main(["probe", "--device", "/dev/no-such-port"]) == 1
    assert "/dev/no-such-port: cannot open: No such file" in capsys.readouterr().err
