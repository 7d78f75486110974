"""``data`` payloads to columns, fast: msgspec parses, NumPy checks.

Agreement with the reference codec (``contract.data``) is by construction. The typed parser refuses
whatever the reference might see otherwise: unknown members, integers written as decimals, numbers
of the wrong type. What it accepts must then pass checks as strict as the reference's, made on all
cells at once. Whenever either says no, the reference decides, and gives the error its ``where``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from contract import CONTRACT_VERSION, wire
from contract.channels import catalogue
from contract.data import (
    MAX_BLOCKS,
    MAX_TIMES,
    META_DIGITS,
    OUTBOX_DIGITS,
    Batch,
    decode_data,
)
from contract.reading import MAX_TIME_MS, MIN_TIME_MS, QUALITY_CODES, is_id
from contract.units import MAX_CUMULATIVE_MICRO, MICRO
from contract.wire import MAX_DATA_BYTES, MAX_SEQ, Range

_OUTBOX = re.compile(f"[0-9a-f]{{{OUTBOX_DIGITS}}}")
_META = re.compile(f"[0-9a-f]{{{META_DIGITS}}}")


@dataclass(frozen=True, slots=True)
class Cells:
    """Readings of one kind, n rows: block by block, channel by channel, in time order.

    block    int32, index into ``DecodedBatch.meters``
    channel  int32, index of the catalogue
    time_ms  int64, UTC
    value    int64 micro-units (cumulative) or finite float64 in the catalogue unit (instantaneous)
    quality  uint8, contract.reading.Quality
    """

    block: NDArray[np.int32]
    channel: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.int64] | NDArray[np.float64]
    quality: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.block)


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """One payload; ``meters`` holds the meter of each block. Cells without a value are dropped."""

    outbox: str
    seq: int
    meta: str
    floor: int
    void: tuple[Range, ...]
    meters: tuple[str, ...]
    cumulative: Cells
    instantaneous: Cells

    def __len__(self) -> int:
        return len(self.cumulative) + len(self.instantaneous)


class _Block(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    meter: str
    t0: int
    dt: list[int]
    channels: dict[str, list[float | None]]
    quality: dict[str, list[int]] = {}


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    v: int
    outbox: str
    seq: int
    meta: str
    floor: int
    void: list[list[int]]
    blocks: list[_Block]


class _Doubt(Exception):  # noqa: N818 - not an error: the reference will say whether it is one
    """A check did not pass."""


@cache
def _parser() -> msgspec.json.Decoder[_Envelope]:
    return msgspec.json.Decoder(_Envelope)


@cache
def _channels() -> dict[str, tuple[int, bool]]:
    return {name: (row.index, row.cumulative) for name, row in catalogue().items()}


@cache
def _known_code() -> NDArray[np.bool_]:
    known = np.zeros(256, np.bool_)
    known[sorted(QUALITY_CODES)] = True
    return known


def decode_batch(payload: bytes) -> DecodedBatch:
    """Return the columns of a payload; contract.wire.DecodeError as the reference codec."""
    try:
        return _decode_fast(payload)
    except (_Doubt, msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return _from_reference(decode_data(payload))


def _require(condition: object) -> None:
    if not condition:
        raise _Doubt


def _decode_fast(payload: bytes) -> DecodedBatch:
    _require(len(payload) <= MAX_DATA_BYTES)
    envelope = _parser().decode(payload)
    _require(envelope.v == CONTRACT_VERSION and len(envelope.blocks) <= MAX_BLOCKS)
    _require(_OUTBOX.fullmatch(envelope.outbox) and _META.fullmatch(envelope.meta))
    _require(1 <= envelope.floor <= envelope.seq <= MAX_SEQ)
    void = wire.as_ranges(envelope.void, "void")
    cumulative, instantaneous = _decode_cells(envelope.blocks)
    return DecodedBatch(
        outbox=envelope.outbox,
        seq=envelope.seq,
        meta=envelope.meta,
        floor=envelope.floor,
        void=void,
        meters=tuple([block.meter for block in envelope.blocks]),
        cumulative=cumulative,
        instantaneous=instantaneous,
    )


_Column = tuple[int, int, list[float | None], list[int] | None]
"""Block, channel, values, quality codes: as long as the block's times; no codes when all good."""


def _decode_cells(blocks: list[_Block]) -> tuple[Cells, Cells]:
    """Return the cells of both kinds. All columns of the payload are converted at once."""
    times = _Times(blocks)
    cumulative, instantaneous = _sort_columns(blocks)
    columns = cumulative + instantaneous
    block_of = np.array([column[0] for column in columns], np.int32)
    channel_of = np.array([column[1] for column in columns], np.int32)
    length_of = times.length[block_of]
    values = list(chain.from_iterable([column[2] for column in columns]))
    value: NDArray[np.float64] = np.array(values, np.float64)  # null becomes NaN
    present = ~np.isnan(value)  # JSON has no NaN
    row_of = times.start[block_of] - np.cumsum(length_of) + length_of
    row = np.arange(len(value)) + np.repeat(row_of, length_of)
    quality = _quality([column[3] for column in columns], length_of, present)
    split = sum(map(len, (column[2] for column in cumulative)))
    cells = (np.repeat(block_of, length_of), np.repeat(channel_of, length_of), times.time_ms[row])
    if not present.all():
        split = int(np.count_nonzero(present[:split]))
        cells = (cells[0][present], cells[1][present], cells[2][present])
        value, quality = value[present], quality[present]
    block, channel, time_ms = cells
    return (
        Cells(
            block[:split], channel[:split], time_ms[:split], _micro(value[:split]), quality[:split]
        ),
        # A negative zero is zero, as in the reference
        Cells(
            block[split:], channel[split:], time_ms[split:], value[split:] + 0.0, quality[split:]
        ),
    )


def _sort_columns(blocks: list[_Block]) -> tuple[list[_Column], list[_Column]]:
    """Return the cumulative and the instantaneous columns, names and lengths checked."""
    channels = _channels()
    kinds: tuple[list[_Column], list[_Column]] = ([], [])
    instantaneous, cumulative = kinds
    for b, block in enumerate(blocks):
        length, quality = len(block.dt), block.quality
        _require(block.channels and is_id(block.meter))
        _require(not quality or quality.keys() <= block.channels.keys())
        for name, values in block.channels.items():
            known = channels.get(name)
            codes = quality.get(name) if quality else None
            if (
                known is None
                or len(values) != length
                or (codes is not None and len(codes) != length)
            ):
                raise _Doubt
            kinds[known[1]].append((b, known[0], values, codes))
    return cumulative, instantaneous


def _quality(
    codes: list[list[int] | None], length_of: NDArray[np.int64], present: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the code of every cell, checked; 0 where a column has none."""
    quality = np.zeros(len(present), np.uint8)
    if not any(codes):
        return quality
    given = np.repeat([column is not None for column in codes], length_of)
    code = np.array(
        list(chain.from_iterable(column for column in codes if column is not None)), np.int64
    )
    _require(((code >= 0) & (code < len(_known_code()))).all())
    quality[given] = code
    _require(_known_code()[quality].all() and not quality[~present].any())
    return quality


def _micro(value: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return micro-units, rounded half to even as ``to_micro`` does."""
    with np.errstate(over="ignore"):
        scaled = value * MICRO
    _require((np.abs(scaled) <= MAX_CUMULATIVE_MICRO).all())
    return np.rint(scaled).astype(np.int64)


class _Times:
    """The times of all blocks, one after the other, checked."""

    __slots__ = ("length", "start", "time_ms")

    def __init__(self, blocks: list[_Block]) -> None:
        lengths = [len(block.dt) for block in blocks]
        _require(min(lengths, default=1) > 0 and max(lengths, default=1) <= MAX_TIMES)
        self.length = np.array(lengths, np.int64)
        steps = list(chain.from_iterable([block.dt for block in blocks]))
        base = np.array([block.t0 for block in blocks], np.int64)
        step_ms = np.array(steps, np.int64)
        end = np.cumsum(self.length)
        self.start = end - self.length
        first = np.zeros(len(step_ms), np.bool_)
        first[self.start] = True
        _require(((base >= MIN_TIME_MS) & (base <= MAX_TIME_MS)).all())
        # Within these bounds no sum below can overflow: a step takes as many bytes as it has digits
        _require(
            ((step_ms > 0) ^ first).all() and ((step_ms >= 0) & (step_ms <= MAX_TIME_MS)).all()
        )
        elapsed = np.cumsum(step_ms)
        self.time_ms = elapsed + np.repeat(base - elapsed[self.start], self.length)
        _require((self.time_ms[end - 1] <= MAX_TIME_MS).all())


def _from_reference(batch: Batch) -> DecodedBatch:
    """Return the columns of what the reference accepted."""
    kinds: tuple[list[_Row], list[_Row]] = ([], [])
    channels = _channels()
    for b, block in enumerate(batch.blocks):
        for name, column in block.columns.items():
            index, cumulative = channels[name]
            codes = block.quality.get(name) or (0,) * len(column)
            kinds[cumulative].extend(
                (b, index, time_ms, value, code)
                for time_ms, value, code in zip(block.times_ms, column, codes, strict=True)
                if value is not None
            )
    return DecodedBatch(
        outbox=batch.outbox,
        seq=batch.seq,
        meta=batch.meta,
        floor=batch.floor,
        void=batch.void,
        meters=tuple(block.meter for block in batch.blocks),
        cumulative=_cells_of(kinds[True], cumulative=True),
        instantaneous=_cells_of(kinds[False], cumulative=False),
    )


_Row = tuple[int, int, int, float, int]


def _cells_of(rows: Sequence[_Row], *, cumulative: bool) -> Cells:
    block, channel, time_ms, value, quality = zip(*rows, strict=True) if rows else ((),) * 5
    return Cells(
        np.array(block, np.int32),
        np.array(channel, np.int32),
        np.array(time_ms, np.int64),
        np.array(value, np.int64) if cumulative else np.array(value, np.float64),
        np.array(quality, np.uint8),
    )
