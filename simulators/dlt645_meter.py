"""A DL/T 645 station: reads, follow-up frames, its address, errors. Framing of its own.

The image of data is handed in: identifier -> bytes as they go on the wire before 33H is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simulators.wire import Faults

Image = Callable[[str], bytes | None]
"""Data identifier, high byte first as in the standard -> its data, None when there is none."""
NO_SUCH_DATA = 0x02
LONGEST = 512


class Dlt645Station:
    """One meter of the 2007 or the 1997 edition on a wire."""

    def __init__(self, address: str, image: Image, *, most_data: int = 190) -> None:
        """`most_data` = data bytes in one answer; what is longer is sent in several [bytes]."""
        self.faults = Faults()
        self.time_told = b""
        """Data of the last broadcast of the time: second, minute, hour, day, month, year."""
        self._address = bytes(int(address[at : at + 2], 16) for at in range(10, -2, -2))
        self._image = image
        self._most_data = most_data
        self._buffer = b""
        self._next_part = 1

    def hear(self, data: bytes) -> Iterator[bytes]:
        self._buffer = (self._buffer + data)[-LONGEST:]
        at = -1
        # Other protocols may share the wire: what looks like a frame's beginning need not be one.
        while (at := self._buffer.find(b"\x68", at + 1)) >= 0:
            frame = self._buffer[at : at + 12 + (self._buffer[at + 9 : at + 10] or b"\0")[0]]
            if len(frame) < 12 or frame[7] != 0x68 or frame[-1] != 0x16:
                continue
            if len(frame) == 12 + frame[9] and sum(frame[:-2]) % 256 == frame[-2]:
                self._buffer = self._buffer[at + len(frame) :]
                at = -1
                content = bytes((byte - 0x33) % 256 for byte in frame[10:-2])
                yield from self._answer(frame[1:7], frame[8], content)

    def spoil(self, answer: bytes) -> bytes:
        return answer[:-2] + bytes(((answer[-2] + 1) % 256,)) + answer[-1:]

    def refuse(self, answer: bytes, code: int) -> bytes:
        return self._frame(answer[10] & 0x9F | 0xC0, bytes((code,)))

    def foreign(self, answer: bytes) -> bytes:
        """Of the address whose lowest digits are the complement of this one's."""
        body = answer[2:3] + bytes((0x99 - answer[3],)) + answer[4:-2]
        return body + bytes((sum(body) % 256, 0x16))

    def _answer(self, address: bytes, control: int, content: bytes) -> Iterator[bytes]:
        if address == b"\x99" * 6 and control == 0x08:
            self.time_told = content
            return
        wildcard = all(
            asked in (own, 0xAA) for asked, own in zip(address, self._address, strict=True)
        )
        if not wildcard:
            return
        if control == 0x13:
            yield self._frame(0x93, self._address)
        elif control in (0x11, 0x01):
            self._next_part = 1
            yield self._part(control, content, 0)
        elif control == 0x12:
            yield self._part(control, content[:4], content[4])
        elif control == 0x02:  # the 1997 edition does not number its parts
            yield self._part(control, content, self._next_part)
            self._next_part += 1
        else:  # a meter that is only read refuses every write
            yield self._frame(control | 0xC0, bytes((0x04,)))

    def _part(self, control: int, identifier: bytes, number: int) -> bytes:
        data = self._image(identifier[::-1].hex().upper())
        if data is None:
            return self._frame(control | 0xC0, bytes((NO_SUCH_DATA,)))
        part = data[number * self._most_data :][: self._most_data]
        more = 0x20 if len(data) > (number + 1) * self._most_data else 0
        tail = bytes((number,)) if control == 0x12 else b""
        return self._frame(control | 0x80 | more, identifier + part + tail)

    def _frame(self, control: int, content: bytes) -> bytes:
        head = b"\x68" + self._address + b"\x68" + bytes((control, len(content)))
        body = head + bytes((byte + 0x33) % 256 for byte in content)
        return b"\xfe\xfe" + body + bytes((sum(body) % 256, 0x16))
