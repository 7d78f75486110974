"""Drains the outbox to the broker; the only file that knows aiomqtt.

MQTT 3.1.1, QoS 1, clean session. A broker's PUBACK frees nothing: only the aggregator's own ack,
which arrives on the ack topic, settles a batch (`edge_agent.window` says what is sent when).

A connection: subscribe to ack and cmd, publish the retained state, then data; the meta a batch was
read under is published before the first batch of it on each connection, and again when asked for.
Only the meta in use is retained, so that a backlog read under an old one does not replace it.
`publish` always gets a timeout: in aiomqtt one that is under way when the broker dies hangs
without it. It is `publish_timeout_s` and 1 s per 1000 bytes, so that a link of 8 kbit/s passes the
largest message; one message goes at a time, so that a small one does not time out behind it.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from contract.ack import decode_ack
from contract.command import Command, Reply, decode_command, encode_reply
from contract.data import encode_envelope
from contract.state import UplinkState, encode_state, offline_state
from contract.topics import Address, MessageKind, topic
from contract.wire import DecodeError
from edge_agent.clock import Clock
from edge_agent.config import UplinkConfig
from edge_agent.errors import OutboxError
from edge_agent.events import (
    AckIgnored,
    BatchGivenUp,
    BatchUnreadable,
    CommandRefused,
    Emit,
    MetaRepeated,
    UplinkDown,
    UplinkUp,
)
from edge_agent.outbox.base import Outbox
from edge_agent.window import Window

SLOWEST_BYTES_PER_S = 1000
"""A link this slow is slow, not lost."""
SPREAD = 8
"""Pauses are up to so many times `reconnect_min_s` from the first on, at random; later more."""
META_PAUSE_S = 1.0
"""A burst of acks that all need the same meta gets it once."""

Told = Callable[[int, float, float], None]
"""Told the aggregator's time [ms UTC] in answer to what was sent and heard at [monotonic s]."""


class Obeys(Protocol):
    """Carries out commands."""

    async def carry_out(self, command: Command) -> Reply | None:
        """Return the reply, None when it comes later or was given already."""
        ...

    def replied(self, command: Command) -> None:
        """The reply to a command has left."""
        ...

    def due_replies(self) -> Sequence[Reply]:
        """Take the replies to commands of an earlier connection or process."""
        ...


class _Finished(Exception):  # noqa: N818 - not an error: ends a session that has drained
    pass


@dataclass(slots=True)
class _Counts:
    connects: int = 0
    sent: int = 0
    resent: int = 0
    quarantined: int = 0


class Uplink:
    """One connection after the other until `stop`."""

    def __init__(
        self,
        config: UplinkConfig,
        address: Address,
        outbox: Outbox,
        clock: Clock,
        emit: Emit,
        state: Callable[[], bytes],
        commands: Obeys | None = None,
        told: Told | None = None,
    ) -> None:
        """`state` gives the payload of the state message whenever one is due."""
        self._config = config
        self._address = address
        self._outbox = outbox
        self._clock = clock
        self._emit = emit
        self._state = state
        self._commands = commands
        self._told = told
        self._asked_at: float | None = None
        """When the first state was sent since one was last answered with the time."""
        self._window = Window(
            outbox,
            config.window,
            config.ack_timeout_s,
            config.ack_timeout_max_s,
            config.max_tries,
        )
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._drained = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._drain_s = 0.0
        self._counts = _Counts()
        self._offset_ms: int | None = None
        self._up: bool | None = None
        self._refused = False
        self._metas: set[str] = set()
        self._needed: dict[str, float] = {}
        self._meta_sent_at: dict[str, float] = {}
        self._said = _LastError()
        self._random = random.Random()  # noqa: S311 - spreads reconnects, guards no secret

    # ------------------------------------------------------------------------------- outside

    def notify(self) -> None:
        """New batches were committed."""
        self._wake.set()

    def stop(self, drain_s: float) -> None:
        """Make `run` end: at once without a connection, else after the last acks or `drain_s`."""
        self._drain_s = drain_s
        self._stop.set()
        self._check_drained()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return bool(self._up)

    def counts(self) -> UplinkState:
        """Counts since the process began, for the state message."""
        return UplinkState(
            connects=self._counts.connects,
            sent_batches=self._counts.sent,
            acked_batches=self._window.acked,
            resent_batches=self._counts.resent,
            quarantined_batches=self._counts.quarantined,
        )

    def clock_offset_ms(self) -> int | None:
        """Aggregator's clock minus this one at the last ack [ms], the way of the ack included."""
        return self._offset_ms

    async def run(self) -> None:
        """Connect, drain, reconnect with random exponential back-off, until `stop`."""
        failures = 0
        while not self._stop.is_set():
            connects = self._counts.connects
            try:
                await self._session()
                return
            except* (aiomqtt.MqttError, OSError) as group:
                self._down(group.exceptions[0])
            finally:
                self._window.connection_lost()
            failures = 0 if self._counts.connects > connects else failures + 1
            # Wide from the first time on: a broker that comes back must not meet all edges at once.
            high = min(
                self._config.reconnect_min_s * max(SPREAD, 2 ** min(failures, 20)),
                self._config.reconnect_max_s,
            )
            pause_s = self._random.uniform(self._config.reconnect_min_s / 2, high)
            # Not `asyncio.timeout`: a task group that ended with an error leaves this task marked
            # as cancelled, which Python 3.11.2 takes for a cancellation of its own.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause_s)

    def _down(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        refused = isinstance(error, MqttConnectError)  # the broker is there and says no
        if self._up is not False or refused != self._refused:
            self._up = False
            self._refused = refused
            reason = f"{'refused: ' * refused}{type(error).__name__}: {error}"
            if self._said.text:
                reason = f"{reason}; {self._said.text}"
            self._emit(UplinkDown(self._broker, reason, self._counts.connects))

    @property
    def _broker(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    def _topic(self, kind: MessageKind) -> str:
        return topic(self._address, kind)

    # ------------------------------------------------------------------------------- session

    async def _session(self) -> None:
        """One connection; returns when drained after `stop`, raises when it is lost."""
        self._said.text = ""
        client = self._client()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(client)
            except AttributeError as error:
                # The broker closed while aiomqtt's thread was still connecting: paho's loop took
                # the socket away between that thread's look at it and its use.
                raise aiomqtt.MqttError(f"closed while connecting: {error}") from error
            for kind in (MessageKind.ACK, MessageKind.CMD):
                await client.subscribe(
                    self._topic(kind), qos=1, timeout=self._config.publish_timeout_s
                )
            self._metas.clear()
            self._asked_at = None  # what was answered before is not heard on this connection
            self._counts.connects += 1
            self._up = True
            self._emit(UplinkUp(self._broker))
            await self._tasks(client)
            offline = encode_state(offline_state(self._clock.time_ms()))
            await self._publish(client, MessageKind.STATE, offline, retain=True)

    async def _tasks(self, client: aiomqtt.Client) -> None:
        finished = False
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(client, tasks))
                tasks.create_task(self._report(client))
                tasks.create_task(self._send(client))
                tasks.create_task(self._end())
        except* _Finished:
            finished = True
        except* (aiomqtt.MqttError, OSError):
            if not finished:  # else it is a publish that the end of the session cut off
                raise

    def _client(self) -> aiomqtt.Client:
        config = self._config
        tls = password = None
        if config.tls_ca is not None:
            tls = aiomqtt.TLSParameters(
                ca_certs=str(config.tls_ca),
                certfile=_text(config.tls_certificate),
                keyfile=_text(config.tls_key),
                cert_reqs=ssl.CERT_REQUIRED,
            )
        if config.password_file is not None:  # read anew each time: it may be renewed
            password = config.password_file.read_text("utf-8").rstrip("\r\n")
        address = self._address
        return aiomqtt.Client(
            config.host,
            config.port,
            username=config.username or None,
            password=password,
            identifier=f"nenghao-{address.region}-{address.site}-{address.edge}",
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            keepalive=config.keepalive_s,
            timeout=config.publish_timeout_s,
            tls_params=tls,
            logger=self._said.logger,
            will=aiomqtt.Will(
                self._topic(MessageKind.STATE),
                encode_state(offline_state(self._clock.time_ms())),
                qos=1,
                retain=True,
            ),
        )

    async def _publish(
        self, client: aiomqtt.Client, kind: MessageKind, payload: bytes, *, retain: bool = False
    ) -> None:
        async with self._publishing:
            await client.publish(
                self._topic(kind),
                payload,
                qos=1,
                retain=retain,
                timeout=self._config.publish_timeout_s + len(payload) / SLOWEST_BYTES_PER_S,
            )

    async def _end(self) -> None:
        """After `stop`: wait for the last acks, within bounds, then end the session."""
        await self._stop.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await self._drained.wait()
        raise _Finished

    def _check_drained(self) -> None:
        if self._stop.is_set() and next(self._outbox.unsettled(newest_first=False), None) is None:
            self._drained.set()

    async def _report(self, client: aiomqtt.Client) -> None:
        while True:
            if self._asked_at is None:
                self._asked_at = self._clock.monotonic()
            await self._publish(client, MessageKind.STATE, self._state(), retain=True)
            for reply in self._commands.due_replies() if self._commands else ():
                await self._publish(client, MessageKind.REPLY, encode_reply(reply))
            _end_if_cancelled()
            await asyncio.sleep(self._config.state_period_s)

    # ------------------------------------------------------------------------------- sending

    async def _send(self, client: aiomqtt.Client) -> None:
        await self._publish_meta(client, self._outbox.meta_in_use)
        while True:
            self._wake.clear()
            await self._repeat_metas(client)
            for seq, tries in self._window.expire(self._clock.monotonic()):
                self._give_up(seq, tries)
            while (picked := self._window.pick()) is not None:
                await self._send_batch(client, picked)
            _end_if_cancelled()
            waits_s = [due - self._clock.monotonic() for due in self._needed.values()]
            timeout_s = self._window.wait_s(self._clock.monotonic())
            if timeout_s is not None:
                waits_s.append(timeout_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(waits_s, default=None)):
                    await self._wake.wait()

    async def _repeat_metas(self, client: aiomqtt.Client) -> None:
        now_s = self._clock.monotonic()
        for name in [name for name, due in self._needed.items() if due <= now_s]:
            del self._needed[name]
            await self._publish_meta(client, name)
            self._window.resend_meta(name, now_s)

    async def _send_batch(self, client: aiomqtt.Client, seq: int) -> None:
        try:
            batch = self._outbox.batch(seq)
        except OutboxError as error:
            self._give_up_unreadable(seq, error)
            return
        if batch is None:  # cannot be: unsettled is held. Not sent, and not picked again and again
            self._window.sent(seq, "", self._clock.monotonic())
            return
        if batch.meta not in self._metas:
            await self._publish_meta(client, batch.meta)
        payload = encode_envelope(
            self._outbox.id,
            seq,
            batch.meta,
            self._outbox.floor,
            self._outbox.void(),
            batch.blocks_json,
        )
        self._counts.sent += 1
        self._counts.resent += self._window.sent_before(seq)
        # In flight before it is published: its ack may be here before the broker's PUBACK.
        self._window.sent(seq, batch.meta, self._clock.monotonic())
        began_s = self._clock.monotonic()
        await self._publish(client, MessageKind.DATA, payload)
        self._window.delayed(seq, self._clock.monotonic() - began_s)

    async def _publish_meta(self, client: aiomqtt.Client, name: str) -> None:
        payload = self._outbox.meta(name)
        if payload is None:
            return
        self._metas.add(name)
        self._meta_sent_at[name] = self._clock.monotonic()
        retain = name == self._outbox.meta_in_use
        await self._publish(client, MessageKind.META, payload, retain=retain)

    def _give_up(self, seq: int, tries: int) -> None:
        readings = self._outbox.give_up(seq)
        self._counts.quarantined += 1
        self._emit(BatchGivenUp(seq, readings, tries))

    def _give_up_unreadable(self, seq: int, error: OutboxError) -> None:
        """One bad row costs its own readings, not the agent."""
        readings = self._outbox.give_up(seq)
        self._counts.quarantined += 1
        self._emit(BatchUnreadable(seq, readings, str(error)))
        self._check_drained()

    # ----------------------------------------------------------------------------- receiving

    async def _receive(self, client: aiomqtt.Client, tasks: asyncio.TaskGroup) -> None:
        async for message in _bytes_of(client):
            if message[0] == self._topic(MessageKind.ACK):
                self._take_ack(message[1])
            elif message[0] == self._topic(MessageKind.CMD):
                tasks.create_task(self._obey(client, message[1]))

    def _take_ack(self, payload: bytes) -> None:
        try:
            ack = decode_ack(payload)
        except DecodeError as error:
            self._emit(AckIgnored(str(error)))
            return
        now_s = self._clock.monotonic()
        self._offset_ms = ack.time_ms - self._clock.time_ms()
        settled = ack.outboxes.get(self._outbox.id)
        if settled is not None and not self._outbox.acknowledge(settled.upto, settled.ranges):
            self._window.connection_lost()  # what was sent under the old id goes again
            reason = f"names batches from {self._outbox.next_seq} on, not written"
            self._emit(AckIgnored(f"{reason}: the outbox is {self._outbox.id} from now on"))
        sent_s = self._window.heard(now_s)
        if sent_s is None and not ack.outboxes:  # it answers a state that asked for the time,
            sent_s, self._asked_at = self._asked_at, None  # perhaps not the last one
        if sent_s is not None and self._told is not None:
            self._told(ack.time_ms, sent_s, now_s)
        for name in ack.need_meta:
            if name not in self._needed and self._outbox.meta(name) is not None:
                again_s = self._meta_sent_at.get(name, now_s - META_PAUSE_S) + META_PAUSE_S
                self._needed[name] = max(now_s, again_s)
                self._emit(MetaRepeated(name))
        self._check_drained()
        self._wake.set()

    async def _obey(self, client: aiomqtt.Client, payload: bytes) -> None:
        try:
            command = decode_command(payload)
        except DecodeError as error:
            self._emit(CommandRefused("unreadable", str(error)))
            return
        if self._commands is None:
            return
        reply = await self._commands.carry_out(command)
        if reply is not None:
            await self._publish(client, MessageKind.REPLY, encode_reply(reply))
            self._commands.replied(command)


def _end_if_cancelled() -> None:
    """Python 3.11's wait_for, within publish, forgets a cancel that comes with the PUBACK."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


async def _bytes_of(client: aiomqtt.Client) -> AsyncIterator[tuple[str, bytes]]:
    async for message in client.messages:
        yield message.topic.value, message.payload


class _LastError(logging.Handler):
    """Keeps the last error that paho tells its log and nobody else, as why TLS was refused.

    Everything else it and aiomqtt say is said again by our events, once and as JSON.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self.logger = logging.Logger("mqtt", logging.ERROR)  # noqa: LOG001 - stands alone
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self.text = record.getMessage()
