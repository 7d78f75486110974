"""CJ/T 188: water, gas and heat meters. Frames, the question for data, units.

A frame is ``68 T A0..A6 C L DATA CS 16``: T the kind of meter, the address as 14 digits in BCD, low
byte first, CS = sum of all bytes from 68 on, modulo 256. Nothing is added to the bytes of DATA.
DATA begins with the data identifier and a sequence number. The 2004 edition sends identifier 901F
as ``90 1F``, the 2018 edition as ``1F 90``, and makers mix: what is asked is written here as it
goes on the wire; an answer may come in either order.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from edge_agent.codecs.base import Heard, heard_of
from edge_agent.errors import MeterError

LEAD = b"\xfe\xfe\xfe\xfe"
ANY_KIND = 0xAA
ANY = "A" * 14
"""Address every meter answers to: for a wire with one meter only."""
MOST_DATA = 100
"""Longest DATA of an answer [bytes]."""

_START, _END = 0x68, 0x16
_OVERHEAD = 13
_READ, _READ_DONE, _READ_FAILED = 0x01, 0x81, 0xC1

_BASE_UNITS = {
    0x02: "Wh", 0x05: "kWh", 0x08: "MWh", 0x0B: "kJ", 0x0E: "MJ", 0x11: "GJ",
    0x14: "W", 0x17: "kW", 0x1A: "MW", 0x29: "L", 0x2C: "m3", 0x32: "L/h", 0x35: "m3/h",
    0x40: "J/h", 0x43: "kJ/h", 0x46: "MJ/h", 0x49: "GJ/h",
}  # fmt: skip
UNITS: Mapping[int, tuple[str, Decimal]] = {
    0x01: ("J", Decimal(1)),
    **{
        code + power: (unit, Decimal(10) ** power)
        for code, unit in _BASE_UNITS.items()
        for power in range(3)
    },
}
"""Unit byte -> unit and factor: each unit's next two codes are ten and a hundred of it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame with a right checksum."""

    kind: int
    address: str
    control: int
    data: bytes


def encode(kind: int, address: str, control: int, data: bytes) -> bytes:
    """The bytes of a frame. `address`: 14 digits, or A for a wildcard, high digit first."""
    body = bytes((_START, kind, *bytes.fromhex(address)[::-1], control, len(data))) + data
    return body + bytes((sum(body) & 0xFF, _END))


def frames(heard: bytes) -> Iterator[Frame | None]:
    """Yield the frames in what was heard, in order; None for what looks like a broken one."""
    at = 0
    while (at := heard.find(_START, at)) >= 0:
        head = heard[at : at + 11]
        if len(head) < 11:
            yield None
            return
        end = at + _OVERHEAD + head[10]
        frame = heard[at:end]
        if len(frame) == end - at and frame[-1] == _END and sum(frame[:-2]) & 0xFF == frame[-2]:
            yield Frame(frame[1], frame[8:1:-1].hex().upper(), frame[9], frame[11:-2])
            at = end
        else:
            yield None
            at += 1


@dataclass(frozen=True, slots=True)
class ReadMeter:
    """Read the data under `id` (4 digits, as on the wire) of a meter of kind `kind`."""

    kind: int
    address: str
    id: str

    @property
    def unit(self) -> str:
        return f"meter {self.address}"

    @property
    def request(self) -> bytes:
        return LEAD + encode(self.kind, self.address, _READ, bytes.fromhex(self.id) + b"\0")

    @property
    def answer_bytes(self) -> int:
        return len(LEAD) + _OVERHEAD + MOST_DATA

    def find(self, heard: bytes) -> bytes | None:
        """The data after identifier and sequence number."""
        either = (bytes.fromhex(self.id), bytes.fromhex(self.id)[::-1])
        for frame in frames(heard):
            if frame is None or self.address not in (frame.address, ANY):
                continue
            if frame.kind >> 4 != self.kind >> 4:  # 20 to 2F are all heat meters
                continue
            if frame.control == _READ_FAILED:
                status = frame.data[1:].hex(" ").upper()
                raise MeterError(f"{self.unit} data {self.id}", f"cannot answer (status {status})")
            if frame.control == _READ_DONE and frame.data.startswith(either):
                return frame.data[3:]
        return None

    def damage(self, heard: bytes) -> str:
        rest = heard.removeprefix(self.request)
        return "the answer is broken (checksum or length)" if None in list(frames(rest)) else ""


@dataclass(frozen=True, slots=True)
class CallMeters:
    """Ask all meters of a kind (`ANY_KIND` = of all kinds) for the data under `id`.

    Who answers is told as kind and address: ``20/00112233445566``.
    """

    kind: int
    id: str
    address: str = ANY
    answer_bytes = len(LEAD) + _OVERHEAD + MOST_DATA

    @property
    def request(self) -> bytes:
        return ReadMeter(self.kind, self.address, self.id).request

    def heard(self, data: bytes) -> Heard:
        rest = data.removeprefix(self.request)
        who = []
        for frame in filter(None, frames(rest)):
            whole = encode(frame.kind, frame.address, frame.control, frame.data)
            rest = rest.replace(whole, b"", 1)
            answers = frame.control in (_READ_DONE, _READ_FAILED) and frame.address.isdecimal()
            if answers and self.address in (ANY, frame.address):
                who.append(f"{frame.kind:02X}/{frame.address}")
        return heard_of(who, rest)


def is_address(text: str) -> bool:
    """Whether `text` is an address of this protocol."""
    return re.fullmatch(f"[0-9]{{14}}|{ANY}", text) is not None
