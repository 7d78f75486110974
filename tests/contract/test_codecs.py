"""Messages round-trip; a payload gives a message or a DecodeError with where, never more."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from contract import wire
from contract.ack import decode_ack, encode_ack
from contract.command import decode_command, decode_reply, encode_command, encode_reply
from contract.data import (
    MAX_ENVELOPE_BYTES,
    Batch,
    Block,
    blocks_of,
    decode_data,
    encode_blocks,
    encode_data,
    encode_envelope,
    readings_of,
)
from contract.meta import decode_meta, encode_meta, meta_hash
from contract.reading import Reading
from contract.state import EdgeState, MeterState, decode_state, encode_state
from contract.units import MAX_CUMULATIVE_MICRO, from_micro, to_micro
from contract.wire import DecodeError
from tests.contract import strategies

SCHEMAS = Path(__file__).parent.parent.parent / "contract" / "schema"
OUTBOX, META = "9f86d081884c7d65", "ab" * 32


@dataclass(frozen=True)
class Codec:
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    messages: st.SearchStrategy[Any]
    limit: int


CODECS: dict[str, Codec] = {
    "meta": Codec(encode_meta, decode_meta, strategies.metas, wire.MAX_META_BYTES),
    "data": Codec(encode_data, decode_data, strategies.batches(), wire.MAX_DATA_BYTES),
    "state": Codec(encode_state, decode_state, strategies.states, wire.MAX_STATE_BYTES),
    "ack": Codec(encode_ack, decode_ack, strategies.acks, wire.MAX_ACK_BYTES),
    "cmd": Codec(encode_command, decode_command, strategies.commands, wire.MAX_CMD_BYTES),
    "reply": Codec(encode_reply, decode_reply, strategies.replies, wire.MAX_REPLY_BYTES),
}
kinds = pytest.mark.parametrize("kind", CODECS)


@cache
def schema(kind: str) -> Draft202012Validator:
    document = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


@kinds
@given(st.data())
def test_every_message_round_trips_and_satisfies_the_schema(kind: str, data: st.DataObject) -> None:
    codec = CODECS[kind]
    message = data.draw(codec.messages)
    payload = codec.encode(message)
    schema(kind).validate(json.loads(payload))
    assert codec.decode(payload) == message
    assert codec.encode(codec.decode(payload)) == payload


@kinds
@given(st.data())
def test_a_tampered_payload_is_refused_with_where_or_satisfies_the_schema(
    kind: str, data: st.DataObject
) -> None:
    codec = CODECS[kind]
    payload = data.draw(strategies.tampered(kind, codec.messages.map(codec.encode)))
    check_one(kind, payload)


@kinds
@given(payload=st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8")))
def test_any_bytes(kind: str, payload: bytes) -> None:
    check_one(kind, payload)


@kinds
@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 200_000,
        b'{"v":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"v":' + b"9" * 10_000 + b"}",
        b'{"v":1,"pad":"' + b"x" * 10_000_000 + b'"}',
        b"\x00" * 10_000_000,
        b'{"' * 5_000,
        b'"' + b'\\"' * 5_000,
    ],
    ids=["deep", "deep-unknown", "huge-integer", "10-MB", "10-MB-of-nothing", "braces", "quotes"],
)
def test_monsters(kind: str, payload: bytes) -> None:
    with pytest.raises(DecodeError) as error:
        CODECS[kind].decode(payload)
    assert error.value.where in {"payload", "v"}


def check_one(kind: str, payload: bytes) -> None:
    codec = CODECS[kind]
    message, error = attempt(codec, payload)
    if error is not None:
        assert error.where
        assert error.reason
        assert len(str(error).encode("utf-8")) < 500  # can be logged
        return
    schema(kind).validate(strategies.load(payload))
    again = codec.encode(message)
    schema(kind).validate(json.loads(again))
    assert codec.decode(again) == message


def attempt(codec: Codec, payload: bytes) -> tuple[Any, DecodeError | None]:
    try:
        return codec.decode(payload), None
    except DecodeError as refused:
        return None, refused


@given(st.lists(strategies.readings(), max_size=60))
def test_readings_come_back_as_the_same_multiset(readings: list[Reading]) -> None:
    batch = Batch(OUTBOX, 1, META, 1, (), blocks_of(readings))
    decoded = list(readings_of(decode_data(encode_data(batch))))
    assert Counter(decoded) == Counter(readings)
    for reading in decoded:
        whole = isinstance(reading.value, int)
        assert whole == (reading.channel in CUMULATIVE)


CUMULATIVE = {
    name for name, _, kind in json.loads((strategies.VECTORS / "catalogue.json").read_bytes())
    if kind == "cumulative"
}  # fmt: skip


@given(strategies.micros)
def test_micro_units_are_exact_at_every_magnitude(micro: int) -> None:
    assert to_micro(from_micro(micro)) == micro
    assert to_micro(json.loads(json.dumps(from_micro(micro)))) == micro


def test_micro_units_are_exact_up_to_the_limit() -> None:
    for micro in range(MAX_CUMULATIVE_MICRO - 20_000, MAX_CUMULATIVE_MICRO + 1):
        assert to_micro(from_micro(micro)) == micro
        assert to_micro(from_micro(-micro)) == -micro
    for value in (from_micro(MAX_CUMULATIVE_MICRO + 1), 1e308, float("nan"), float("-inf")):
        with pytest.raises(ValueError):
            to_micro(value)


def test_a_meta_has_one_name_however_its_numbers_were_given() -> None:
    document = b'{"meters":[],"v":1}'
    assert encode_meta(decode_meta(document)) == document
    channel = '{"name":"heat","unit":"GJ","modulus":%s}'
    meter = '{"v":1,"meters":[{"id":"h","serial":"","model":"m","channels":[' + channel + "]}]}"
    whole, decimal = (encode_meta(decode_meta((meter % n).encode())) for n in ("10", "10.0"))
    assert meta_hash(whole) == meta_hash(decimal)


@pytest.mark.parametrize(
    ("encode", "where"),
    [
        (lambda: encode_data(Batch("x", 1, META, 1, (), ())), "outbox"),
        (lambda: encode_data(Batch(OUTBOX, 0, META, 1, (), ())), "seq"),
        (lambda: encode_data(Batch(OUTBOX, 1, META, 2, (), ())), "floor"),
        (lambda: encode_data(Batch(OUTBOX, 1, META, 1, ((3, 2),), ())), "void[0][1]"),
        (lambda: blocks(Block("EM", (1,), {"power": (1.0,)}, {})), "blocks[0].meter"),
        (lambda: blocks(Block("a", (), {"power": ()}, {})), "blocks[0].dt"),
        (lambda: blocks(Block("a", (2, 1), {"power": (1.0, 2.0)}, {})), "blocks[0].dt[1]"),
        (lambda: blocks(Block("a", (1,), {}, {})), "blocks[0].channels"),
        (lambda: blocks(Block("a", (1,), {"x": (1.0,)}, {})), "blocks[0].channels.x"),
        (lambda: blocks(Block("a", (1,), {"heat": (1.0,)}, {})), "blocks[0].channels.heat[0]"),
        (lambda: blocks(Block("a", (1,), {"heat": (4 * 10**15 + 1,)}, {})),
         "blocks[0].channels.heat[0]"),
        (lambda: blocks(Block("a", (1,), {"power": (float("nan"),)}, {})),
         "blocks[0].channels.power[0]"),
        (lambda: blocks(Block("a", (1,), {"power": (1.0, 2.0)}, {})), "blocks[0].channels.power"),
        (lambda: blocks(Block("a", (1,), {"power": (1.0,)}, {"power": (3,)})),
         "blocks[0].quality.power[0]"),
        (lambda: encode_envelope(OUTBOX, 1, META, 1, (), b"[" + b" " * 65_536 + b"]"), "payload"),
        (lambda: encode_state(EdgeState(online=True, time_ms=1, boot="\x00")), "boot"),
        (lambda: encode_state(EdgeState(
            online=True, time_ms=1, meters=(MeterState("a", ok=True),) * 1_025)), "meters"),
    ],
)  # fmt: skip
def test_an_encoder_gives_out_nothing_a_decoder_refuses(
    encode: Callable[[], bytes], where: str
) -> None:
    with pytest.raises(DecodeError) as error:
        encode()
    assert error.value.where == where


def blocks(block: Block) -> bytes:
    return encode_blocks([block])


def test_the_largest_envelope_leaves_the_room_an_outbox_relies_on() -> None:
    top = wire.MAX_SEQ
    void = [(top - 2 * i - 1, top - 2 * i - 1) for i in reversed(range(wire.MAX_RANGES))]
    envelope = encode_envelope(OUTBOX, top, META, top, void, b"")
    assert len(envelope) <= MAX_ENVELOPE_BYTES


def test_nesting_is_counted_the_same_wherever_it_is_and_whoever_asks() -> None:
    def command(levels: int) -> bytes:
        deep = "[" * levels + "]" * levels
        return b'{"v":1,"id":"c","name":"n","expires_ms":0,"args":{"x":%s}}' % deep.encode()

    def nested_call(depth: int, payload: bytes) -> Any:
        return nested_call(depth - 1, payload) if depth else decode_command(payload)

    deepest = wire.MAX_DEPTH - 2  # the payload and args are two
    assert nested_call(400, command(deepest)) == decode_command(command(deepest))
    assert decode_command(encode_command(decode_command(command(deepest)))).args["x"]
    with pytest.raises(DecodeError, match="payload: nested deeper than 32"):
        decode_command(command(deepest + 1))
    too_deep: Any = []
    for _ in range(deepest):
        too_deep = [too_deep]
    message = decode_command(command(1))
    with pytest.raises(DecodeError, match=r"args\.x.*: nested deeper"):
        encode_command(type(message)("c", "n", 0, {"x": too_deep}))
