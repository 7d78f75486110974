"""Gaps filled from the meter's own memory: what it froze at past midnights and month ends.

A DL/T 645 meter keeps its counts of the last midnights (daily freezes) and settlements. After a
gap they are exact readings of a time nobody asked at; they are delivered with `Quality.FREEZE` and
the time the meter froze them. The meter's clock decides that time, so its clock is read first: when
it is off by more than `MOST_OFF_MS`, nothing is delivered.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone

from contract.reading import Reading
from edge_agent.codecs.bcd import from_bcd
from edge_agent.codecs.dlt645 import ReadData
from edge_agent.decoders.dlt645 import Dlt645Decoder, decode_items, frozen
from edge_agent.errors import MeterError
from edge_agent.links.base import MeterLink
from edge_agent.maps.dlt645 import Item

MOST_OFF_MS = 300_000
"""A meter's clock may be wrong by so much for its freezes to be used [ms]."""
MARGIN_MS = MOST_OFF_MS
"""A freeze so close to the edge of a gap is left alone: the readings beside it say as much [ms]."""
METER_ZONE = timezone(timedelta(hours=8))
"""Meters keep Beijing time."""

_DATE, _TIME, _SETTLEMENT_DAY = "04000101", "04000102", "04000B01"


def can_fill(decoder: object) -> bool:
    """Whether a meter keeps freezes of counts its map reads."""
    return isinstance(decoder, Dlt645Decoder) and bool(
        decoder.device.daily_freezes or decoder.device.settlements
    )


async def meter_clock_off_ms(link: MeterLink, address: str, now_ms: int) -> int:
    """The meter's clock minus ours [ms]; MeterError when it shows no time."""
    date = from_bcd((await link.read(ReadData(address, _DATE, 4)))[1:4])  # weekday comes first
    time = from_bcd((await link.read(ReadData(address, _TIME, 3)))[:3])
    if date is None or time is None:
        raise MeterError(f"meter {address}", "its clock shows no time")
    shown_ms = _instant_ms(f"{date:06d}{time:06d}", "%y%m%d%H%M%S")
    if shown_ms is None:
        raise MeterError(f"meter {address}", "its clock shows no time")
    return shown_ms - now_ms


async def read_freezes(
    link: MeterLink, decoder: Dlt645Decoder, after_ms: int, before_ms: int
) -> AsyncIterator[list[Reading]]:
    """Yield the readings of each freeze between two instants [ms UTC], newest first.

    Ends where the meter has no more, or says that it has none. LinkError as they come.
    """
    seen: set[int] = set()
    try:
        async for readings in _daily(link, decoder, after_ms, before_ms):
            seen.add(readings[0].time_ms)
            yield readings
    except MeterError:
        pass  # it keeps fewer than its map promises
    try:
        async for readings in _settled(link, decoder, after_ms, before_ms):
            if readings[0].time_ms not in seen:
                yield readings
    except MeterError:
        pass


async def _daily(
    link: MeterLink, decoder: Dlt645Decoder, after_ms: int, before_ms: int
) -> AsyncIterator[list[Reading]]:
    address = decoder.questions[0].address
    blocks: dict[str, list[Item]] = {}
    for item in decoder.device.registers:
        if item.daily:
            blocks.setdefault(item.daily, []).append(item)
    for back in range(1, decoder.device.daily_freezes + 1) if blocks else ():
        digits = from_bcd((await link.read(ReadData(address, f"050600{back:02X}", 5)))[:5])
        time_ms = None if digits is None else _instant_ms(f"{digits:010d}", "%y%m%d%H%M")
        if time_ms is None or time_ms <= after_ms:
            return
        if time_ms < before_ms:
            readings = []
            for prefix, items in blocks.items():
                data = await link.read(ReadData(address, f"{prefix}{back:02X}", _length(items)))
                readings += _frozen(decoder, items, data, time_ms)
            if readings:
                yield readings


async def _settled(
    link: MeterLink, decoder: Dlt645Decoder, after_ms: int, before_ms: int
) -> AsyncIterator[list[Reading]]:
    address = decoder.questions[0].address
    if not decoder.device.settlements:
        return
    moment = (await link.read(ReadData(address, _SETTLEMENT_DAY, 2)))[:2]
    hour, day = from_bcd(moment[:1]), from_bcd(moment[1:])
    if hour is None or day is None or hour > 23 or not 1 <= day <= 28:
        return
    blocks: dict[str, list[Item]] = {}
    for item in decoder.device.registers:
        if item.cumulative and item.id.startswith("00"):
            blocks.setdefault(item.id, []).append(item)
    # Counted back from the meter's present: the gap may have ended long before.
    now_ms = before_ms if not blocks else await _meter_now_ms(link, address)
    for back, time_ms in enumerate(_settlements(now_ms, day, hour), start=1):
        if back > decoder.device.settlements or time_ms <= after_ms:
            return
        if time_ms < before_ms:
            readings = []
            for id_, items in blocks.items():
                data = await link.read(ReadData(address, f"{id_[:6]}{back:02X}", _length(items)))
                readings += _frozen(decoder, items, data, time_ms)
            if readings:
                yield readings


async def _meter_now_ms(link: MeterLink, address: str) -> int:
    return await meter_clock_off_ms(link, address, 0)


def _settlements(now_ms: int, day: int, hour: int) -> Iterator[int]:
    """The settlements up to `now_ms` [ms UTC], newest first, without end."""
    now = datetime.fromtimestamp(now_ms / 1000, METER_ZONE)
    at = now.replace(day=day, hour=hour, minute=0, second=0, microsecond=0)
    while True:
        if at <= now:
            yield round(at.timestamp() * 1000)
        at = (at.replace(day=1) - timedelta(days=1)).replace(day=day)


def _frozen(decoder: Dlt645Decoder, items: list[Item], data: bytes, time_ms: int) -> list[Reading]:
    return frozen(decode_items(decoder.meter.id, items, data, time_ms, Counter()))


def _length(items: list[Item]) -> int:
    return max(item.offset + item.length for item in items)


def _instant_ms(text: str, form: str) -> int | None:
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=METER_ZONE)
    except ValueError:
        return None
    return round(moment.astimezone(UTC).timestamp() * 1000)
