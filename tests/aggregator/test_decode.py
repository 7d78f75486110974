"""The fast decoder says the same as the reference codec: same cells, same refusals, same where."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.ingest import decode
from aggregator.ingest.decode import Cells, DecodedBatch, decode_batch
from contract.channels import catalogue
from contract.data import Batch, decode_data, encode_data
from contract.reading import MAX_TIME_MS
from contract.units import MAX_CUMULATIVE_MICRO, to_micro
from contract.wire import MAX_DATA_BYTES, DecodeError
from tests.contract import strategies
from tests.contract.strategies import VECTORS

OUTBOX, META = "9f86d081884c7d65", "ab" * 32
DTYPES = (np.int32, np.int32, np.int64, None, np.uint8)
Row = tuple[int, int, int, int | float, int]


def payload(blocks: str) -> bytes:
    head = f'{{"v":1,"outbox":"{OUTBOX}","seq":1,"meta":"{META}","floor":1,"void":[],"blocks":'
    return (head + blocks + "}").encode()


def block(column: str, dt: str = "[0]", t0: str = "0", more: str = "") -> bytes:
    return payload(f'[{{"meter":"a","t0":{t0},"dt":{dt},"channels":{column}{more}}}]')


def rows_of_reference(batch: Batch, *, cumulative: bool) -> list[Row]:
    channels = catalogue()
    return [
        (b, channels[name].index, block.times_ms[i], value, block.quality.get(name, {i: 0})[i])
        for b, block in enumerate(batch.blocks)
        for name, column in block.columns.items()
        if channels[name].cumulative is cumulative
        for i, value in enumerate(column)
        if value is not None
    ]


def rows_of(cells: Cells, kind: type[np.generic]) -> list[Row]:
    columns = (cells.block, cells.channel, cells.time_ms, cells.value, cells.quality)
    for column, dtype in zip(columns, DTYPES, strict=True):
        assert column.dtype == (dtype or kind)
        assert column.shape == (len(cells),)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def assert_same(fast: DecodedBatch, batch: Batch) -> None:
    assert (fast.outbox, fast.seq, fast.meta) == (batch.outbox, batch.seq, batch.meta)
    assert (fast.floor, fast.void) == (batch.floor, batch.void)
    assert fast.meters == tuple(block.meter for block in batch.blocks)
    whole = rows_of(fast.cumulative, np.int64)
    assert whole == rows_of_reference(batch, cumulative=True)
    decimal = rows_of(fast.instantaneous, np.float64)
    expected = rows_of_reference(batch, cumulative=False)
    assert decimal == expected
    # == takes -0.0 for 0.0
    assert [math.copysign(1, row[3]) for row in decimal] == [
        math.copysign(1, row[3]) for row in expected
    ]


def check(data: bytes) -> None:
    batch, error = attempt(data)
    if error is not None:
        with pytest.raises(DecodeError) as refused:
            decode_batch(data)
        assert (refused.value.where, refused.value.reason) == (error.where, error.reason)
    if batch is not None:
        assert_same(decode_batch(data), batch)


def attempt(data: bytes) -> tuple[Batch | None, DecodeError | None]:
    try:
        return decode_data(data), None
    except DecodeError as refused:
        return None, refused


@given(strategies.batches())
def test_every_sound_batch_takes_the_fast_way_and_agrees(batch: Batch) -> None:
    data = encode_data(batch)
    assert_same(decode._decode_fast(data), decode_data(data))
    assert_same(decode_batch(data), decode_data(data))


@given(strategies.tampered("data", strategies.batches().map(encode_data)))
def test_tampered_payloads_agree(data: bytes) -> None:
    check(data)


@given(st.binary(max_size=100))
def test_any_bytes_agree(data: bytes) -> None:
    check(data)


VALUES = st.one_of(
    st.sampled_from(strategies.HOSTILE).map(lambda b: b.decode("latin-1")),
    st.integers().map(str),
    st.floats().map(repr),
    st.decimals(-5_000_000_000, 5_000_000_000, places=7).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


@given(
    st.lists(VALUES | st.just("null"), min_size=1, max_size=5), st.sampled_from(["heat", "flow"])
)
@example(["0.0000005", "0.0000015", "2.5000005", "-0.0000005"], "heat")
@example(["4000000000.0000002", "4000000000.0000003"], "heat")
@example(["-0", "-0.0", "-0e9", "0"], "flow")
@example(["1e308"], "heat")
@example(["9" * 309, "1e400"], "flow")
def test_every_spelling_of_a_number_agrees(values: list[str], channel: str) -> None:
    steps = ",".join(["0"] + ["1"] * (len(values) - 1))
    check(block(f'{{"{channel}":[{",".join(values)}]}}', f"[{steps}]"))


STEPS = st.sampled_from(["0", "1", "-1", "1.0", "2.5", str(MAX_TIME_MS), str(2**63), "1e3", "null"])


@given(
    st.lists(STEPS, max_size=4),
    st.sampled_from(["0", "-1", "1e3", str(MAX_TIME_MS), str(MAX_TIME_MS - 1), "0.5", "9" * 30]),
    st.integers(0, 4),
    st.sampled_from(["", ',"quality":{}', ',"quality":{"power":[]}', ',"quality":{"power":[0]}',
                     ',"quality":{"power":[5,0]}', ',"quality":{"power":[1.0]}',
                     ',"quality":{"power":[257]}', ',"quality":{"power":[-1]}',
                     ',"quality":{"heat":[0]}', ',"quality":null', ',"x":1', ',"t0":7']),
    st.booleans(),
)  # fmt: skip
def test_times_lengths_and_quality_agree(
    steps: list[str], t0: str, length: int, more: str, absent: bool
) -> None:
    values = ["null" if absent else "1"] * length
    check(block(f'{{"power":[{",".join(values)}]}}', f"[{','.join(['0', *steps])}]", t0, more))
    check(block(f'{{"power":[{",".join(values)}]}}', f"[{','.join(steps)}]", t0, more))


@pytest.mark.parametrize("path", sorted((VECTORS / "data").glob("*/*.json")), ids=lambda p: p.stem)
def test_golden_vectors_agree(path: Path) -> None:
    check(path.read_bytes())


@pytest.mark.parametrize("size", [MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 10_000_000])
def test_size(size: int) -> None:
    check(block('{"power":[1]}').ljust(size))


def test_rounding_is_that_of_the_reference() -> None:
    """Ties to even, and the exact micro-unit next to the limit."""
    values = [(2 * n + 1) / 2_000_000 for n in range(500)]
    values += [(MAX_CUMULATIVE_MICRO - n) / 1_000_000 for n in range(500)]
    dt = "[0" + ",1" * (len(values) - 1) + "]"
    fast = decode._decode_fast(block(f'{{"heat":{values}}}', dt))
    assert fast.cumulative.value.tolist() == [to_micro(value) for value in values]
    assert fast.cumulative.value[500:].tolist() == [MAX_CUMULATIVE_MICRO - n for n in range(500)]


def test_what_only_the_reference_understands_is_decoded_by_it() -> None:
    data = (VECTORS / "data" / "valid" / "a-microcontroller.json").read_bytes()
    with pytest.raises(Exception, match=r"unknown field|got `float`"):
        decode._decode_fast(data)
    assert decode_batch(data).instantaneous.value.tolist() == [0.0, 100.0]
