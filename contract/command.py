"""``cmd`` and ``reply``: one order to an edge and its answer. Experimental in version 1.

::

    {"v":1,"id":"c-17","name":"poll-now","expires":1760000000000,"args":{}}
    {"v":1,"id":"c-17","time":1760000000000,"ok":false,"result":{},"error":"unknown command"}

A command is dropped after ``expires`` [ms UTC]. Unknown members of a ``cmd`` are refused: what an
edge does not understand it must not half do.
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
    return wire.compact(
        {
            "v": 1,
            "id": command.id,
            "name": command.name,
            "expires": command.expires_ms,
            "args": dict(command.args),
        }
    )


def decode_command(payload: bytes) -> Command:
    """Return the command of a payload; DecodeError naming where it breaks the contract."""
    document = wire.parse_object(payload, wire.MAX_CMD_BYTES)
    wire.only(document, ("v", "id", "name", "expires", "args"), "")
    return Command(
        id=_id(document, "id"),
        name=_id(document, "name"),
        expires_ms=wire.integer(document, "expires", "expires", MIN_TIME_MS, MAX_TIME_MS),
        args=wire.as_object(document.get("args", {}), "args"),
    )


def encode_reply(reply: Reply) -> bytes:
    """Return the payload."""
    return wire.compact(
        {
            "v": 1,
            "id": reply.id,
            "time": reply.time_ms,
            "ok": reply.ok,
            "result": dict(reply.result),
            "error": reply.error,
        }
    )


def decode_reply(payload: bytes) -> Reply:
    """Return the reply of a payload; DecodeError naming where it breaks the contract."""
    document = wire.parse_object(payload, wire.MAX_REPLY_BYTES)
    return Reply(
        id=_id(document, "id"),
        time_ms=wire.integer(document, "time", "time", MIN_TIME_MS, MAX_TIME_MS),
        ok=wire.as_flag(wire.member(document, "ok", "ok"), "ok"),
        result=wire.as_object(document.get("result", {}), "result"),
        error=wire.as_text(document.get("error", ""), "error", 1_000),
    )


def _id(document: Mapping[str, Any], name: str) -> str:
    return wire.checked(check_id, wire.member(document, name, name), name)
