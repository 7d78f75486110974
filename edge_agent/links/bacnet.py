"""BACnet/IP over bacpypes3, and the only file that knows it: present values of a device's objects.

Of an extra. The one service it uses is ReadProperty, which every device has; whatever others ask of
it goes unanswered. Each request bears a number of its own, so a late answer is nobody's.
"""

import asyncio
import logging
import socket
import struct
from typing import Any

from edge_agent.codecs.bacnet import OBJECT_TYPES, ReadObjects
from edge_agent.errors import LinkError, LinkTimeoutError, MeterError

ANY_DEVICE = 4_194_303
"""Instance by which every device knows itself."""
OURS = 4_194_302
_FAULT, _OUT_OF_SERVICE = 0x40, 0x10
_UNSIGNED, _SIGNED, _REAL, _DOUBLE = 2, 3, 4, 5
_BITS = 8


class BacnetLink:
    """One device; see `MeterLink`."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """Keep the endpoint; nothing is opened yet."""
        # It logs what a broken datagram sets off; the poller reports the change of state.
        logging.getLogger("bacpypes3").setLevel(logging.CRITICAL)
        self._where = f"bacnet {host}:{port}"
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._application: Any = None
        self._device: Any = None

    @property
    def is_open(self) -> bool:
        return self._application is not None

    async def open(self) -> None:
        """Open a socket and see that somebody answers: UDP itself would not tell."""
        if self.is_open:
            return
        try:
            from bacpypes3.pdu import IPv4Address  # noqa: PLC0415 - of an extra
        except ImportError as error:
            raise LinkError(self._where, 'needs: pip install "nenghao[bacnet]"') from error
        try:
            ours, theirs = await asyncio.to_thread(_addresses, self._host, self._port)
            self._device = IPv4Address(f"{theirs}:{self._port}")
            self._application = _application(IPv4Address(f"{ours}/32:0"), self._timeout_s)
        except (OSError, ValueError) as error:
            raise LinkError(self._where, f"cannot open: {error}") from error
        opened = False
        try:
            await self._property("device", ANY_DEVICE, "object-identifier")
            opened = True
        except MeterError:
            opened = True  # a refusal is an answer too
        except LinkError as error:
            raise LinkError(self._where, f"cannot connect: {error.reason}") from error
        finally:
            if not opened:
                await self.close()

    async def read(self, question: ReadObjects) -> tuple[float | int | None, ...]:
        """Return the values; None for one at fault or out of service."""
        await self.open()
        try:
            return tuple([await self._value(name) for name in question.objects])
        except LinkError:
            await self.close()
            raise

    async def close(self) -> None:
        application, self._application = self._application, None
        if application is not None:
            application.close()

    async def _value(self, name: str) -> float | int | None:
        kind, _, instance = name.partition(",")
        number = _number(await self._property(kind, int(instance), "present-value"))
        try:
            flags = await self._property(kind, int(instance), "status-flags")
        except MeterError:  # an object without them is not known to be at fault
            return number
        return None if _at_fault(flags) else number

    async def _property(self, kind: str, instance: int, name: str) -> list[tuple[int, bytes]]:
        """Number and content of the tags of a property. Errors as of `MeterLink.read`."""
        from bacpypes3.apdu import (  # noqa: PLC0415
            AbortPDU,
            ErrorPDU,
            ErrorRejectAbortNack,
            ReadPropertyRequest,
        )
        from bacpypes3.primitivedata import ObjectIdentifier, TagClass  # noqa: PLC0415

        where = f"{self._where} {kind},{instance}"
        request = ReadPropertyRequest(
            objectIdentifier=ObjectIdentifier((OBJECT_TYPES.get(kind, kind), instance)),
            propertyIdentifier=name,
            destination=self._device,
        )
        silent = f"did not answer within {self._timeout_s:g} s"
        try:
            async with asyncio.timeout(2 * self._timeout_s):  # its own clock ends it before
                answer = await self._application.request(request)
        except TimeoutError as error:
            raise LinkTimeoutError(where, silent) from error
        except ErrorRejectAbortNack as error:
            if isinstance(error, AbortPDU):
                if str(error.apduAbortRejectReason) == "no-response":
                    raise LinkTimeoutError(where, silent) from None
                raise LinkError(where, f"aborted: {error.apduAbortRejectReason}") from None
            said = error.errorCode if isinstance(error, ErrorPDU) else error.reason
            raise MeterError(where, str(said)) from None
        except Exception as error:
            raise LinkError(where, f"cannot be asked: {error!r}") from error
        return [
            (tag.tag_number, bytes(tag.tag_data))
            for tag in answer.propertyValue.tagList
            if tag.tag_class == TagClass.application
        ]


def _number(tags: list[tuple[int, bytes]]) -> float | int | None:
    """The number in the tags of a present value; a single-precision one by its shortest decimal."""
    if len(tags) != 1:
        return None
    kind, data = tags[0]
    if kind in (_UNSIGNED, _SIGNED) and data:
        return int.from_bytes(data, signed=kind == _SIGNED)
    if kind == _DOUBLE and len(data) == 8:
        return float(struct.unpack(">d", data)[0])
    if kind == _REAL and len(data) == 4:
        value = float(struct.unpack(">f", data)[0])
        shown = (float(f"{value:.{digits}g}") for digits in range(6, 10))
        return next((short for short in shown if struct.pack(">f", short) == data), value)
    return None


def _at_fault(flags: list[tuple[int, bytes]]) -> bool:
    """Whether status flags (a bit string: unused bits, bits) say fault or out of service."""
    return any(
        kind == _BITS and len(data) > 1 and data[1] & (_FAULT | _OUT_OF_SERVICE) != 0
        for kind, data in flags
    )


def _addresses(host: str, port: int) -> tuple[str, str]:
    """Our address on the way to the host, and its own. OSError when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))  # sends nothing
        return probe.getsockname()[0], probe.getpeername()[0]


def _application(ours: Any, timeout_s: float) -> Any:
    from bacpypes3.ipv4.app import NormalApplication  # noqa: PLC0415
    from bacpypes3.local.device import DeviceObject  # noqa: PLC0415

    class Reader(NormalApplication):  # type: ignore[misc]
        """Asks and never answers: a gateway is no device of the building."""

        async def indication(self, pdu: Any) -> None:
            """Take a request of somebody else."""

    device = DeviceObject(
        objectIdentifier=("device", OURS),
        objectName="edge",
        vendorIdentifier=0,
        numberOfApduRetries=0,  # the poller decides when to try again
        apduTimeout=round(timeout_s * 1000),
    )
    return Reader(device, ours)
