"""A CJ/T 188 station: answers reads, in the byte order of its edition. Framing of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulators.wire import Faults

Image = Callable[[], bytes | None]
"""The data of the meter's current values, as on the wire after the sequence number."""

LONGEST = 512


class Cjt188Station:
    """One water, gas or heat meter on a wire."""

    def __init__(self, kind: int, address: str, data_id: bytes, image: Image) -> None:
        """`data_id` = the identifier of current data, in the order this meter sends it."""
        self.faults = Faults()
        self._kind = kind
        self._address = bytes(int(address[at : at + 2], 16) for at in range(12, -2, -2))
        self._data_id = data_id
        self._image = image
        self._buffer = b""

    def hear(self, data: bytes) -> Iterator[bytes]:
        self._buffer = (self._buffer + data)[-LONGEST:]
        at = -1
        # Other protocols may share the wire: what looks like a frame's beginning need not be one.
        while (at := self._buffer.find(b"\x68", at + 1)) >= 0:
            frame = self._buffer[at : at + 13 + (self._buffer[at + 10 : at + 11] or b"\0")[0]]
            if len(frame) < 13 or frame[-1] != 0x16 or len(frame) != 13 + frame[10]:
                continue
            if sum(frame[:-2]) % 256 != frame[-2]:
                continue
            self._buffer = self._buffer[at + len(frame) :]
            at = -1
            if frame[1] in (self._kind, 0xAA) and frame[2:9] in (self._address, b"\xaa" * 7):
                yield from self._answer(frame[9], frame[11:-2])

    def spoil(self, answer: bytes) -> bytes:
        return answer[:-2] + bytes(((answer[-2] + 1) % 256,)) + answer[-1:]

    def refuse(self, answer: bytes, code: int) -> bytes:
        sequence = answer[13:14] if answer[11] & 0x40 else answer[15:16]
        return self._frame(answer[11] | 0x40, sequence + bytes((code, 0x80)))

    def foreign(self, answer: bytes) -> bytes:
        """Of the address whose lowest digits are the complement of this one's."""
        body = answer[2:4] + bytes((0x99 - answer[4],)) + answer[5:-2]
        return body + bytes((sum(body) % 256, 0x16))

    def _answer(self, control: int, content: bytes) -> Iterator[bytes]:
        values = self._image() if content[:2] == self._data_id else None
        if control == 0x01 and values is not None:
            yield self._frame(0x81, content[:3] + values)
        else:  # a write, or an unknown identifier: bit 6 says so, a status of two bytes follows
            yield self._frame(control | 0xC0, content[2:3] + b"\x00\x80")

    def _frame(self, control: int, content: bytes) -> bytes:
        body = bytes((0x68, self._kind)) + self._address + bytes((control, len(content))) + content
        return b"\xfe\xfe" + body + bytes((sum(body) % 256, 0x16))
