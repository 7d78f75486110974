"""``cmd`` and ``reply``: one order to an edge and its answer.

::

    {"v":1,"id":"c-17","name":"poll-now","expires_ms":1760000000000,"args":{}}
    {"v":1,"id":"c-17","time_ms":1760000000000,"ok":false,"result":{},"error":"unknown command"}

A command is dropped after ``expires_ms`` [ms UTC]. Unknown members of a ``cmd`` are refused: what
an edge does not understand it must not half do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contract import wire
from contract.reading import MAX_TIME_MS, MIN_TIME_MS, check_id


@dataclass(frozen=True, slots=True)
class Command:
    """One order; ``args`` is a JSON object whose meaning ``name`` gives."""

    id: str
    name: str
    expires_ms: int
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the command of the same id; ``error`` is empty when ``ok``."""

    id: str
    time_ms: int
    ok: bool
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def encode_command(command: Command) -> bytes:
    """Return the payload."""
    document = {
        "v": 1,
        "id": command.id,
        "name": command.name,
        "expires_ms": command.expires_ms,
        "args": dict(command.args),
    }
    _decode_command(document)
    return wire.sized(wire.compact(document), wire.MAX_CMD_BYTES)


def decode_command(payload: bytes) -> Command:
    """Return the command of a payload; DecodeError naming where it breaks the contract."""
    return _decode_command(wire.parse_object(payload, wire.MAX_CMD_BYTES))


def _decode_command(document: Mapping[str, Any]) -> Command:
    wire.only(document, ("v", "id", "name", "expires_ms", "args"), "")
    return Command(
        id=_id(document, "id"),
        name=_id(document, "name"),
        expires_ms=wire.integer(document, "expires_ms", "expires_ms", MIN_TIME_MS, MAX_TIME_MS),
        args=wire.as_plain(document.get("args", {}), "args"),
    )


def encode_reply(reply: Reply) -> bytes:
    """Return the payload."""
    document = {
        "v": 1,
        "id": reply.id,
        "time_ms": reply.time_ms,
        "ok": reply.ok,
        "result": dict(reply.result),
        "error": reply.error,
    }
    _decode_reply(document)
    return wire.sized(wire.compact(document), wire.MAX_REPLY_BYTES)


def decode_reply(payload: bytes) -> Reply:
    """Return the reply of a payload; DecodeError naming where it breaks the contract."""
    return _decode_reply(wire.parse_object(payload, wire.MAX_REPLY_BYTES))


def _decode_reply(document: Mapping[str, Any]) -> Reply:
    return Reply(
        id=_id(document, "id"),
        time_ms=wire.integer(document, "time_ms", "time_ms", MIN_TIME_MS, MAX_TIME_MS),
        ok=wire.as_flag(wire.member(document, "ok", "ok"), "ok"),
        result=wire.as_plain(document.get("result", {}), "result"),
        error=wire.as_text(document.get("error", ""), "error", 1_000),
    )


def _id(document: Mapping[str, Any], name: str) -> str:
    return wire.checked(check_id, wire.member(document, name, name), name)
