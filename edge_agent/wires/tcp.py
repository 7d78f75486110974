"""A TCP connection to a serial server, or to a meter that speaks a serial protocol over TCP."""

import asyncio

from edge_agent.errors import LinkError
from edge_agent.wires.base import Inbox


class _Reader(asyncio.Protocol):
    """Puts what comes into the inbox of its own connection."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def data_received(self, data: bytes) -> None:
        self._inbox.put(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inbox.broke("closed by the other side" if exc is None else f"connection lost: {exc}")


class TcpWire:
    """One TCP connection. Each opening is a new one with an empty inbox."""

    baud = 0
    drops_late = True

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Keep the endpoint; nothing is opened yet.

        Args:
            host: name or address.
            port: TCP port.
            timeout_s: longest wait for the connection [s].
        """
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._transport: asyncio.WriteTransport | None = None
        self._inbox = Inbox()

    @property
    def where(self) -> str:
        return f"{self._host}:{self._port}"

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def open(self) -> None:
        if self.is_open:
            return
        self.close()
        inbox = Inbox()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                transport, _ = await loop.create_connection(
                    lambda: _Reader(inbox), self._host, self._port
                )
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._timeout_s:g} s"
            raise LinkError(self.where, f"cannot connect: {reason}") from error
        self._inbox = inbox
        self._transport = transport

    async def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            self.close()
            raise LinkError(self.where, "connection lost")
        self._transport.write(data)

    async def receive(self, deadline: float) -> bytes:
        return await self._inbox.take(deadline, self.where, self.close)

    def close(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
        self._inbox = Inbox()
