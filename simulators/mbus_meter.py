"""An M-Bus station: resets, selection by secondary address, telegrams with the frame count bit.

Framing and records of its own. `record` writes one number as a binary or BCD record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simulators.wire import Faults

ACK = b"\xe5"
SELECTED = 253
LAST_PRIMARY = 250
ERROR = 0x70
LONG_HEAD = 4


@dataclass(frozen=True, slots=True)
class Secondary:
    """Number as printed (8 digits), maker's three letters, version, medium."""

    number: str
    maker: str
    version: int
    medium: int

    def as_bytes(self) -> bytes:
        """As in a telegram's head: number low byte first, maker in five bits a letter."""
        letters = [ord(letter) - 64 for letter in self.maker]
        maker = letters[0] << 10 | letters[1] << 5 | letters[2]
        number = bytes.fromhex(self.number)[::-1]
        return number + maker.to_bytes(2, "little") + bytes((self.version, self.medium))


def record(vif: str, value: int, *, dif: int = 0x04, dife: str = "") -> bytes:
    """One record. dif 04 = 32 bits, 06 = 48 bits, 0C = 8 BCD digits, 0B = 6, 0A = 4."""
    head = bytes((dif | (0x80 if dife else 0),)) + bytes.fromhex(dife) + bytes.fromhex(vif)
    lengths = {0x01: 1, 0x02: 2, 0x03: 3, 0x04: 4, 0x06: 6}
    if dif & 0x0F in lengths:
        return head + value.to_bytes(lengths[dif & 0x0F], "little", signed=True)
    digits = {0x09: 2, 0x0A: 4, 0x0B: 6, 0x0C: 8}[dif & 0x0F]
    return head + bytes.fromhex(f"{value:0{digits}d}")[::-1]


class MbusStation:
    """One meter on a wire, with primary and secondary address."""

    def __init__(
        self, primary: int, secondary: Secondary, telegrams: Callable[[], Sequence[bytes]]
    ) -> None:
        """`telegrams` = the records of each telegram, asked for when a readout begins."""
        self.faults = Faults()
        self._primary = primary
        self._secondary = secondary.as_bytes()
        self._telegrams = telegrams
        self._readout: list[bytes] = []
        self._at = -1
        self._fcb: int | None = None
        self._selected = False
        self._buffer = b""

    def hear(self, data: bytes) -> Iterator[bytes]:
        self._buffer = (self._buffer + data)[-300:]
        at = 0
        while at < len(self._buffer):
            size, body = self._frame_at(at)
            if body:
                self._buffer = self._buffer[at + size :]
                at = 0
                yield from self._answer(body)
            else:
                at += 1

    def spoil(self, answer: bytes) -> bytes:
        at = -2 if len(answer) > 1 else -1
        spoiled = bytearray(answer)
        spoiled[at] ^= 0x01
        return bytes(spoiled)

    def refuse(self, answer: bytes, code: int) -> bytes:
        """A telegram of the application's error; an acknowledgement stays, as it says no more."""
        return answer if answer == ACK else _long(answer[4:6] + bytes((ERROR, code)))

    def foreign(self, answer: bytes) -> bytes:
        """With other addresses; nothing for an acknowledgement, which names nobody."""
        if answer == ACK:
            return b""
        primary, number = answer[5] % LAST_PRIMARY + 1, 0x99 - answer[7]
        return _long(answer[4:5] + bytes((primary, answer[6], number)) + answer[8:-2])

    def _frame_at(self, at: int) -> tuple[int, bytes]:
        """Length and body of the whole frame that begins at `at`; an empty body when none does."""
        head = self._buffer[at : at + LONG_HEAD]
        if head[:1] == b"\x10":
            size, begin = 5, 1
        elif len(head) == LONG_HEAD and head[0] == head[3] == 0x68 and head[1] == head[2]:
            size, begin = head[1] + 6, LONG_HEAD
        else:
            return 0, b""
        frame = self._buffer[at : at + size]
        body = frame[begin : size - 2]
        whole = len(frame) == size and frame[-1] == 0x16
        return (size, body) if whole and sum(body) % 256 == frame[-2] else (0, b"")

    def _answer(self, body: bytes) -> Iterator[bytes]:
        control, address = body[0], body[1]
        if control == 0x53 and address == SELECTED and body[2] == 0x52:
            self._selected = self._is_meant(body[3:11])
            self._at, self._fcb = -1, None
            if self._selected:
                yield ACK
            return
        if address not in (self._primary, 254) and not (address == SELECTED and self._selected):
            return
        if control == 0x40:
            self._at, self._fcb = -1, None
            self._selected = self._selected and address != SELECTED
            yield ACK
        elif control & 0xDF == 0x5B:
            yield self._telegram(control & 0x20)
        # writes are for a configuration tool: no answer

    def _is_meant(self, pattern: bytes) -> bool:
        number = zip(pattern[:4].hex(), self._secondary[:4].hex(), strict=True)
        rest = zip(pattern[4:], self._secondary[4:], strict=True)
        return all(a in ("f", b) for a, b in number) and all(a in (0xFF, b) for a, b in rest)

    def _telegram(self, fcb: int) -> bytes:
        if fcb != self._fcb or self._at < 0:
            self._fcb = fcb
            self._at += 1
            if self._at == 0 or self._at >= len(self._readout):
                self._readout, self._at = list(self._telegrams()), 0
        more = b"\x1f" if self._at + 1 < len(self._readout) else b""
        head = self._secondary + bytes((self._at, 0, 0, 0))
        return _long(bytes((0x08, self._primary, 0x72)) + head + self._readout[self._at] + more)


def _long(body: bytes) -> bytes:
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) % 256, 0x16))
