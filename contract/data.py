"""``data``: one batch of readings, columnar JSON. The reference codec.

::

    {"v":1, "outbox":"9f86d081884c7d65", "seq":12, "meta":"<sha-256>", "floor":1, "void":[[3,5]],
     "blocks":[{"meter":"em-01", "t0":1760000000000, "dt":[0,60000],
                "channels":{"energy_import":[1234.56,1234.57], "power":[4.2,null]},
                "quality":{"power":[0,2]}}]}

A batch is what one group commit of an outbox wrote; its identity is (edge, outbox, seq).
``floor`` is the lowest seq the outbox still holds, ``void`` are ranges it has given up.
A block holds one meter: time i is ``t0 + dt[0] + .. + dt[i]`` [ms UTC], strictly increasing, with
``dt[0] = 0``. A column holds a number per time, or null where nothing was read. A cumulative
column carries the display's decimal; it is held in micro-units on both sides. ``quality`` stands
only for channels with a code that is not 0.

Sizes: ``encode_blocks`` does not check its length, because the outbox must see it to split: an
array of at most ``MAX_BLOCKS_BYTES`` fits any envelope. The envelope is checked when it is made.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from contract import wire
from contract.channels import Channel, catalogue
from contract.reading import (
    MAX_TIME_MS,
    MIN_TIME_MS,
    QUALITY_CODES,
    Quality,
    Reading,
    check_id,
)
from contract.units import MAX_CUMULATIVE_MICRO, from_micro, to_micro
from contract.wire import DecodeError, Range

OUTBOX_DIGITS = 16
META_DIGITS = 64
MAX_ENVELOPE_BYTES = 4_096
"""More than any envelope takes around its blocks."""
MAX_BLOCKS_BYTES = wire.MAX_DATA_BYTES - MAX_ENVELOPE_BYTES
"""Longest array of blocks an outbox may commit as one batch."""
MAX_BLOCKS = 4_096
MAX_TIMES = 16_384

Value = int | float
Column = tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Readings of one meter on one row of times.

    ``columns`` hold int [micro-units] for cumulative channels, float [catalogue unit] for
    instantaneous ones, None where nothing was read; ``quality`` holds codes of ``Quality`` for
    the channels where one is not good. Every column is as long as ``times_ms``.
    """

    meter: str
    times_ms: tuple[int, ...]
    columns: Mapping[str, Column]
    quality: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch; identity is (edge, ``outbox``, ``seq``)."""

    outbox: str
    seq: int
    meta: str
    floor: int
    void: tuple[Range, ...]
    blocks: tuple[Block, ...]


def blocks_of(readings: Iterable[Reading]) -> tuple[Block, ...]:
    """Group readings into blocks, keeping the order in which each meter's readings came.

    Readings of one meter and time share a row. A new block is begun when time does not go
    forward, and when a (channel, time) comes twice: nothing is dropped here.
    """
    drafts: list[_Draft] = []
    current: dict[str, _Draft] = {}
    for reading in readings:
        draft = current.get(reading.meter)
        if draft is None or not draft.take(reading):
            draft = current[reading.meter] = _Draft(reading.meter)
            draft.take(reading)
            drafts.append(draft)
    return tuple(draft.block() for draft in drafts)


class _Draft:
    """A block while it is being filled."""

    def __init__(self, meter: str) -> None:
        self.meter = meter
        self.times: list[int] = []
        self.cells: dict[str, dict[int, Reading]] = {}

    def take(self, reading: Reading) -> bool:
        """Place a reading; False when this block has no place for it."""
        cells = self.cells.setdefault(reading.channel, {})
        if not self.times or reading.time_ms > self.times[-1]:
            if len(self.times) >= MAX_TIMES:
                return False
            self.times.append(reading.time_ms)
        elif reading.time_ms != self.times[-1] or len(self.times) - 1 in cells:
            return False
        cells[len(self.times) - 1] = reading
        return True

    def block(self) -> Block:
        rows = range(len(self.times))
        columns: dict[str, Column] = {}
        quality: dict[str, tuple[int, ...]] = {}
        for channel, cells in self.cells.items():
            if not cells:
                continue
            columns[channel] = tuple(cells[i].value if i in cells else None for i in rows)
            if any(cell.quality is not Quality.GOOD for cell in cells.values()):
                quality[channel] = tuple(int(cells[i].quality) if i in cells else 0 for i in rows)
        return Block(self.meter, tuple(self.times), columns, quality)


def readings_of(batch: Batch) -> Iterator[Reading]:
    """Yield the readings of a batch, block by block, channel by channel, in time order."""
    for block in batch.blocks:
        for channel, column in block.columns.items():
            codes = block.quality.get(channel)
            for i, value in enumerate(column):
                if value is not None:
                    quality = Quality(codes[i]) if codes else Quality.GOOD
                    yield Reading(block.meter, channel, block.times_ms[i], value, quality)


def encode_blocks(blocks: Iterable[Block]) -> bytes:
    """Return the JSON array of blocks: what an outbox stores and an envelope wraps.

    Raises DecodeError when a block breaks the contract; the length is for the caller to check.
    """
    documents = [_block_document(block, f"blocks[{i}]") for i, block in enumerate(blocks)]
    _decode_blocks(documents)
    return wire.compact(documents)


def encode_envelope(
    outbox: str, seq: int, meta: str, floor: int, void: Iterable[Range], blocks_json: bytes
) -> bytes:
    """Wrap what ``encode_blocks`` gave into a ``data`` payload; the blocks are not read again."""
    document = {
        "v": 1,
        "outbox": outbox,
        "seq": seq,
        "meta": meta,
        "floor": floor,
        "void": [[low, high] for low, high in void],
    }
    _decode_envelope(document, ())
    payload = wire.compact(document)[:-1] + b',"blocks":' + blocks_json + b"}"
    return wire.sized(payload, wire.MAX_DATA_BYTES)


def encode_data(batch: Batch) -> bytes:
    """Return the payload of a batch."""
    return encode_envelope(
        batch.outbox, batch.seq, batch.meta, batch.floor, batch.void, encode_blocks(batch.blocks)
    )


def _block_document(block: Block, where: str) -> dict[str, Any]:
    if not block.times_ms:
        raise DecodeError(f"{where}.dt", "no time")
    document: dict[str, Any] = {
        "meter": block.meter,
        "t0": block.times_ms[0],
        "dt": [0, *(b - a for a, b in pairwise(block.times_ms))],
        "channels": {
            name: _column_document(name, column, wire.path(f"{where}.channels", name))
            for name, column in block.columns.items()
        },
    }
    if block.quality:
        document["quality"] = {name: list(codes) for name, codes in block.quality.items()}
    return document


def _column_document(name: str, column: Column, where: str) -> list[float | None]:
    channel = catalogue().get(name)
    if channel is None:
        raise DecodeError(where, "channel is not in the catalogue")
    if not channel.cumulative:
        return [
            None if value is None else wire.as_number(value, f"{where}[{i}]")
            for i, value in enumerate(column)
        ]
    micros: list[float | None] = []
    for i, value in enumerate(column):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise DecodeError(f"{where}[{i}]", f"{value!r:.80} is not a count of micro-units")
        if value is not None and abs(value) > MAX_CUMULATIVE_MICRO:
            raise DecodeError(f"{where}[{i}]", f"beyond {MAX_CUMULATIVE_MICRO} micro-units")
        micros.append(None if value is None else from_micro(value))
    return micros


def decode_data(payload: bytes) -> Batch:
    """Return the batch of a payload; DecodeError naming where it breaks the contract."""
    document = wire.parse_object(payload, wire.MAX_DATA_BYTES)
    return _decode_envelope(document, _decode_blocks(wire.member(document, "blocks", "blocks")))


def _decode_envelope(document: Mapping[str, Any], blocks: tuple[Block, ...]) -> Batch:
    seq = wire.integer(document, "seq", "seq", 1)
    return Batch(
        outbox=wire.hexadecimal(wire.member(document, "outbox", "outbox"), "outbox", OUTBOX_DIGITS),
        seq=seq,
        meta=wire.hexadecimal(wire.member(document, "meta", "meta"), "meta", META_DIGITS),
        floor=wire.integer(document, "floor", "floor", 1, seq),
        void=wire.as_ranges(wire.member(document, "void", "void"), "void"),
        blocks=blocks,
    )


def _decode_blocks(value: object) -> tuple[Block, ...]:
    blocks = wire.as_list(value, "blocks", MAX_BLOCKS)
    return tuple(_decode_block(block, f"blocks[{i}]") for i, block in enumerate(blocks))


def _decode_block(value: object, where: str) -> Block:
    document = wire.as_object(value, where)
    meter = wire.checked(
        check_id, wire.member(document, "meter", f"{where}.meter"), f"{where}.meter"
    )
    times = _decode_times(document, where)
    quality_where = f"{where}.quality"
    quality = wire.as_object(document.get("quality", {}), quality_where)
    columns = wire.as_object(
        wire.member(document, "channels", f"{where}.channels"), f"{where}.channels"
    )
    if not columns:
        raise DecodeError(f"{where}.channels", "no channel")
    decoded: dict[str, Column] = {}
    codes: dict[str, tuple[int, ...]] = {}
    for name, column in columns.items():
        decoded[name] = _decode_column(name, column, len(times), f"{where}.channels")
        if name in quality:
            codes[name] = _decode_quality(quality[name], decoded[name], f"{quality_where}.{name}")
    stray = sorted(set(quality) - set(columns))
    if stray:
        raise DecodeError(wire.path(quality_where, stray[0]), "no such column in the block")
    return Block(meter, times, decoded, codes)


def _decode_times(document: Mapping[str, Any], where: str) -> tuple[int, ...]:
    start = wire.integer(document, "t0", f"{where}.t0", MIN_TIME_MS, MAX_TIME_MS)
    deltas = wire.as_list(wire.member(document, "dt", f"{where}.dt"), f"{where}.dt", MAX_TIMES)
    if not deltas:
        raise DecodeError(f"{where}.dt", "no time")
    steps = [
        wire.as_integer(delta, f"{where}.dt[{i}]", min(i, 1), MAX_TIME_MS if i else 0)
        for i, delta in enumerate(deltas)
    ]
    times = tuple(accumulate(steps, initial=start))[1:]
    if times[-1] > MAX_TIME_MS:
        raise DecodeError(f"{where}.dt", f"reaches beyond {MAX_TIME_MS}")
    return times


def _decode_column(name: str, value: object, length: int, where: str) -> Column:
    channel = catalogue().get(name)
    if channel is None:
        raise DecodeError(wire.path(where, name), "channel is not in the catalogue")
    where = f"{where}.{name}"
    column = wire.as_list(value, where, MAX_TIMES)
    if len(column) != length:
        raise DecodeError(where, f"{len(column)} values for {length} times")
    return tuple(_decode_value(channel, v, f"{where}[{i}]") for i, v in enumerate(column))


def _decode_value(channel: Channel, value: object, where: str) -> Value | None:
    if value is None:
        return None
    number = wire.as_number(value, where)
    if not channel.cumulative:
        return number
    try:
        return to_micro(number)
    except ValueError as error:
        raise DecodeError(where, str(error)) from None


def _decode_quality(value: object, column: Column, where: str) -> tuple[int, ...]:
    codes = wire.as_list(value, where, MAX_TIMES)
    if len(codes) != len(column):
        raise DecodeError(where, f"{len(codes)} codes for {len(column)} values")
    for i, (code, cell) in enumerate(zip(codes, column, strict=True)):
        if wire.as_integer(code, f"{where}[{i}]", 0, 255) not in QUALITY_CODES:
            raise DecodeError(f"{where}[{i}]", f"{code} is not a quality code")
        if cell is None and code != 0:
            raise DecodeError(f"{where}[{i}]", "a code where nothing was read")
    return tuple(int(code) for code in codes)
