"""A Modbus TCP server around one simulated meter: MBAP framing, function codes 3 and 4.

Written out instead of using a library's server, because a district is stepped through a day at
one poll a minute on a small machine: one answer costs a few microseconds beside the encoding.

The faults are those of the serial meters. TCP brings bytes whole, so what stands for a broken
checksum is an answer that contradicts itself, as a gateway sends that does not check its wire.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from simulators.meter import ILLEGAL_FUNCTION, IllegalRequestError, SimulatedMeter
from simulators.wire import faulty

MBAP = struct.Struct(">HHHB")
READ = struct.Struct(">BHH")
READ_FUNCTIONS = (3, 4)
GATEWAY_NO_RESPONSE = 0x0B
MAX_FRAME_LENGTH = 254  # unit id and PDU


class ModbusServer(asyncio.Protocol):
    """One connection to a meter. A frame that is not Modbus TCP closes it."""

    def __init__(self, meter: SimulatedMeter, now_ms: Callable[[], int]) -> None:
        self._meter = meter
        self.faults = meter.faults
        self._now_ms = now_ms
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= MBAP.size:
            transaction, protocol, length, unit = MBAP.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= MAX_FRAME_LENGTH:
                if self._transport is not None:
                    self._transport.abort()
                self._buffer = b""
                return
            end = MBAP.size - 1 + length
            if len(self._buffer) < end:
                return
            pdu = self._buffer[MBAP.size : end]
            self._buffer = self._buffer[end:]
            answer = self._answer(unit, pdu)
            header = MBAP.pack(transaction, 0, len(answer) + 1, unit)
            frame, late_s = faulty(self, header + answer)
            if late_s:
                asyncio.get_running_loop().call_later(late_s, self._write, frame)
            else:
                self._write(frame)

    def _write(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def spoil(self, answer: bytes) -> bytes:
        """The byte after the function, a count or a code, is wrong."""
        return answer[:8] + bytes((answer[8] ^ 0xFF,)) + answer[9:]

    def refuse(self, answer: bytes, code: int) -> bytes:
        return answer[:4] + bytes((0, 3, answer[6], answer[7] | 0x80, code))

    def foreign(self, answer: bytes) -> bytes:
        """Of another unit, to another transaction."""
        return bytes((answer[0] ^ 0xFF,)) + answer[1:6] + bytes((answer[6] ^ 0xFF,)) + answer[7:]

    def _answer(self, unit: int, pdu: bytes) -> bytes:
        function = pdu[0]
        if unit != self._meter.identity.unit:
            return bytes((function | 0x80, GATEWAY_NO_RESPONSE))
        if function not in READ_FUNCTIONS or len(pdu) != READ.size:
            return bytes((function & 0x7F | 0x80, ILLEGAL_FUNCTION))
        _, address, count = READ.unpack(pdu)
        try:
            data = self._meter.read(function, address, count, self._now_ms())
        except IllegalRequestError as error:
            return bytes((function | 0x80, error.code))
        return bytes((function, len(data))) + data


async def serve_modbus(
    meter: SimulatedMeter, now_ms: Callable[[], int], host: str = "127.0.0.1", port: int = 0
) -> asyncio.Server:
    """Start a meter's own TCP server; port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: ModbusServer(meter, now_ms), host, port)
