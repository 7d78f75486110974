"""``ack``: what the aggregator's store has committed, per outbox.

::

    {"v":1,"time_ms":1760000000000,"outboxes":{"9f86d081884c7d65":{"upto":12,"ranges":[[15,20]]}},
     "need_meta":["<sha-256>"]}

``upto``: every batch up to and including it is settled (committed, given up or below the floor).
``ranges``: batches above it that are settled too, at most 64 of them. An edge adds what it is told
to what it knows; no ack takes one back, so acks may be lost, doubled or come out of order.
``time_ms`` is the aggregator's clock [ms UTC]. ``need_meta`` names metas whose data cannot be
committed until they are published again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract import wire
from contract.data import META_DIGITS, OUTBOX_DIGITS
from contract.reading import MAX_TIME_MS, MIN_TIME_MS
from contract.wire import DecodeError, Range

MAX_OUTBOXES = 16
MAX_NEED_META = 16


@dataclass(frozen=True, slots=True)
class OutboxAck:
    """What is settled of one outbox: all up to ``upto``, and the ranges above it."""

    upto: int
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledgement to one edge."""

    time_ms: int
    outboxes: Mapping[str, OutboxAck]
    need_meta: tuple[str, ...] = ()


def encode_ack(ack: Ack) -> bytes:
    """Return the payload."""
    document = {
        "v": 1,
        "time_ms": ack.time_ms,
        "outboxes": {
            outbox: {"upto": settled.upto, "ranges": [[low, high] for low, high in settled.ranges]}
            for outbox, settled in ack.outboxes.items()
        },
        "need_meta": list(ack.need_meta),
    }
    _decode(document)
    return wire.sized(wire.compact(document), wire.MAX_ACK_BYTES)


def decode_ack(payload: bytes) -> Ack:
    """Return the ack of a payload; DecodeError naming where it breaks the contract."""
    return _decode(wire.parse_object(payload, wire.MAX_ACK_BYTES))


def _decode(document: Mapping[str, Any]) -> Ack:
    outboxes = wire.as_object(wire.member(document, "outboxes", "outboxes"), "outboxes")
    if len(outboxes) > MAX_OUTBOXES:
        raise DecodeError("outboxes", f"{len(outboxes)} members, more than {MAX_OUTBOXES}")
    needed = wire.as_list(document.get("need_meta", []), "need_meta", MAX_NEED_META)
    return Ack(
        time_ms=wire.integer(document, "time_ms", "time_ms", MIN_TIME_MS, MAX_TIME_MS),
        outboxes={
            wire.hexadecimal(outbox, "outboxes", OUTBOX_DIGITS): _decode_outbox(
                value, f"outboxes.{outbox}"
            )
            for outbox, value in outboxes.items()
        },
        need_meta=tuple(
            wire.hexadecimal(name, f"need_meta[{i}]", META_DIGITS) for i, name in enumerate(needed)
        ),
    )


def _decode_outbox(value: object, where: str) -> OutboxAck:
    document = wire.as_object(value, where)
    upto = wire.integer(document, "upto", f"{where}.upto")
    ranges = wire.as_ranges(document.get("ranges", []), f"{where}.ranges")
    if ranges and ranges[0][0] <= upto:
        raise DecodeError(f"{where}.ranges[0]", f"not above upto {upto}")
    return OutboxAck(upto, ranges)
