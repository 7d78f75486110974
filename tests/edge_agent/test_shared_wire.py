"""A shared pair of wires: one bad meter costs its own readings, and nothing is ever written."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import SteppingClock
from edge_agent.codecs import cjt188, dlt645, mbus, modbus
from edge_agent.config import EdgeConfig, PollConfig, parse_config
from edge_agent.events import Event, MeterBack, MeterLost
from edge_agent.links.registry import make_link
from edge_agent.poller import BusPoller
from edge_agent.registers import load_device_maps
from simulators.bench import build_bench
from simulators.wire import SimulatedWire, Station
from tests.edge_agent.field import ORIGIN_MS

MODELS = ("eastron-sdm120", "dlt645-2007-single-phase", "cjt188-water", "gwf-mtkcoder")
"""Four protocols on one wire."""


def edge_config(bus: str) -> EdgeConfig:
    """The configuration of an edge with this bus."""
    head = """
[edge]
region = "370114"
site = "bench"
id = "gw1"
data_dir = "var"
[uplink]
host = "broker"
"""
    return parse_config((head + bus).encode(), Path("edge.toml"))


SPOIL: dict[str, Callable[[Station], None]] = {
    "silent": lambda s: setattr(s.faults, "silent", True),
    "garbled": lambda s: setattr(s.faults, "broken_checksum", True),
    "slow": lambda s: setattr(s.faults, "delay_s", 1.2),
}


@pytest.mark.parametrize(
    ("fault", "bad"),
    [("silent", 0), ("silent", 1), ("silent", 2), ("silent", 3), ("garbled", 1), ("slow", 2)],
)
async def test_one_bad_meter_costs_only_its_own_readings(tmp_path, fault, bad):
    clock = SteppingClock(ORIGIN_MS + 3_600_000)
    bench = build_bench(MODELS, ORIGIN_MS, clock.time_ms)
    stations = bench.stations
    wire = SimulatedWire(stations)
    wire.plug(tmp_path / "rs485")
    (bus,) = edge_config(bench.edge_bus(device=tmp_path / "rs485", baud=115_200)).buses
    bus = replace(bus, timeout_s=0.6)
    taken: list[str] = []
    events: list[Event] = []

    class Sink:
        def append(self, readings):
            taken.append(readings[0].meter)

    poller = BusPoller(
        bus, PollConfig(60, 60), load_device_maps(MODELS), make_link, clock, Sink(), events.append
    )
    try:
        SPOIL[fault](stations[bad])
        good = [f"m{i + 1}" for i in range(4) if i != bad]
        for _ in range(2):
            taken.clear()
            await poller.poll_once()
            assert taken == good
        assert [type(event) for event in events] == [MeterLost]
        kind = "garbled" if fault == "garbled" else "timeout"
        assert poller.meter_states()[bad].failures[kind] == 2
        stations[bad].faults = type(stations[bad].faults)()
        taken.clear()
        await poller.poll_once()
        assert sorted(taken) == ["m1", "m2", "m3", "m4"]
        assert isinstance(events[-1], MeterBack)
    finally:
        await poller.close()
        await wire.stop()


async def test_an_adapter_pulled_out_and_put_back_loses_the_meters_and_finds_them(tmp_path):
    clock = SteppingClock(ORIGIN_MS + 3_600_000)
    bench = build_bench(MODELS[:2], ORIGIN_MS, clock.time_ms)
    wire = SimulatedWire(bench.stations)
    path = tmp_path / "rs485"
    wire.plug(path)
    (bus,) = edge_config(bench.edge_bus(device=path)).buses
    taken: list[str] = []
    events: list[Event] = []

    class Sink:
        def append(self, readings):
            taken.append(readings[0].meter)

    poller = BusPoller(
        bus, PollConfig(60, 60), load_device_maps(MODELS), make_link, clock, Sink(), events.append
    )
    try:
        await poller.poll_once()
        wire.unplug()
        for _ in range(3):
            await poller.poll_once()
        assert [type(event) for event in events] == [MeterLost, MeterLost]
        assert "No such file" in str(events[-1])
        wire.plug(path)
        taken.clear()
        await poller.poll_once()
        assert taken == ["m1", "m2"]
        assert [type(event) for event in events[2:]] == [MeterBack, MeterBack]
    finally:
        await poller.close()
        await wire.stop()


READS = {0x01, 0x02, 0x11, 0x12, 0x13}
"""DL/T 645 controls that read."""
ADDRESS = st.from_regex(r"[0-9]{12}", fullmatch=True)


@given(st.integers(1, 247), st.sampled_from([3, 4]), st.integers(0, 65_000), st.integers(1, 125))
def test_modbus_requests_are_reads(device, function, address, count):
    frame = modbus.ReadWords(device, function, address, count).request
    assert frame[1] in (3, 4)


@pytest.mark.parametrize("function", [0, 1, 5, 6, 15, 16, 22, 23, 43])
def test_modbus_knows_no_other_function(function):
    with pytest.raises(ValueError, match="no read"):
        modbus.ReadWords(1, function, 0, 1)


@given(ADDRESS, st.sampled_from(["00010000", "0001FF00", "9010"]), st.integers(0, 255))
def test_dlt645_requests_are_reads(address, id_, sequence):
    for question in (dlt645.ReadData(address, id_, 4, sequence), dlt645.ReadAddress()):
        (frame,) = dlt645.frames(question.request)
        assert frame is not None
        assert frame.control in READS


@given(st.integers(16, 79), st.from_regex(r"[0-9]{14}", fullmatch=True))
def test_cjt188_requests_are_reads(kind, address):
    (frame,) = cjt188.frames(cjt188.ReadMeter(kind, address, "1F90").request)
    assert frame is not None
    assert frame.control == 0x01


@given(st.integers(0, 250), st.booleans(), st.from_regex(r"[0-9F]{8}", fullmatch=True))
def test_mbus_requests_reset_select_and_ask(address, fcb, number):
    assert mbus.reset(address, "m").request[1] == 0x40
    assert mbus.RequestData("m", address, fcb).request[1] & 0xDF == 0x5B
    frame = mbus.select(mbus.ReadMbus(number), "m").request
    assert (frame[4], frame[5], frame[6]) == (0x53, 253, 0x52)


@given(st.integers(0, 5), st.sampled_from(["", "00010000", "9010"]), st.integers(16, 79))
def test_roll_calls_are_reads(pairs, id_, kind):
    address = "12" * pairs
    for known in (address.rjust(12, "A"), dlt645.BROADCAST):
        (told,) = dlt645.frames(dlt645.CallMeters(known, id_).request)
        assert told is not None
        assert told.control in READS
    for kinds in (kind, cjt188.ANY_KIND):
        (asked,) = cjt188.frames(cjt188.CallMeters(kinds, "1F90").request)
        assert asked is not None
        assert asked.control == 0x01
    assert mbus.CallMeters().request[1] == 0x40
    assert mbus.CallSelected().request[1] & 0xDF == 0x5B
    frame = mbus.CallMeters(address[:8].ljust(8, "F")).request
    assert (frame[4], frame[5], frame[6]) == (0x53, 253, 0x52)


def test_these_are_all_the_questions_there_are():
    asked = {
        name
        for module in (modbus, dlt645, cjt188, mbus)
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and (hasattr(kind, "request") or name == "SetClocks")
    }
    assert asked == {"ReadWords", "ReadData", "ReadAddress", "SetClocks", "ReadMeter", "_Sent",
                     "RequestData", "CallMeters", "CallSelected"}  # fmt: skip
