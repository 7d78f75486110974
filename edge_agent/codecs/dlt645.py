"""DL/T 645-2007, and the 1997 edition: frames, questions, answers.

A frame is ``68 A0..A5 68 C L DATA CS 16``: the address as 12 digits in BCD, low byte first; each
byte of DATA plus 33H; CS = sum of all bytes from the first 68 on, modulo 256. FE bytes may lead.
A data identifier is written here as it stands in the standard, high byte first: ``00010000``
(2007, four bytes) or ``9010`` (1997, two).

Nothing here writes to a meter, but for one message: the broadcast of the time, `SetClocks`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from edge_agent.codecs.base import Heard, heard_of
from edge_agent.errors import MeterError

LEAD = b"\xfe\xfe\xfe\xfe"
ANY = "A" * 12
"""Address every meter answers to: for a wire with one meter only."""
BROADCAST = "9" * 12
MOST_DATA = 200
"""Longest DATA of an answer [bytes]."""

_OFFSET = 0x33
_START, _END = 0x68, 0x16
_OVERHEAD = 12
_FAILED, _MORE = 0x40, 0x20

_ERRORS_2007 = (
    "other error", "no such data", "wrong password or not authorised", "baud rate not changeable",
    "too many seasons", "too many day periods", "too many tariffs",
)  # fmt: skip
_ERRORS_1997 = (
    "illegal data", "wrong data identifier", "wrong password", "reserved", "too many seasons",
    "too many day periods", "too many tariffs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame with a right checksum. `data` without the 33H."""

    address: str
    control: int
    data: bytes


def encode(address: str, control: int, data: bytes = b"") -> bytes:
    """The bytes of a frame. `address`: 12 digits, or A for a wildcard, high digit first."""
    body = bytes((_START, *bytes.fromhex(address)[::-1], _START, control, len(data)))
    body += bytes(byte + _OFFSET & 0xFF for byte in data)
    return body + bytes((sum(body) & 0xFF, _END))


def frames(heard: bytes) -> Iterator[Frame | None]:
    """Yield the frames in what was heard, in order; None for what looks like a broken one."""
    at = 0
    while (at := heard.find(_START, at)) >= 0:
        head = heard[at : at + 10]
        if len(head) > 7 and head[7] != _START:
            at += 1
            continue
        if len(head) < 10:
            yield None
            return
        end = at + _OVERHEAD + head[9]
        frame = heard[at:end]
        if len(frame) == end - at and frame[-1] == _END and sum(frame[:-2]) & 0xFF == frame[-2]:
            data = bytes(byte - _OFFSET & 0xFF for byte in frame[10:-2])
            yield Frame(frame[6:0:-1].hex().upper(), frame[8], data)
            at = end
        else:
            yield None
            at += 1


@dataclass(frozen=True, slots=True)
class Block:
    """Data of one answer; `more`: another frame of it can be asked for."""

    data: bytes
    more: bool


@dataclass(frozen=True, slots=True)
class ReadData:
    """Read what stands under data identifier `id` (8 digits 2007, 4 digits 1997).

    `sequence` > 0 asks for the next frame of an answer that was too long for one.
    """

    address: str
    id: str
    length: int = MOST_DATA
    """Bytes expected: for the time they need on the wire."""
    sequence: int = 0

    @property
    def unit(self) -> str:
        return f"meter {self.address}"

    @property
    def request(self) -> bytes:
        identifier = bytes.fromhex(self.id)[::-1]
        number = bytes((self.sequence,)) if self.sequence and self._is_2007 else b""
        return LEAD + encode(self.address, self._control, identifier + number)

    @property
    def answer_bytes(self) -> int:
        return len(LEAD) + _OVERHEAD + 5 + self.length

    @property
    def _is_2007(self) -> bool:
        return len(self.id) == 8

    @property
    def _control(self) -> int:
        return (0x11 if self._is_2007 else 0x01) + bool(self.sequence)

    def find(self, heard: bytes) -> Block | None:
        identifier = bytes.fromhex(self.id)[::-1]
        good = self._control | 0x80
        numbered = bool(self.sequence) and self._is_2007
        for frame in frames(heard):
            if frame is None or self.address not in (frame.address, ANY):
                continue
            if frame.control == good | _FAILED:
                self._refused(frame.data)
            if frame.control & ~_MORE != good or not frame.data.startswith(identifier):
                continue
            data = frame.data[len(identifier) :]
            if numbered:
                if data[-1:] != bytes((self.sequence,)):
                    continue  # another part of the same answer
                data = data[:-1]
            return Block(data, bool(frame.control & _MORE))
        return None

    def damage(self, heard: bytes) -> str:
        return _damage(self.request, heard)

    def _refused(self, data: bytes) -> NoReturn:
        bits = data[0] if data else 0
        names = _ERRORS_2007 if self._is_2007 else _ERRORS_1997
        said = [name for bit, name in enumerate(names) if bits >> bit & 1] or ["an error"]
        reason = f"{', '.join(said)} (error byte {bits:02X})"
        raise MeterError(f"{self.unit} data {self.id}", reason)


@dataclass(frozen=True, slots=True)
class ReadAddress:
    """Ask the only meter of a wire for its address."""

    unit = "meter with unknown address"
    request = LEAD + encode(ANY, 0x13)
    answer_bytes = len(LEAD) + _OVERHEAD + 6

    def find(self, heard: bytes) -> str | None:
        for frame in frames(heard):
            if frame is not None and frame.control == 0x93 and len(frame.data) == 6:
                return frame.data[::-1].hex()
        return None

    def damage(self, heard: bytes) -> str:
        return _damage(self.request, heard)


@dataclass(frozen=True, slots=True)
class CallMeters:
    """Ask all meters whose address fits: for the data `id`, or for their address when it is empty.

    `address`: low bytes of an address after AA for the high ones, as the standard shortens it.
    """

    address: str = ANY
    id: str = ""
    answer_bytes = len(LEAD) + _OVERHEAD + 16

    @property
    def request(self) -> bytes:
        if not self.id:
            return LEAD + encode(self.address, 0x13)
        return ReadData(self.address, self.id).request

    def heard(self, data: bytes) -> Heard:
        control = 0x13 if not self.id else 0x11 if len(self.id) == 8 else 0x01
        rest = data.removeprefix(self.request)
        who = []
        for frame in filter(None, frames(rest)):
            whole = encode(frame.address, frame.control, frame.data)
            rest = rest.replace(whole, b"", 1)
            if frame.control & 0x9F == control | 0x80 and self._fits(frame.address):
                who.append(frame.address)
        return heard_of(who, rest)

    def _fits(self, address: str) -> bool:
        if not address.isdecimal():
            return False
        wild = self.address == BROADCAST
        return wild or all(a in ("A", b) for a, b in zip(self.address, address, strict=True))


@dataclass(frozen=True, slots=True)
class SetClocks:
    """Set the clocks of all meters on the wire: a broadcast, which nobody answers.

    The only message here that changes anything in a meter; a link sends it only where the bus is
    configured to.
    """

    moment: datetime
    """In the meters' local time."""

    @property
    def message(self) -> bytes:
        """The whole frame."""
        return LEAD + encode(BROADCAST, 0x08, bytes.fromhex(self.moment.strftime("%S%M%H%d%m%y")))


def _damage(request: bytes, heard: bytes) -> str:
    rest = heard.removeprefix(request)
    return "the answer is broken (checksum or length)" if None in list(frames(rest)) else ""
