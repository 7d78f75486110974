"""Modbus TCP over pymodbus, and the only file that knows pymodbus."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException, ModbusIOException
from pymodbus.pdu import ExceptionResponse

from edge_agent.codecs.modbus import ReadWords, refuse
from edge_agent.errors import LinkError, LinkTimeoutError


class ModbusTcpLink:
    """One TCP connection to a meter or to a gateway with several units."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Keep the endpoint; nothing is opened yet.

        Args:
            host: name or address.
            port: TCP port.
            timeout_s: longest wait for the connection and for each answer [s].
        """
        # pymodbus logs a dump of the last packets for every silent meter; the poller reports the
        # change of state instead. CRITICAL, not the root's level: nobody wants the dump.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._where = f"{host}:{port}"
        self._client: AsyncModbusTcpClient | None = None

    @property
    def is_open(self) -> bool:
        return self._client is not None and self._client.connected

    async def open(self) -> None:
        if self.is_open:
            return
        self._drop()
        # A fresh client each time: no state of the old connection can leak into the new one.
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._timeout_s,
            retries=0,  # the poller decides when to try again
            reconnect_delay=0,  # and when to connect
            trace_connect=self._connection_changed,
        )
        self._client = client
        self._guard(client)
        try:
            connected = await client.connect()
        except BaseException:
            self._drop()
            raise
        if not connected:
            self._drop()
            raise LinkError(self._where, "cannot connect")

    async def read(self, question: ReadWords) -> Sequence[int]:
        unit, address, count = question.device, question.address, question.count
        await self.open()
        client = self._client
        if client is None:
            raise LinkError(self._where, "connection lost")
        ask = (
            client.read_holding_registers if question.function == 3 else client.read_input_registers
        )
        answered = False
        try:
            answer = await ask(address, count=count, device_id=unit)
            answered = True
        except ConnectionException as error:
            raise LinkError(self._where, "connection lost") from error
        except ModbusIOException as error:
            if "No response" in str(error):
                reason = f"unit {unit} did not answer within {self._timeout_s:g} s"
                raise LinkTimeoutError(self._where, reason) from error
            raise LinkError(self._where, f"unit {unit}: {error}") from error
        except (ModbusException, OSError, asyncio.IncompleteReadError) as error:
            raise LinkError(self._where, f"unit {unit}: {error}") from error
        finally:
            if not answered:
                # Timed out, cut or cancelled: an answer still under way dies with its connection.
                self._drop()
        where = f"{self._where} unit {unit} address {address}"
        if isinstance(answer, ExceptionResponse) or answer.isError():
            refuse(where, int(answer.exception_code))
        words = answer.registers
        if len(words) != count:
            self._drop()
            raise LinkError(where, f"answered with {len(words)} words instead of {count}")
        return words

    async def close(self) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    def _guard(self, client: AsyncModbusTcpClient) -> None:
        """Turn an answer pymodbus cannot read into an error of the read that waits for it.

        Otherwise the exception ends in asyncio's handler, as a traceback on stderr per answer.
        """
        manager = client.ctx
        take = manager.callback_data

        def guarded(data: bytes, addr: tuple[Any, ...] | None = None) -> int:
            try:
                return int(take(data, addr=addr))
            except Exception as error:  # noqa: BLE001 - whatever a broken answer sets off
                self._fail(client, ModbusIOException(f"unreadable answer: {error}"))
                return len(data)

        manager.callback_data = guarded  # type: ignore[method-assign]

    def _connection_changed(self, connected: bool) -> None:  # noqa: FBT001 - pymodbus calls it
        """Fail a read that waits on a connection the other side closed, at once."""
        if connected or self._client is None:
            return
        self._fail(self._client, ConnectionException("closed by the other side"))

    @staticmethod
    def _fail(client: AsyncModbusTcpClient, error: ModbusException) -> None:
        waiting = client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(error)
            waiting.exception()  # seen, in case nobody waits for it
