"""A Modbus RTU station: function codes 3 and 4, CRC-16, exceptions. Framing of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulators.meter import ILLEGAL_FUNCTION, IllegalRequestError
from simulators.wire import Faults

ReadWords = Callable[[int, int, int], bytes]
"""Function, address, count -> the words' bytes; IllegalRequestError as the product would."""

REQUEST_BYTES = 8
LONGEST = 256
LAST_UNIT = 247


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS as it goes on the wire, bit by bit as the specification's appendix shows."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            carry = register & 1
            register >>= 1
            if carry:
                register ^= 0xA001
    return bytes((register & 0xFF, register >> 8))


class RtuStation:
    """One Modbus RTU meter on a wire. It never answers what is not for its unit."""

    def __init__(self, unit: int, read: ReadWords) -> None:
        self.faults = Faults()
        self._unit = unit
        self._read = read
        self._buffer = b""

    def hear(self, data: bytes) -> Iterator[bytes]:
        self._buffer = (self._buffer + data)[-LONGEST:]
        at = 0
        while at + REQUEST_BYTES <= len(self._buffer):
            frame = self._buffer[at : at + REQUEST_BYTES]
            if crc(frame[:-2]) != frame[-2:]:
                at += 1
                continue
            self._buffer = self._buffer[at + REQUEST_BYTES :]
            at = 0
            if frame[0] == self._unit:
                body = self._answer(frame)
                yield body + crc(body)

    def spoil(self, answer: bytes) -> bytes:
        return answer[:-1] + bytes((answer[-1] ^ 0xFF,))

    def refuse(self, answer: bytes, code: int) -> bytes:
        body = bytes((answer[0], answer[1] | 0x80, code))
        return body + crc(body)

    def foreign(self, answer: bytes) -> bytes:
        body = bytes((answer[0] % LAST_UNIT + 1,)) + answer[1:-2]
        return body + crc(body)

    def _answer(self, frame: bytes) -> bytes:
        function = frame[1]
        head = bytes((self._unit, function))
        try:
            if function not in (3, 4):
                raise IllegalRequestError(ILLEGAL_FUNCTION)
            address, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
            words = self._read(function, address, count)
        except IllegalRequestError as error:
            return bytes((self._unit, function | 0x80, error.code))
        return head + bytes((len(words),)) + words
