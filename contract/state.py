"""``state``: how an edge is. Retained, and the last will says offline.

Every field the fleet screen shows is here. Members are named like the fields below; units are in
the names. A member that is absent has the field's default: the will is ``{"v":1,"online":false,
"time_ms":..}``, its time that of the connection it ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from contract import wire
from contract.wire import MAX_SEQ, DecodeError

MAX_LISTED = 1_024
"""Most buses or meters in one state."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """The gateway's clock: ``source`` is ntp, ack (estimated from acks), rtc, saved (known to an
    earlier process since the same boot) or none: readings are then held, and the aggregator
    answers a state that is not ``synchronised`` with an ack that tells its time.
    """

    source: str = "none"
    synchronised: bool = False
    offset_ms: int | None = None
    """Aggregator's clock minus this clock, as far as known [ms]."""


@dataclass(frozen=True, slots=True)
class OutboxState:
    """The durable buffer. Depth counts what is committed here and not yet acked."""

    id: str = ""
    next_seq: int = 1
    upto: int = 0
    """Every batch up to and including it is settled."""
    depth_batches: int = 0
    depth_readings: int = 0
    depth_bytes: int = 0
    oldest_age_s: int | None = None
    """Age of the oldest unacked reading [s]; None when all is acked."""
    held_bytes: int = 0
    """Acked and unacked batches on disk [bytes]."""
    limit_bytes: int = 0
    horizon_s: int | None = None
    """How long the free room lasts without a network at the present rate [s]."""
    dropped_readings: int = 0
    """Readings given up since the outbox was made, for want of room or as undecodable."""
    thinned_readings: int = 0
    """Old samples thinned away for want of room since the outbox was made; never registers."""
    lost_batches: int = 0
    """Batches that a damaged file could not give back since the outbox was made."""
    timeless_readings: int = 0
    """Readings held here until their time is known."""
    alarm_percent: int = 0
    """70 or 90 when unacked readings fill so much of the room, else 0."""
    durable: bool = True
    """False when the disk cannot be written: readings are in memory alone."""


@dataclass(frozen=True, slots=True)
class UplinkState:
    """Counts since the process began."""

    connects: int = 0
    sent_batches: int = 0
    acked_batches: int = 0
    resent_batches: int = 0
    quarantined_batches: int = 0


@dataclass(frozen=True, slots=True)
class BusState:
    """One bus. Counts since the process began."""

    id: str
    kind: str
    cycles: int = 0
    missed_cycles: int = 0
    """Grid points at which no poll began because the one before was not done."""
    cycle_ms: int | None = None
    """Length of the last cycle [ms]."""


@dataclass(frozen=True, slots=True)
class MeterState:
    """One meter. Counts since the process began."""

    id: str
    ok: bool
    polls: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed polls by kind: timeout, garbled, connection, exception, decode, backed_off ..."""
    last_ok_ms: int | None = None
    latency_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EdgeState:
    """All that an edge says of itself at ``time_ms`` [ms UTC, the edge's clock]."""

    online: bool
    time_ms: int
    boot: str = ""
    """Random id of this process."""
    started_ms: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the agent, Python and the contract."""
    certificate_expires_ms: int | None = None
    clock: ClockState = field(default_factory=ClockState)
    outbox: OutboxState = field(default_factory=OutboxState)
    uplink: UplinkState = field(default_factory=UplinkState)
    buses: tuple[BusState, ...] = ()
    meters: tuple[MeterState, ...] = ()


def offline_state(time_ms: int) -> EdgeState:
    """Return the last will of a connection made at ``time_ms`` [ms UTC]."""
    return EdgeState(online=False, time_ms=time_ms)


def encode_state(state: EdgeState) -> bytes:
    """Return the payload; an offline state carries no more than its time."""
    members = _document(state)
    if not state.online:
        members = {"online": False, "time_ms": state.time_ms}
    document = {"v": 1, **members}
    _reader(EdgeState)(document, "")
    return wire.sized(wire.compact(document), wire.MAX_STATE_BYTES)


def _document(value: Any) -> Any:
    """Return what JSON writes for a value of the tree."""
    if is_dataclass(value):
        return {entry.name: _document(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return [_document(member) for member in value] if isinstance(value, tuple) else value


def decode_state(payload: bytes) -> EdgeState:
    """Return the state of a payload; DecodeError naming where it breaks the contract."""
    document = wire.parse_object(payload, wire.MAX_STATE_BYTES)
    state: EdgeState = _reader(EdgeState)(document, "")
    return state


_Reader = Callable[[object, str], Any]
"""Takes a JSON value and its path; DecodeError."""


@cache
def _reader(kind: Any) -> _Reader:
    """Return what decodes values by the type of the field they stand for."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_dataclass(kind) and isinstance(kind, type):
        return _reader_of_members(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType and NoneType in arguments:
        some = _reader(arguments[0])
        return lambda value, where: None if value is None else some(value, where)
    if origin is tuple:
        member = _reader(arguments[0])
        return lambda value, where: tuple(
            member(one, f"{where}[{i}]")
            for i, one in enumerate(wire.as_list(value, where, MAX_LISTED))
        )
    named = _reader(arguments[1])
    return lambda value, where: {
        wire.as_text(name, wire.path(where, name)): named(one, wire.path(where, name))
        for name, one in wire.as_object(value, where).items()
    }


_PLAIN: Mapping[Any, _Reader] = {
    bool: wire.as_flag,
    int: lambda value, where: wire.as_integer(value, where, -MAX_SEQ, MAX_SEQ),
    str: wire.as_text,
}


def _reader_of_members(kind: type) -> _Reader:
    hints = get_type_hints(kind)
    known = [
        (entry.name, _reader(hints[entry.name]), _is_required(entry)) for entry in fields(kind)
    ]

    def read(value: object, where: str) -> object:
        document = wire.as_object(value, where or "payload")
        members: dict[str, Any] = {}
        for name, reader, required in known:
            at = f"{where}.{name}" if where else name
            if name in document:
                members[name] = reader(document[name], at)
            elif required:
                raise DecodeError(at, "missing")
        return kind(**members)

    return read


def _is_required(entry: Field[Any]) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING
