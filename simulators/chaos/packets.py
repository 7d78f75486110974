"""MQTT 3.1.1 as far as a wire must know it to spoil it: packets, PUBLISH of QoS 1, PUBACK. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

PUBLISH = 3
PUBACK = 4
_MOST_LENGTH_BYTES = 4


class NotMqttError(ValueError):
    """The bytes are no packets."""


@dataclass(slots=True)
class Packets:
    """Cuts a stream into packets."""

    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; returns the packets that are whole now. NotMqttError."""
        self._rest += data
        found = []
        while (size := _size(self._rest)) is not None and size <= len(self._rest):
            found.append(bytes(self._rest[:size]))
            del self._rest[:size]
        return found


def kind_of(packet: bytes) -> int:
    """The type in the fixed header."""
    return packet[0] >> 4


def message_id(packet: bytes) -> int | None:
    """Packet identifier of a PUBLISH with QoS 1 or of a PUBACK; None for all others."""
    kind = kind_of(packet)
    if kind != PUBACK and not (kind == PUBLISH and packet[0] >> 1 & 3 == 1):
        return None
    at = _body(packet)
    if kind == PUBLISH:
        at += 2 + int.from_bytes(packet[at : at + 2], "big")
    return int.from_bytes(packet[at : at + 2], "big")


def puback(identifier: int) -> bytes:
    """The packet that takes a PUBLISH from its sender."""
    return bytes((PUBACK << 4, 2)) + identifier.to_bytes(2, "big")


def _body(packet: bytes) -> int:
    at = 1
    while packet[at] & 0x80:
        at += 1
    return at + 1


def _size(data: bytearray) -> int | None:
    length = 0
    for at in range(1, _MOST_LENGTH_BYTES + 1):
        if at >= len(data):
            return None
        length |= (data[at] & 0x7F) << 7 * (at - 1)
        if not data[at] & 0x80:
            return at + 1 + length
    raise NotMqttError("a length of more than four bytes")
