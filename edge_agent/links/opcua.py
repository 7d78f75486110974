"""OPC UA over asyncua, and the only file that knows it: values of a plant's own server.

Of an extra: asyncua is too heavy for a small gateway. The session is anonymous and unencrypted, as
inside a plant's network; the link reads and subscribes to nothing.
"""

import asyncio
from typing import Any

from edge_agent.codecs.opcua import ReadNodes
from edge_agent.errors import LinkError, LinkTimeoutError, MeterError

HANDSHAKES = 4
"""What a connection takes, and a slow server as much time for each."""


class OpcUaLink:
    """One server; see `MeterLink`."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Keep the endpoint; nothing is opened yet."""
        self._url = f"opc.tcp://{host}:{port}"
        self._timeout_s = timeout_s
        self._client: Any = None

    @property
    def is_open(self) -> bool:
        return self._client is not None

    async def open(self) -> None:
        if self.is_open:
            return
        try:
            import asyncua  # noqa: PLC0415 - heavy, and of an extra
        except ImportError as error:
            raise LinkError(self._url, 'needs: pip install "nenghao[opcua]"') from error
        client = asyncua.Client(self._url, timeout=HANDSHAKES * self._timeout_s)
        try:
            await client.connect()
        except Exception as error:
            await self._leave(client)
            raise LinkError(self._url, f"cannot connect: {error!r}") from error
        self._client = client

    async def read(self, question: ReadNodes) -> tuple[Any, ...]:
        """Return the values; None for one that is not good. MeterError when none is."""
        await self.open()
        done = False
        try:
            found = await self._ask(question.nodes)
            done = True
        except TimeoutError as error:
            reason = f"meter {question.meter} did not answer within {self._timeout_s:g} s"
            raise LinkTimeoutError(self._url, reason) from error
        except Exception as error:
            raise LinkError(self._url, f"meter {question.meter}: {error!r}") from error
        finally:
            if not done:
                await self.close()
        values = tuple(
            value.Value.Value if value.StatusCode.is_good() and value.Value is not None else None
            for value in found
        )
        if all(value is None for value in values):
            where = f"{self._url} meter {question.meter} node {question.nodes[0]}"
            raise MeterError(where, found[0].StatusCode.name)
        return values

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await self._leave(client)

    async def _ask(self, nodes: tuple[str, ...]) -> Any:
        from asyncua import ua  # noqa: PLC0415

        ids = [ua.NodeId.from_string(node) for node in nodes]
        async with asyncio.timeout(self._timeout_s):
            return await self._client.uaclient.read_attributes(ids, ua.AttributeIds.Value)

    async def _leave(self, client: Any) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.disconnect()
        except Exception:  # noqa: BLE001, S110 - the other side may be gone
            pass
