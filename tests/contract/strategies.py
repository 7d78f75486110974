"""What the codec tests draw: sound messages, and payloads that were tampered with."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from contract.ack import Ack, OutboxAck
from contract.channels import catalogue
from contract.command import Command, Reply
from contract.data import Batch, blocks_of
from contract.meta import Meta, MetaChannel, MetaMeter
from contract.reading import MAX_TIME_MS, Quality, Reading
from contract.state import (
    BusState,
    ClockState,
    EdgeState,
    MeterState,
    OutboxState,
    UplinkState,
    offline_state,
)
from contract.units import MAX_CUMULATIVE_MICRO
from contract.wire import MAX_SEQ, Range

VECTORS = Path(__file__).parent.parent.parent / "contract" / "vectors" / "v1"

ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
names = st.sampled_from(sorted(catalogue()))
times_ms = st.integers(0, MAX_TIME_MS)
counts = st.integers(0, MAX_SEQ)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
micros = st.one_of(
    st.integers(-MAX_CUMULATIVE_MICRO, MAX_CUMULATIVE_MICRO),
    # every magnitude alike, not only the largest
    st.integers(0, 51).flatmap(lambda bits: st.integers(2**bits, min(2 ** (bits + 1), 4 * 10**15))),
)
doubles = st.floats(allow_nan=False, allow_infinity=False)


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.integers(0, 16**digits - 1).map(lambda n: f"{n:0{digits}x}")


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    channel = draw(names)
    value = draw(micros if catalogue()[channel].cumulative else doubles)
    # few meters and times, so that rows are shared, doubled and out of order
    meter = draw(st.sampled_from(["em-01", "em-02", "w"]))
    time_ms = draw(st.one_of(st.integers(1_760_000_000_000, 1_760_000_000_004), times_ms))
    return Reading(meter, channel, time_ms, value, draw(st.sampled_from(list(Quality))))


@st.composite
def ranges(draw: st.DrawFn, above: int = 0, most: int = 6) -> tuple[Range, ...]:
    edges = draw(st.lists(st.integers(above + 1, MAX_SEQ), max_size=2 * most, unique=True))
    edges.sort()
    return tuple(zip(edges[::2], edges[1::2], strict=False))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    seq = draw(st.integers(1, MAX_SEQ))
    return Batch(
        outbox=draw(hexadecimal(16)),
        seq=seq,
        meta=draw(hexadecimal(64)),
        floor=draw(st.integers(1, seq)),
        void=draw(ranges()),
        blocks=blocks_of(draw(st.lists(readings(), max_size=40))),
    )


limits = st.none() | st.floats(1e-6, 4e9)
meta_channels = st.builds(
    lambda name, modulus, rating: MetaChannel(name, catalogue()[name].unit, modulus, rating),
    names,
    limits,
    limits,
)
metas = st.builds(
    Meta,
    st.lists(
        st.builds(
            MetaMeter,
            ids,
            texts,
            ids,
            st.lists(meta_channels, max_size=4, unique_by=lambda c: c.name).map(tuple),
        ),
        max_size=4,
        unique_by=lambda m: m.id,
    ).map(tuple),
)


@st.composite
def outbox_acks(draw: st.DrawFn) -> OutboxAck:
    upto = draw(st.integers(0, MAX_SEQ - 1))
    return OutboxAck(upto, draw(ranges(above=upto)))


acks = st.builds(
    Ack,
    times_ms,
    st.dictionaries(hexadecimal(16), outbox_acks(), max_size=4),
    st.lists(hexadecimal(64), max_size=3).map(tuple),
)
meter_states = st.builds(
    MeterState, texts, st.booleans(), counts, st.dictionaries(texts, counts, max_size=3),
    st.none() | counts, st.none() | counts,
)  # fmt: skip
states = st.one_of(
    times_ms.map(offline_state),
    st.builds(
        EdgeState, st.just(value=True), counts, texts, st.none() | counts,
        st.dictionaries(texts, texts, max_size=3), st.none() | counts,
        st.builds(ClockState, texts, st.booleans(), st.none() | st.integers(-MAX_SEQ, MAX_SEQ)),
        st.builds(OutboxState, hexadecimal(16), counts, counts, horizon_s=st.none() | counts),
        st.builds(UplinkState, counts, counts),
        st.lists(st.builds(BusState, texts, texts, counts), max_size=3).map(tuple),
        st.lists(meter_states, max_size=3).map(tuple),
    ),
)  # fmt: skip
documents = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | doubles | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
commands = st.builds(Command, ids, ids, times_ms, documents)
replies = st.builds(Reply, ids, times_ms, st.booleans(), documents, texts)


# ------------------------------------------------------------------------------ hostile payloads

HOSTILE = [
    b"NaN", b"-Infinity", b"1e999", b"-1e999", b"9" * 5_000, b"-" + b"9" * 400, b"1" + b"0" * 308,
    b"1.0", b"1e0", b"-0", b"-0.0", b"0.5", b"1e-400", b"5e-324", b"9007199254740993",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"-1", b"0", b"1",
    b"2", b"3", b"140737488355328", b"140737488355329", b"4000000000", b"4000000000.0000005",
    b"4000000001", b"0.0000005", b"0.0000015", b"2.5000005", b"1234567.0000015",
    b"true", b"false", b"null", b"[]", b"{}", b"[0]", b"[1]", b"[[1,1]]", b"[[2,1]]", b"[1,2]",
    b"[0,0]", b"[null]", b"[true]", b"[1.0]", b"[-0]", b'""', b'"x"', b'"\\ud800"', b'"\xff"',
    b'"\\u0000"', b'"em-01\\n"', b'"\xed\xa0\x80"', b'"\\u0065m-01"', b"01", b"+1", b".5", b"1.",
    b"'x'", b"[" * 40 + b"]" * 40, b"[" * 5_000, b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"power":[1]}', b'{"power":[null]}', b'{"powr":[1]}', b'{"power":1}', b'{"\\u0070ower":[1]}',
    b'{"power":[1],"power":[2]}', b'{"energy_import":[0.0000005]}', b'{"energy_import":[5e9]}',
    b'{"power":[3]}', b'{"power":[]}', b'{"power":[0]}', b'{"power":[5]}', b'{"power":[256]}',
]  # fmt: skip
"""Values put in the place of others."""


def _spans(payload: bytes) -> list[tuple[int, int]]:
    """Where each member and each value of a compact JSON payload stands."""
    found: list[tuple[int, int]] = []
    starts: list[int] = []
    i = 0
    while i < len(payload):
        character = payload[i : i + 1]
        if character == b'"':
            end = i + 1
            while payload[end : end + 1] not in {b'"', b""}:
                end += 2 if payload[end : end + 1] == b"\\" else 1
            found.append((i, end + 1))
            i = end + 1
        elif character in b"[{":
            starts.append(i)
            i += 1
        elif character in b"]}":
            found.append((starts.pop(), i + 1))
            i += 1
        elif character in b",: \r\n\t":
            i += 1
        else:
            end = i
            while payload[end : end + 1] not in {b",", b"]", b"}", b""}:
                end += 1
            found.append((i, end))
            i = end
    return found


SEEDS: dict[str, list[bytes]] = {
    kind: [path.read_bytes() for path in sorted((VECTORS / kind / "valid").glob("*.json"))]
    for kind in ("meta", "data", "state", "ack", "cmd", "reply")
}


@st.composite
def tampered(draw: st.DrawFn, kind: str, sound: st.SearchStrategy[bytes]) -> bytes:
    """A sound payload with one to three things done to it."""
    payload = draw(st.sampled_from(SEEDS[kind]) | sound)
    for _ in range(draw(st.integers(1, 3))):
        payload = draw(_tampered_once(payload))
    return payload


@st.composite
def _tampered_once(draw: st.DrawFn, payload: bytes) -> bytes:
    how = draw(st.integers(0, 9))
    if how == 0:
        return payload[: draw(st.integers(0, len(payload)))]
    if how == 1:
        at = draw(st.integers(0, len(payload)))
        return payload[:at] + draw(st.binary(min_size=1, max_size=3)) + payload[at + 1 :]
    if how == 2:
        at = draw(st.integers(0, len(payload)))
        return payload[:at] + draw(st.sampled_from(HOSTILE)) + payload[at:]
    try:
        spans = _spans(payload)
    except IndexError:
        spans = []
    if not spans:
        return payload
    start, end = draw(st.sampled_from(spans))
    piece = payload[start:end]
    if how == 3 and piece[:1] == b"{" and len(piece) > 2:  # a member more, or once more
        name = draw(st.sampled_from([b'"x"', b'"v"', b'"seq"', b'"dt"', b'"meter"', b'"quality"']))
        more = name + b":" + draw(st.sampled_from(HOSTILE))
        inside = draw(st.sampled_from([more + b"," + piece[1:-1], piece[1:-1] + b"," + more]))
        return payload[:start] + b"{" + inside + b"}" + payload[end:]
    if how == 4 and payload[end : end + 1] == b",":  # one fewer
        return payload[:start] + payload[end + 1 :]
    if how == 5:  # one more
        return payload[:end] + b"," + piece + payload[end:]
    return payload[:start] + draw(st.sampled_from(HOSTILE)) + payload[end:]


def load(payload: bytes) -> Any:
    """Plain JSON, integers of any length included."""
    return json.loads(payload, parse_int=lambda d: int(d) if len(d) < 400 else float("inf"))
