"""Gaps filled from a DL/T 645 meter's own memory, and the broadcast of the time."""

from datetime import datetime, timedelta, timezone

import pytest

from contract.reading import Quality
from edge_agent.codecs.dlt645 import SetClocks
from edge_agent.events import ClocksSet, GapFilled, MeterBack, MeterClockWrong, MeterLost
from edge_agent.gaps import Since
from edge_agent.links.wire import WireLink
from edge_agent.wires.tcp import TcpWire
from simulators.dlt645_meter import Dlt645Station
from simulators.meter import SimulatedMeter
from simulators.wire import SimulatedWire
from tests.edge_agent.field import ORIGIN_MS, field_of, times

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MODEL = "dlt645-2007-three-phase"


def frozen(meter: SimulatedMeter, time_ms: int) -> dict[str, int]:
    """What the display's counts stood at then [micro-units]."""
    return {
        register.channel: meter.number_frozen(register, time_ms) * 10_000
        for register in meter.device.registers
        if register.channel.startswith("energy")
    }


def of_time(readings, time_ms):
    return {r.channel: r.value for r in readings if r.time_ms == time_ms}


async def test_midnights_of_a_gap_are_read_newest_first_and_marked():
    async with field_of(MODEL) as (found, poller):
        await poller.poll_once()
        found.clock.advance(ORIGIN_MS + 3 * DAY_MS + 7 * HOUR_MS)
        found.readings.clear()
        for _ in range(5):
            await poller.poll_once()
        late = [r for r in found.readings if r.quality == Quality.FREEZE]
        midnights = [ORIGIN_MS + day * DAY_MS for day in (3, 2, 1)]
        assert times(late) == midnights
        for midnight in midnights:
            assert of_time(late, midnight) == frozen(found.meter, midnight)
        assert found.events == [GapFilled("m1", 18)]
        assert poller.meter_states()[0].failures == {}


async def test_a_gateway_that_was_off_fills_the_gap_once_its_clock_is_known():
    known = False
    since = Since(ORIGIN_MS + HOUR_MS, lambda: known)
    async with field_of(MODEL, since=since) as (found, poller):
        found.clock.advance(ORIGIN_MS + 2 * DAY_MS + HOUR_MS)
        for _ in range(2):
            await poller.poll_once()
        assert all(r.quality == Quality.GOOD for r in found.readings)
        known = True
        for _ in range(4):
            await poller.poll_once()
        late = [r for r in found.readings if r.quality == Quality.FREEZE]
        assert times(late) == [ORIGIN_MS + 2 * DAY_MS, ORIGIN_MS + DAY_MS]
        assert found.events == [GapFilled("m1", 12)]


async def test_short_gaps_and_gaps_without_midnight_are_left_alone():
    async with field_of(MODEL) as (found, poller):
        await poller.poll_once()
        found.clock.advance(ORIGIN_MS + DAY_MS - 10 * 60_000)
        await poller.poll_once()  # hours without midnight: looked for, nothing found
        await poller.poll_once()
        found.clock.advance(ORIGIN_MS + DAY_MS + 10 * 60_000)
        await poller.poll_once()  # a midnight, but only twenty minutes
        await poller.poll_once()
        assert all(r.quality == Quality.GOOD for r in found.readings)
        assert found.events == [GapFilled("m1", 0)]


async def test_settlements_reach_further_back_than_asked_midnights():
    """The month's begin is in the gap; as a daily freeze it is delivered once, not twice."""
    async with field_of(MODEL) as (found, poller):
        found.clock.advance(ORIGIN_MS + 12 * DAY_MS)  # 2 December
        assert poller.fill_gap("m1", ORIGIN_MS + 10 * DAY_MS + HOUR_MS, found.clock.time_ms())
        for _ in range(4):
            await poller.poll_once()
        late = [r for r in found.readings if r.quality == Quality.FREEZE]
        assert times(late) == [ORIGIN_MS + 11 * DAY_MS]
        assert not poller.fill_gap("nobody", 0, 1)


async def test_settlements_alone_when_the_meter_keeps_no_daily_freezes(monkeypatch):
    async with field_of(MODEL) as (found, poller):
        image = found.station._image  # type: ignore[attr-defined]
        monkeypatch.setattr(
            found.station, "_image", lambda id_: None if id_.startswith("0506") else image(id_)
        )
        found.clock.advance(ORIGIN_MS + 45 * DAY_MS)  # 4 January
        poller.fill_gap("m1", ORIGIN_MS, found.clock.time_ms())
        for _ in range(4):
            await poller.poll_once()
        late = [r for r in found.readings if r.quality == Quality.FREEZE]
        january, december = ORIGIN_MS + 42 * DAY_MS, ORIGIN_MS + 11 * DAY_MS
        assert times(late) == [january, december]
        assert of_time(late, december) == frozen(found.meter, december)


@pytest.mark.parametrize("off_ms", [-360_000, 360_000])
async def test_a_meter_with_a_wrong_clock_fills_nothing_and_says_so(off_ms):
    async with field_of(MODEL) as (found, poller):
        found.off_ms = off_ms
        await poller.poll_once()
        found.clock.advance(ORIGIN_MS + 2 * DAY_MS)
        await poller.poll_once()
        await poller.poll_once()
        assert all(r.quality == Quality.GOOD for r in found.readings)
        (event,) = found.events
        assert isinstance(event, MeterClockWrong)
        assert event.off_s == pytest.approx(off_ms / 1000, abs=1)


async def test_a_meter_lost_in_between_goes_on_where_it_got_to():
    async with field_of(MODEL, timeout_s=0.6) as (found, poller):
        station = found.station
        assert isinstance(station, Dlt645Station)
        image, asked = station._image, []

        def silent_once(id_: str) -> bytes | None:
            if id_ == "05060002" and id_ not in asked:
                station.faults.silent = True
            asked.append(id_)
            return image(id_)

        station._image = silent_once
        await poller.poll_once()
        found.clock.advance(ORIGIN_MS + 4 * DAY_MS + HOUR_MS)
        await poller.poll_once()  # the newest midnight
        await poller.poll_once()  # and no answer for the one before
        station.faults.silent = False
        for _ in range(6):
            await poller.poll_once()
        late = [r for r in found.readings if r.quality == Quality.FREEZE]
        assert times(late) == [ORIGIN_MS + day * DAY_MS for day in (4, 3, 2, 1)]
        assert [type(event) for event in found.events] == [MeterLost, MeterBack, GapFilled]
        assert found.events[-1] == GapFilled("m1", 24)


async def test_clocks_are_set_once_a_day_after_three_and_only_when_asked_for():
    for wanted in (False, True):
        async with field_of("dlt645-1997", clock_broadcast=wanted) as (found, poller):
            told: list[bytes] = []
            station = found.station
            assert isinstance(station, Dlt645Station)
            for hour in (2.9, 3.1, 5, 26.9, 27.1, 47.5):
                found.clock.advance(ORIGIN_MS + DAY_MS + round(hour * HOUR_MS))
                station.time_told = b""
                await poller.poll_once()
                await poller.poll_once()  # the frame before has arrived
                told.append(station.time_told)
            set_at = [event.time for event in found.events if isinstance(event, ClocksSet)]
        if not wanted:
            assert told == [b""] * 6
            assert set_at == []
            continue
        assert told[1] == bytes.fromhex("00 06 03 21 11 26")  # 03:06:00, 21 November 2026
        assert told[4] == bytes.fromhex("00 06 03 22 11 26")
        assert [said for said in told if said] == [told[1], told[4]]
        assert set_at == ["2026-11-21T03:06:00+08:00", "2026-11-22T03:06:00+08:00"]


async def test_a_link_without_leave_refuses_to_set_clocks():
    station = Dlt645Station("000000000001", lambda _: None)
    wire = SimulatedWire([station])
    link = WireLink(TcpWire("127.0.0.1", await wire.serve(), 1), 1)
    try:
        moment = datetime(2026, 11, 21, 3, tzinfo=timezone(timedelta(hours=8)))
        with pytest.raises(PermissionError, match="not configured to set clocks"):
            await link.read(SetClocks(moment))
        assert station.time_told == b""
    finally:
        await link.close()
        await wire.stop()
