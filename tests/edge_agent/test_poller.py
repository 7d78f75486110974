"""The poller: grid, deadline, back-off, statistics, and one poll through real sockets."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Self, cast

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from contract.reading import Reading
from edge_agent.clock import SteppingClock, SystemClock
from edge_agent.codecs.modbus import ReadWords
from edge_agent.config import BusConfig, MeterConfig, PollConfig
from edge_agent.errors import LinkError, LinkTimeoutError, MeterError
from edge_agent.events import Event, MeterBack, MeterLost, MeterRefused, PollMissed
from edge_agent.links.registry import make_link
from edge_agent.poller import BusPoller, build_pollers
from edge_agent.registers import load_device_maps

T0 = 1_800_000_000_000
PERIOD_MS = 15_000


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []

    def append(self, readings: Sequence[Reading]) -> None:
        self.readings += readings

    def times(self, meter: str) -> list[int]:
        return sorted({r.time_ms - T0 for r in self.readings if r.meter == meter})


class Wire:
    """A link without sockets: each unit takes `cost_ms` of the stepping clock, or fails."""

    def __init__(self, clock: SteppingClock) -> None:
        self.clock = clock
        self.up = True
        self.open_now = False
        self.opens = 0
        self.cost_ms: dict[int, int] = {}
        self.error: dict[int, Exception] = {}
        self.reads: list[tuple[int, int]] = []  # (unit, ms since T0)

    @property
    def is_open(self) -> bool:
        return self.open_now

    async def open(self) -> None:
        self.opens += 1
        if not self.up:
            self.clock.advance(self.clock.time_ms() + 1000)
            raise LinkError("wire", "cannot connect")
        self.open_now = True

    async def read(self, question: ReadWords) -> Sequence[int]:
        unit, count = question.device, question.count
        self.reads.append((unit, self.clock.time_ms() - T0))
        self.clock.advance(self.clock.time_ms() + self.cost_ms.get(unit, 0))
        await asyncio.sleep(0)
        if unit in self.error:
            if isinstance(self.error[unit], LinkError):
                self.open_now = False
            raise self.error[unit]
        return ([0] * count + [100 + unit])[-count:]

    async def close(self) -> None:
        self.open_now = False


class Rig:
    """One bus of vmu-mc meters (one read of two words each) on one wire."""

    def __init__(self, units: int, backoff_max_s: float = 300.0, model="carlo-gavazzi-vmu-mc"):
        self.clock = SteppingClock(T0)
        self.wire = Wire(self.clock)
        self.sink = Sink()
        self.events: list[Event] = []
        meters = tuple(MeterConfig(f"m{unit}", model, unit) for unit in range(1, units + 1))
        self.poller = BusPoller(
            BusConfig("bus1", "gateway", meters=meters),
            PollConfig(PERIOD_MS / 1000, backoff_max_s),
            load_device_maps([model]),
            lambda *_: self.wire,
            self.clock,
            self.sink,
            self.events.append,
        )

    async def cycles(self, number: int) -> None:
        """Run the poller over so many grid points."""
        await self.until(T0 + number * PERIOD_MS)

    async def until(self, time_ms: int) -> None:
        task = asyncio.create_task(self.poller.run())
        try:
            while self.clock.time_ms() < time_ms:
                await settle()
                self.clock.advance(
                    max(self.clock.time_ms(), min(self.clock.time_ms() + 1000, time_ms))
                )
            await settle()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_polls_on_the_grid_of_the_epoch_not_of_the_start():
    rig = Rig(1)
    rig.clock.advance(T0 + 4_000)
    await rig.until(T0 + 50_000)
    assert rig.sink.times("m1") == [15_000, 30_000, 45_000]
    assert not rig.wire.is_open  # taken down when cancelled
    assert rig.events == []
    state = rig.poller.bus_state()
    assert (state.id, state.kind, state.cycles, state.missed_cycles) == ("bus1", "modbus-tcp", 3, 0)


async def test_time_is_the_middle_and_one_for_all_channels_of_a_meter():
    rig = Rig(1, model="abb-b23")  # three reads
    rig.wire.cost_ms[1] = 100
    await rig.poller.poll_once()
    assert len(rig.sink.readings) > 3
    assert rig.sink.times("m1") == [150]
    (state,) = rig.poller.meter_states()
    assert (state.ok, state.polls, state.last_ok_ms, state.latency_ms) == (True, 1, T0 + 150, 300)


async def test_lockstep_poll_takes_the_given_time():
    rig = Rig(2)
    assert await rig.poller.poll_once(T0 + 777) == 2
    assert rig.sink.times("m1") == rig.sink.times("m2") == [777]
    assert [r.value for r in rig.sink.readings] == [101 * 65536 * 10_000, 102 * 65536 * 10_000]


async def test_dead_meter_costs_one_timeout_per_pause_and_nobody_else():
    rig = Rig(3, backoff_max_s=8 * PERIOD_MS / 1000)
    rig.wire.cost_ms[2] = 1000
    rig.wire.error[2] = LinkTimeoutError("wire", "unit 2 did not answer")
    await rig.cycles(40)
    tried = [at // PERIOD_MS for unit, at in rig.wire.reads if unit == 2]
    assert tried == [1, 2, 4, 8, 16, 24, 32, 40]
    for alive in ("m1", "m3"):
        assert len(rig.sink.times(alive)) == 40
    assert len(rig.of(MeterLost)) == 1
    m2 = rig.poller.meter_states()[1]
    assert (m2.ok, m2.polls) == (False, 8)
    assert m2.failures == {"timeout": 8, "backed_off": 32}


async def test_meter_that_comes_back_is_polled_each_time_again():
    rig = Rig(1)
    rig.wire.error[1] = LinkTimeoutError("wire", "silent")
    await rig.cycles(2)
    del rig.wire.error[1]
    rig.clock.advance(T0 + 2 * PERIOD_MS)
    await rig.cycles(6)
    assert [at // PERIOD_MS for _, at in rig.wire.reads] == [1, 2, 4, 5, 6]
    (back,) = rig.of(MeterBack)
    assert back == MeterBack("m1", 3 * PERIOD_MS / 1000)
    assert rig.poller.meter_states()[0].ok


async def test_unreachable_endpoint_is_tried_once_a_poll_for_all_its_meters():
    rig = Rig(30)
    rig.wire.up = False
    await rig.cycles(4)
    assert rig.wire.opens == 3  # grid points 1, 2 and 4
    assert rig.wire.reads == []
    assert all(s.failures == {"connection": 3, "backed_off": 1} for s in rig.poller.meter_states())
    assert len(rig.of(MeterLost)) == 30
    rig.wire.up = True
    await rig.cycles(9)
    assert len(rig.of(MeterBack)) == 30


async def test_refusal_costs_no_pause_and_is_told_once():
    rig = Rig(2)
    rig.wire.error[1] = MeterError("unit 1", "illegal address")
    await rig.cycles(5)
    assert [at // PERIOD_MS for unit, at in rig.wire.reads if unit == 1] == [1, 2, 3, 4, 5]
    assert rig.events == [MeterRefused("m1", "unit 1: illegal address")]
    m1, m2 = rig.poller.meter_states()
    assert (m1.ok, m1.failures, m1.last_ok_ms) == (False, {"exception": 5}, None)
    assert m2.ok


async def test_refused_read_does_not_cost_the_other_reads_of_the_meter(monkeypatch):
    rig = Rig(1, model="abb-b23")
    whole = rig.wire.read

    async def read(question):
        if question.address == 0x5B00:
            raise MeterError("unit 1", "illegal address")
        return await whole(question)

    monkeypatch.setattr(rig.wire, "read", read)
    await rig.poller.poll_once()
    assert {r.channel for r in rig.sink.readings} == {
        "energy_import", "energy_export", "power_factor", "frequency",
    }  # fmt: skip


async def test_slow_bus_misses_whole_slots_counts_them_and_starves_nobody():
    rig = Rig(4)
    rig.wire.cost_ms = dict.fromkeys(range(1, 5), 9_000)  # 36 s for a period of 15 s
    await rig.cycles(60)
    per_meter = Counter(unit for unit, _ in rig.wire.reads)
    assert max(per_meter.values()) - min(per_meter.values()) <= 1
    state = rig.poller.bus_state()
    slots = (rig.clock.time_ms() - T0) // PERIOD_MS
    assert state.cycles + state.missed_cycles == pytest.approx(slots, abs=1)
    assert 0 < state.missed_cycles < state.cycles
    skipped = sum(s.failures["skipped"] for s in rig.poller.meter_states())
    assert skipped + len(rig.wire.reads) == 4 * state.cycles
    assert rig.events == [PollMissed("bus1", 1)] * len(rig.events)
    assert rig.events


async def test_wall_clock_jumps_lose_no_poll_and_count_no_miss():
    rig = Rig(1)
    task = asyncio.create_task(rig.poller.run())
    await settle()
    for step in (15_000, 15_000, 86_400_000, 15_000):
        rig.clock.advance(rig.clock.time_ms() + step)
        await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert rig.sink.times("m1") == [15_000, 30_000, 86_430_000, 86_445_000]
    assert rig.poller.bus_state().missed_cycles == 0


async def test_values_that_cannot_be_readings_are_counted(monkeypatch):
    rig = Rig(1, model="huawei-sun2000")

    async def read(question):
        return [0xFFFF, 0xFFFF] if question.address == 32106 else [0, 5000]

    monkeypatch.setattr(rig.wire, "read", read)
    assert await rig.poller.poll_once() == 1
    assert rig.poller.dropped() == Counter(no_value=1)
    assert rig.poller.meter_states()[0].failures == {"decode": 1}
    assert rig.sink.readings[0].value == 5.0


class Served:
    """Real meters: one pymodbus server each, vmu-mc at unit 1, counting its reads."""

    def __init__(self, total: int, delay_s: float = 0.0) -> None:
        self.total = total
        self.delay_s = delay_s
        self.reads = 0
        self.port = 0

    async def action(self, *_: object) -> None:
        self.reads += 1
        await asyncio.sleep(self.delay_s)

    async def __aenter__(self) -> Self:
        words = [self.total & 0xFFFF, self.total >> 16]
        data = SimData(0, values=words, datatype=DataType.REGISTERS)
        device = SimDevice(1, simdata=[data], action=self.action)
        self.server = ModbusTcpServer(device, address=("127.0.0.1", 0))
        await self.server.listen()
        listener = cast("asyncio.Server", self.server.transport)
        self.port = listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.shutdown()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def real(meters: list[Served], period_s: float, timeout_s: float) -> tuple[BusPoller, Sink]:
    model = "carlo-gavazzi-vmu-mc"
    bus = BusConfig(
        "bus1", "127.0.0.1", port=1, timeout_s=timeout_s,
        meters=tuple(
            MeterConfig(f"m{i}", model, port=meter.port) for i, meter in enumerate(meters)
        ),
    )  # fmt: skip
    sink = Sink()
    events: list[Event] = []
    (poller,) = build_pollers(
        [bus], PollConfig(period_s), load_device_maps([model]), make_link,
        SystemClock(), sink, events.append,
    )  # fmt: skip
    return poller, sink


async def test_lockstep_over_real_sockets():
    async with Served(123_456) as a, Served(2**32 - 1) as b:
        poller, sink = real([a, b], 60, 2)
        for minute in range(3):
            assert await poller.poll_once(T0 + minute * 60_000) == 2
        await poller.close()
    assert [(r.meter, r.value) for r in sink.readings[:2]] == [
        ("m0", 1_234_560_000), ("m1", (2**32 - 1) * 10_000),
    ]  # fmt: skip
    assert sink.times("m0") == [0, 60_000, 120_000]
    assert (a.reads, b.reads) == (3, 3)


async def test_silent_meter_on_its_own_endpoint_does_not_hold_up_the_bus():
    async with Served(1) as alive, Served(2, delay_s=60) as silent:
        poller, sink = real([alive, silent], 0.1, 1.0)
        task = asyncio.create_task(poller.run())
        await until(lambda: poller.meter_states()[1].failures.get("timeout", 0) >= 1)
        states = poller.meter_states()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert states[0].polls >= 4  # of about ten in that second
    assert states[0].ok
    assert not states[1].ok
    assert {reading.meter for reading in sink.readings} == {"m0"}


async def test_run_ends_though_a_library_swallows_the_cancellation(monkeypatch):
    rig = Rig(1)
    whole, reached = rig.wire.read, asyncio.Event()

    async def swallows(question):
        reached.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await whole(question)

    monkeypatch.setattr(rig.wire, "read", swallows)
    task = asyncio.create_task(rig.poller.run())
    await settle()
    rig.clock.advance(T0 + PERIOD_MS)
    async with asyncio.timeout(5):
        await reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_run_ends_when_the_sink_is_broken():
    """A broken sink must not be mistaken for a broken meter."""

    class Broken(Sink):
        def append(self, readings: Sequence[Reading]) -> None:
            raise RuntimeError("disk")

    rig = Rig(1)
    rig.poller._sink = Broken()
    with pytest.raises(RuntimeError, match="disk"):
        await rig.poller.poll_once()
