"""`nenghao edge doctor` beside real simulated meters: each thing that can ail one is told apart."""

import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from contract.reading import Reading
from edge_agent.clock import LinuxMachine
from edge_agent.config import EdgeConfig
from edge_agent.doctor import Finding
from edge_agent.examination import examine
from edge_agent.links.registry import make_link
from edge_agent.outbox.sqlite import SqliteOutbox
from edge_agent.registers import devices_folder
from simulators.bench import Bench, build_bench, spoil
from simulators.named_faults import DEFECTS, FAULTS
from simulators.wire import SimulatedWire
from tests.edge_agent.field import ORIGIN_MS
from tests.edge_agent.test_shared_wire import edge_config
from tests.suites.outbox_suite import META

MODELS = ("eastron-sdm630", "dlt645-2007-three-phase", "chint-dtsu666", "kamstrup-multical-601")


@dataclass
class Room:
    """A switch room: meters on a line, and the gateway's configuration."""

    bench: Bench
    wire: SimulatedWire
    config: EdgeConfig
    findings: list[Finding] = field(default_factory=list)

    async def look(self, rounds: int = 2, watch_s: float = 0.0) -> None:
        self.findings = await examine(self.config, rounds, watch_s)

    def bad(self) -> dict[str, list[str]]:
        """What is wrong: where -> text and hint."""
        found: dict[str, list[str]] = {}
        for finding in self.findings:
            if not finding.good and finding.where.startswith(("m", "bench")):
                found.setdefault(finding.where, []).append(f"{finding.text} -> {finding.hint}")
        return found


def room(tmp_path: Path, models: Sequence[str] = MODELS, baud: int = 0) -> Room:
    bench = build_bench(models, ORIGIN_MS, lambda: ORIGIN_MS + 3_600_000)
    wire = SimulatedWire(bench.stations, baud)
    wire.plug(tmp_path / "rs485")
    config = edge_config(bench.edge_bus(device=tmp_path / "rs485", baud=baud or 115_200))
    bus = replace(config.buses[0], timeout_s=0.2)
    edge = replace(config.edge, data_dir=tmp_path)
    return Room(bench, wire, replace(config, edge=edge, buses=(bus,)))


@pytest.fixture
async def well(tmp_path: Path) -> AsyncIterator[Room]:
    place = room(tmp_path)
    yield place
    await place.wire.stop()


async def test_meters_that_are_well(well):
    await well.look()
    assert well.bad() == {}
    texts = [finding.text for finding in well.findings if finding.where == "m1"]
    assert texts[0].startswith("2 of 2 polls answered; <= ")
    assert "kW, energy_import " in texts[1]


@pytest.mark.parametrize(
    ("fault", "text", "hint"),
    [
        ("silent", "0 of 3 polls answered (timeouts 3)", "unit address, baud rate and parity"),
        ("late", "0 of 3 polls answered (timeouts 3)", "unit address, baud rate and parity"),
        ("garbled", "0 of 3 polls answered (CRC errors 3)", "frames arrive damaged: noise"),
        ("short", "0 of 3 polls answered (CRC errors 3)", "frames arrive damaged: noise"),
    ],
)
async def test_faults_of_the_wire_are_told_per_meter(well, fault, text, hint):
    assert fault in FAULTS
    spoil(well.bench, 3, fault, 0)
    await well.look(rounds=3)  # a poller of its own would leave a dead meter out of the third
    (said,) = well.bad()["m3"]
    assert said.startswith(text)
    assert hint in said
    assert set(well.bad()) <= {"m3", "bench"}


@pytest.mark.parametrize(
    ("defect", "number", "said"),
    [
        ("reversed", 1, "phase A gives"),
        ("reversed", 2, "current transformer reversed"),
        ("swapped", 1, "phases swapped: the currents of B and C"),
        ("swapped", 2, "power factors of the phases are 0.95, -0.75, -0.2"),
    ],
)
async def test_wiring_is_told_from_what_the_meter_shows(well, defect, number, said):
    assert defect in DEFECTS
    spoil(well.bench, number, defect, ORIGIN_MS)
    await well.look()
    assert set(well.bad()) == {f"m{number}"}
    assert said in " ".join(well.bad()[f"m{number}"])


async def test_a_ratio_ten_times_too_large_shows_against_the_rating(well):
    (bus,) = well.config.buses
    meters = tuple(replace(meter, rating=20.0) for meter in bus.meters)
    well.config = replace(well.config, buses=(replace(bus, meters=meters),))
    well.bench.meters[0].defects.rewire(ORIGIN_MS, ratio_ppm=10_000_000)
    await well.look()
    assert set(well.bad()) == {"m1"}
    (said,) = well.bad()["m1"]
    assert "kW is above the rating of 20 kW -> ratio wrong by ten?" in said


async def test_a_map_of_the_wrong_scale_shows_against_voltage_and_current(tmp_path):
    """And one whose count is on another side than its power, against the gain of the count."""
    began = time.monotonic()

    def now_ms() -> int:
        return ORIGIN_MS + 3_600_000 + round((time.monotonic() - began) * 1000)

    bench = build_bench(["schneider-iem3000"], ORIGIN_MS, now_ms)
    wire = SimulatedWire(bench.stations)
    config = edge_config(bench.edge_bus(port=await wire.serve()))
    own = tmp_path / "maps"
    own.mkdir()
    text = (devices_folder() / "schneider-iem3000.toml").read_text()
    file = own / "schneider-iem3000.toml"
    edge = replace(config.edge, data_dir=tmp_path, devices_dir=own)
    place = Room(bench, wire, replace(config, edge=edge))
    try:
        file.write_text(text)
        await place.look(watch_s=2)
        assert place.bad() == {}
        assert any("energy_import gained 0.0" in finding.text for finding in place.findings)
        at = text.index('channel = "energy_import"')
        file.write_text(text[:at] + text[at:].replace("scale = 0.001", "scale = 0.01", 1))
        await place.look(watch_s=2)
    finally:
        await wire.stop()
    (said,) = place.bad()["m1"]
    assert "power makes" in said
    assert "ratio wrong by ten" in said


async def test_the_cycle_budget_of_a_slow_line(tmp_path):
    place = room(tmp_path, ("chint-dtsu666",) * 3, baud=2400)
    place.config = replace(place.config, poll=replace(place.config.poll, period_s=1.0))
    try:
        await place.look()
    finally:
        await place.wire.stop()
    (said,) = place.bad()["bench"]
    assert said.startswith("3 meters at 2400 baud need ")
    assert "you asked 1 s -> poll each " in said


async def test_a_port_that_an_agent_has_open(well):
    (bus,) = well.config.buses
    agent = make_link(bus, "", 0)
    await agent.open()
    try:
        await well.look()
    finally:
        await agent.close()
    for number in range(1, 5):
        (said,) = well.bad()[f"m{number}"]
        assert "another process uses it -> the port belongs to one process" in said
    assert not any(finding.where == "bench" for finding in well.findings)


async def test_clock_outbox_and_disk(well, monkeypatch):
    monkeypatch.setattr(LinuxMachine, "disciplined", lambda _: False)
    await well.look()
    found = {f.where: f for f in well.findings if f.where in ("clock", "outbox")}
    assert not found["clock"].good
    assert "wait until the aggregator is heard" in found["clock"].hint
    assert found["outbox"].text == "not made yet"
    monkeypatch.setattr(LinuxMachine, "disciplined", lambda _: True)
    outbox = SqliteOutbox(well.config.outbox_path, 1 << 30, 190)
    outbox.use_meta(META)
    for i in range(50):
        outbox.append([Reading("m1", "power", ORIGIN_MS + i * 1000 + n, 1.5) for n in range(50)])
        outbox.commit(ORIGIN_MS)
    await well.look()  # beside the agent that has it open
    outbox.close()
    texts = {f"{f.where}: {f.text}" for f in well.findings}
    assert "clock: follows a time server" in texts
    assert "disk: can be written" in texts
    assert "uplink: 50 batches not acknowledged yet" in texts
    # This process holds the outbox's lock: it is the agent, and may be old enough to be judged.
    assert any(re.match("disk: (bytes written a day: known|about .* MB a day)", t) for t in texts)
    (room_text,) = [f.text for f in well.findings if f.where == "outbox"]
    assert " days of " in room_text


async def test_a_secret_that_others_can_read(well, tmp_path):
    file = tmp_path / "password"
    file.write_text("x")
    uplink = replace(well.config.uplink, username="gw1", password_file=file)
    well.config = replace(well.config, uplink=uplink)
    for mode, said in ((0o644, [f"chmod 600 {file}"]), (0o600, [])):
        file.chmod(mode)
        await well.look()
        assert [f.hint for f in well.findings if f.where == "secrets"] == said
