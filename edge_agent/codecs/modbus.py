"""Modbus: the question for words, and its serial framing (RTU): unit, function, data, CRC-16."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.errors import LinkError, LinkTimeoutError, MeterError

_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledge: takes longer",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}
_SILENT_TARGET = 11
_PASSING = {5, 6, 10}


@dataclass(frozen=True, slots=True)
class ReadWords:
    """Read `count` 16-bit words from `address` of meter `device` by function 3 or 4."""

    device: int
    function: int
    address: int
    count: int

    def __post_init__(self) -> None:
        """ValueError for any function but a read."""
        if self.function not in (3, 4):
            raise ValueError(f"function {self.function} is no read")

    @property
    def unit(self) -> str:
        return f"unit {self.device}"

    @property
    def request(self) -> bytes:
        return with_crc(struct.pack(">BBHH", self.device, self.function, self.address, self.count))

    @property
    def answer_bytes(self) -> int:
        return 5 + 2 * self.count

    def find(self, heard: bytes) -> Sequence[int] | None:
        good = bytes((self.device, self.function, 2 * self.count))
        refused = bytes((self.device, self.function | 0x80))
        for at in range(len(heard) - 4):
            if heard.startswith(good, at):
                frame = heard[at : at + self.answer_bytes]
                if len(frame) == self.answer_bytes and has_crc(frame):
                    return struct.unpack(f">{self.count}H", frame[3:-2])
            elif heard.startswith(refused, at) and has_crc(heard[at : at + 5]):
                refuse(f"{self.unit} address {self.address}", heard[at + 2])
        return None

    def damage(self, heard: bytes) -> str:
        at = heard.removeprefix(self.request).find(bytes((self.device, self.function)))
        return "" if at < 0 else "the answer is broken (CRC or length)"


def refuse(where: str, code: int) -> None:
    """Raise what the exception `code` of an answer means: MeterError, or LinkError if it passes."""
    reason = f"{_EXCEPTIONS.get(code, 'exception')} (code {code})"
    if code == _SILENT_TARGET:
        raise LinkTimeoutError(where, reason)
    if code in _PASSING:
        raise LinkError(where, reason)
    raise MeterError(where, reason)


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC = _table()


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS: polynomial 0x8005 reflected, start 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def with_crc(data: bytes) -> bytes:
    """Append the checksum, low byte first."""
    return data + crc16(data).to_bytes(2, "little")


def has_crc(frame: bytes) -> bool:
    """Tell whether a frame ends with its own checksum."""
    return crc16(frame[:-2]).to_bytes(2, "little") == frame[-2:]
