"""The uplink against a real broker, with a small aggregator of the test's own on the other side."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import aiomqtt
import pytest

from contract.ack import Ack, OutboxAck, encode_ack
from contract.command import Command, encode_command
from contract.data import Batch, decode_data, readings_of
from contract.meta import meta_hash
from contract.state import decode_state
from contract.topics import Address, MessageKind, parse_topic, topic
from edge_agent.clock import SystemClock
from edge_agent.commands import Commands
from edge_agent.config import UplinkConfig
from edge_agent.events import BatchGivenUp, BatchUnreadable, Event, MetaRepeated, UplinkDown
from edge_agent.outbox.base import MemoryOutbox, Outbox
from edge_agent.outbox.sqlite import SqliteOutbox
from edge_agent.uplink import Uplink
from edge_agent.window import Window
from simulators.demo.processes import free_port
from tests.brokers import Mosquitto, iotcore_broker, mosquitto_broker
from tests.suites.outbox_suite import META, NOW, some

HERE = Address("370114", "foundry", "gw1")
DEADLINE_S = 20.0


class District:
    """Takes everything the edge publishes and acks as it is told to."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.batches: list[Batch] = []
        self.metas: list[bytes] = []
        self.states: list[bytes] = []
        self.replies: list[bytes] = []
        self.order: list[MessageKind] = []
        self.acking = True
        self.known_metas: set[str] = set()
        self.needs_meta = False
        self.settled: set[int] = set()
        self.refused: set[int] = set()
        self.client: aiomqtt.Client | None = None
        self.subscribed = asyncio.Event()

    async def run(self) -> None:
        while True:
            try:
                async with aiomqtt.Client(self.host, self.port, timeout=2) as client:
                    await client.subscribe("nenghao/1/#", qos=1)
                    self.client = client
                    self.subscribed.set()
                    async for message in client.messages:
                        await self.take(message)
            except aiomqtt.MqttError:
                self.client = None
                await asyncio.sleep(0.1)

    async def take(self, message: aiomqtt.Message) -> None:
        kind = parse_topic(message.topic.value)[1]
        payload = message.payload
        self.order.append(kind)
        if kind is MessageKind.META:
            self.metas.append(payload)
            self.known_metas.add(meta_hash(payload))
        elif kind is MessageKind.STATE:
            self.states.append(payload)
        elif kind is MessageKind.REPLY:
            self.replies.append(payload)
        elif kind is MessageKind.DATA:
            batch = decode_data(payload)
            self.batches.append(batch)
            if self.needs_meta and batch.meta not in self.known_metas:
                await self.ack(batch.outbox, need=(batch.meta,))
            elif self.acking and batch.seq not in self.refused:
                self.settled.add(batch.seq)
                await self.ack(batch.outbox)

    async def ack(self, outbox: str, need: tuple[str, ...] = ()) -> None:
        upto = 0
        while upto + 1 in self.settled:
            upto += 1
        above = sorted(seq for seq in self.settled if seq > upto)[:64]
        ranges: list[tuple[int, int]] = []
        for seq in above:
            if ranges and ranges[-1][1] == seq - 1:
                ranges[-1] = (ranges[-1][0], seq)
            else:
                ranges.append((seq, seq))
        ack = Ack(NOW, {outbox: OutboxAck(upto, tuple(ranges))}, need)
        assert self.client is not None
        await self.client.publish(topic(HERE, MessageKind.ACK), encode_ack(ack), qos=1, timeout=2)

    @property
    def seqs(self) -> list[int]:
        return [batch.seq for batch in self.batches]


class Edge:
    """An uplink on an outbox, in memory if none is given."""

    def __init__(self, port: int, outbox: Outbox | None = None, **settings) -> None:
        defaults = {"ack_timeout_s": 1.0, "reconnect_min_s": 0.1, "reconnect_max_s": 0.4}
        self.outbox = outbox or MemoryOutbox(1 << 24, 190)
        self.outbox.use_meta(META)
        self.events: list[Event] = []
        self.told: list[tuple[int, float, float]] = []
        self.uplink = Uplink(
            UplinkConfig(port=port, **{"host": "127.0.0.1", **defaults, **settings}),
            HERE,
            self.outbox,
            SystemClock(),
            self.events.append,
            lambda: b'{"v":1,"online":true,"time_ms":1}',
            Commands({}, SystemClock(), self.events.append),
            lambda *told: self.told.append(told),
        )

    def commit(self, batches: int) -> None:
        for _ in range(batches):
            self.outbox.append(some(3, 3 * self.outbox.next_seq))
            self.outbox.commit(NOW)
        self.uplink.notify()

    @property
    def done(self) -> bool:
        return self.outbox.stats().depth_batches == 0


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(*parts) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def broker(tmp_path):
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def district(broker):
    district = District(broker.host, broker.port)
    async with running(district):
        await district.subscribed.wait()
        yield district


pytestmark = pytest.mark.mosquitto


async def test_acks_settle_and_meta_goes_before_data(broker, district):
    edge = Edge(broker.port)
    edge.commit(20)
    async with running(edge.uplink):
        await until(lambda: edge.done, "all acked")
    assert sorted(district.seqs) == list(range(1, 21))
    assert district.metas == [META]
    assert district.order.index(MessageKind.META) < district.order.index(MessageKind.DATA)
    read = [
        r for batch in sorted(district.batches, key=lambda b: b.seq) for r in readings_of(batch)
    ]
    assert read == [r for seq in range(1, 21) for r in some(3, 3 * seq)]
    assert edge.uplink.counts().acked_batches == 20
    assert edge.uplink.counts().resent_batches == 0
    offset = edge.uplink.clock_offset_ms()
    assert offset is not None
    assert abs(offset - (NOW - SystemClock().time_ms())) < 60_000


async def test_newest_before_backfill_and_neither_starves(broker, district):
    district.acking = False
    edge = Edge(broker.port, window=8, ack_timeout_s=30)
    edge.commit(100)
    async with running(edge.uplink):
        await until(lambda: len(district.batches) == 8, "a window sent")
        # A quarter of the window is for the backlog.
        assert district.seqs == [100, 99, 98, 97, 96, 95, 1, 2]
        district.acking = True
        district.settled |= set(district.seqs)
        await district.ack(edge.outbox.id)
        await until(lambda: edge.done, "all acked")
    assert len(district.seqs) == 100
    backlog = [seq for seq in district.seqs if seq < 80]
    assert backlog == sorted(backlog)


@contextlib.asynccontextmanager
async def slow_link(port: int, bytes_per_s: int) -> AsyncIterator[int]:
    """A port that leads to another: slow towards it, as fast as it goes back."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader, writer, pause_s_per_byte: float) -> None:
        try:
            while chunk := await reader.read(1000):
                await asyncio.sleep(len(chunk) * pause_s_per_byte)  # the slowness is the point
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # one end has gone; the other is told by the close
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def join(reader, writer) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        tasks.add(asyncio.create_task(pump(reader, far_writer, 1 / bytes_per_s)))
        tasks.add(asyncio.create_task(pump(far_reader, writer, 0)))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_link_passes_a_large_message_with_small_ones_behind_it(broker, district):
    async with slow_link(broker.port, bytes_per_s=10_000) as port:
        edge = Edge(port, publish_timeout_s=0.5, state_period_s=0.2, ack_timeout_s=0.5)
        edge.outbox.append(some(2000))
        edge.outbox.commit(NOW)
        stored = edge.outbox.batch(1)
        assert stored is not None
        assert len(stored.blocks_json) > 20_000, "takes seconds, the timeout alone half of one"
        async with running(edge.uplink):
            await until(lambda: edge.done, "acked")
    assert edge.uplink.counts().connects == 1
    assert district.seqs == [1], "nor sent again while it was under way"


async def test_at_most_a_window_in_flight(broker, district):
    district.acking = False
    edge = Edge(broker.port, window=8, ack_timeout_s=30)
    edge.commit(5)
    async with running(edge.uplink):
        await until(lambda: len(district.batches) == 5, "five sent")
        edge.commit(50)
        await until(lambda: len(district.batches) == 8, "a window sent")
        await asyncio.sleep(0.3)  # nothing must happen: there is no condition to wait for
        assert len(set(district.seqs)) == 8


async def test_a_lost_ack_makes_the_batch_come_again(broker, district):
    district.acking = False
    edge = Edge(broker.port, ack_timeout_s=0.3)
    edge.commit(2)
    async with running(edge.uplink):
        await until(lambda: district.seqs.count(1) >= 2, "sent twice")
        assert not edge.done
        district.acking = True
        await until(lambda: edge.done, "acked in the end")
    assert edge.uplink.counts().resent_batches >= 2


async def test_need_meta_brings_the_meta_and_then_the_data(broker, district):
    edge = Edge(broker.port, ack_timeout_s=20)
    district.needs_meta = True
    async with running(edge.uplink):
        await until(lambda: len(district.metas) == 1, "meta at the start")
        district.known_metas.clear()  # an aggregator that lost its register
        edge.commit(3)
        await until(lambda: edge.done, "all acked")
    assert district.metas == [META, META]
    assert sum(isinstance(event, MetaRepeated) for event in edge.events) == 1


async def test_a_backlog_goes_under_its_own_meta_and_the_present_one_is_retained(broker, district):
    old = b'{"meters":[],"old":1,"v":1}'
    edge = Edge(broker.port)
    edge.outbox.use_meta(old)
    edge.commit(2)
    edge.outbox.use_meta(META)
    edge.commit(1)
    district.needs_meta = True
    async with running(edge.uplink):
        await until(lambda: edge.done, "all acked")
    assert set(district.metas) == {old, META}
    late = District(broker.host, broker.port)
    async with running(late):
        await until(lambda: bool(late.metas), "retained meta")
    assert late.metas == [META]


async def test_duplicate_and_garbled_acks_do_no_harm(broker, district):
    edge = Edge(broker.port)
    edge.commit(4)
    async with running(edge.uplink):
        await until(lambda: edge.done, "all acked")
        assert district.client is not None
        for payload in (b"{", b"\xff", b'{"v":1}', b'{"v":9}'):
            await district.client.publish(topic(HERE, MessageKind.ACK), payload, qos=1)
        for _ in range(5):
            await district.ack(edge.outbox.id)
        old_id = edge.outbox.id
        district.settled |= {500}
        for _ in range(3):
            await district.ack(old_id)
        await until(lambda: len(edge.events) >= 6, "garbled acks reported")
        assert edge.outbox.id != old_id
        district.settled -= {500}
        edge.commit(1)
        await until(lambda: edge.done, "the next is acked too")
    assert sorted(district.seqs) == [1, 2, 3, 4, 5]
    assert district.batches[-1].outbox == edge.outbox.id
    assert sum("not written" in str(event) for event in edge.events) == 1, "said once"


async def test_broker_killed_mid_stream_and_restarted(broker, district):
    edge = Edge(broker.port, publish_timeout_s=1)
    edge.commit(30)
    async with running(edge.uplink):
        await until(lambda: len(district.batches) >= 5, "some sent")
        broker.kill()
        edge.commit(30)
        await until(lambda: any(isinstance(e, UplinkDown) for e in edge.events), "loss noticed")
        edge.commit(30)
        broker.start()
        await until(lambda: edge.done, "all acked")
    assert set(district.seqs) == set(range(1, 91))
    assert edge.uplink.counts().connects >= 2
    downs = [event for event in edge.events if isinstance(event, UplinkDown)]
    assert len(downs) == 1, "said once, not at each try"


async def test_an_edge_its_broker_never_took_says_so_once_with_the_reason(tmp_path, monkeypatch):
    broker = Mosquitto(tmp_path, "allow_anonymous false\n")
    edge = Edge(broker.port, reconnect_min_s=0.05, reconnect_max_s=0.1)
    tries: list[int] = []
    client = edge.uplink._client

    def counted():
        tries.append(len(tries))
        return client()

    monkeypatch.setattr(edge.uplink, "_client", counted)
    async with running(edge.uplink):
        await until(lambda: len(tries) > 3, "no broker")
        try:
            broker.start()
            await until(lambda: len(edge.events) == 2, "refused")
            enough = len(tries) + 3
            await until(lambda: len(tries) > enough, "refused again")
        finally:
            broker.kill()
    assert [type(event) for event in edge.events] == [UplinkDown, UplinkDown]
    unreachable, refused = edge.events
    assert isinstance(unreachable, UplinkDown)
    assert isinstance(refused, UplinkDown)
    assert not unreachable.reason.startswith("refused")
    assert refused.reason.startswith("refused: ")
    assert "authorized" in refused.reason.lower()
    assert refused.connects == 0


async def test_a_broker_that_closes_amid_the_connecting_does_not_end_the_edge(
    broker, district, monkeypatch
):
    """What paho does in aiomqtt's thread when its socket goes between the look and the use."""
    connect = aiomqtt.Client._client_connect
    tries: list[int] = []

    def interrupted(client: aiomqtt.Client) -> None:
        tries.append(len(tries))
        connect(client)
        if len(tries) < 3:
            client._on_socket_register_write(client._client, None, None)

    monkeypatch.setattr(aiomqtt.Client, "_client_connect", interrupted)
    edge = Edge(broker.port)
    async with running(edge.uplink):
        edge.commit(2)
        await until(lambda: edge.done, "acked on the third connection")
    downs = [event for event in edge.events if isinstance(event, UplinkDown)]
    assert len(downs) == 1
    assert "closed while connecting" in downs[0].reason
    assert len(tries) == 3


async def test_a_batch_nobody_acks_is_given_up_while_others_pass(broker, district):
    district.refused = {2}
    edge = Edge(broker.port, ack_timeout_s=0.1, ack_timeout_max_s=0.1, max_tries=3)
    edge.commit(3)
    async with running(edge.uplink):
        while not edge.done:
            edge.commit(1)
            await asyncio.sleep(0.1)
            assert edge.outbox.next_seq < 200
    assert [e for e in edge.events if isinstance(e, BatchGivenUp)] == [BatchGivenUp(2, 3, 3)]
    assert edge.outbox.batch(2) is not None, "kept here"
    assert edge.uplink.counts().quarantined_batches == 1


@pytest.mark.parametrize("lost", ["body", "row"])
async def test_an_unreadable_batch_is_given_up_and_the_others_pass(
    broker, district, tmp_path, lost, monkeypatch
):
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", 1 << 24, 190)
    with contextlib.closing(outbox):
        outbox.use_meta(META)
        edge = Edge(broker.port, outbox)
        edge.commit(3)
        if lost == "body":
            outbox._db.execute("UPDATE batch SET body = x'00' WHERE seq = 2")
        else:
            monkeypatch.setattr(outbox, "_db", OnePageGone(outbox._db))
        async with running(edge.uplink):
            await until(lambda: edge.done, "the others acked")
            edge.commit(1)
            await until(lambda: edge.done, "the next is acked too")
        known = 3 if lost == "body" else 0
        found = [event for event in edge.events if isinstance(event, BatchUnreadable)]
        assert [(event.seq, event.readings) for event in found] == [(2, known)]
        assert "batch 2" in found[0].reason
        assert sorted(district.seqs) == [1, 3, 4]
        assert district.batches[-1].void == ((2, 2),)
        assert edge.uplink.counts().quarantined_batches == 1
        assert outbox.stats().dropped_readings == known
        monkeypatch.undo()


class OnePageGone:
    """A connection to a file in which the page of batch 2 is overwritten."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, query, values=()):
        if "WHERE seq = ?" in query and values == (2,):
            raise sqlite3.DatabaseError("database disk image is malformed")
        return self._db.execute(query, values)

    def __getattr__(self, name):
        return getattr(self._db, name)


async def test_nothing_is_given_up_while_the_aggregator_is_away(broker, district):
    district.acking = False
    edge = Edge(broker.port, ack_timeout_s=0.1, ack_timeout_max_s=0.1, max_tries=3)
    edge.commit(3)
    async with running(edge.uplink):
        await until(lambda: len(district.batches) > 20, "many tries")
        assert not any(isinstance(e, BatchGivenUp) for e in edge.events)
        district.acking = True
        await until(lambda: edge.done, "all acked")


async def test_stop_drains_then_says_offline(broker, district):
    edge = Edge(broker.port)
    task = asyncio.create_task(edge.uplink.run())
    await until(lambda: edge.uplink.connected, "connected")
    edge.commit(10)
    edge.uplink.stop(drain_s=10)
    await asyncio.wait_for(task, 10)
    assert edge.done
    await until(lambda: len(district.states) == 2, "both states")
    assert [decode_state(payload).online for payload in district.states] == [True, False]


async def test_an_end_that_cuts_off_a_publish_is_still_an_end(broker, district, monkeypatch):
    edge = Edge(broker.port)

    async def cut_off(_client):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise aiomqtt.MqttError("cut off in the middle of a publish") from None

    monkeypatch.setattr(edge.uplink, "_report", cut_off)
    task = asyncio.create_task(edge.uplink.run())
    await until(lambda: edge.uplink.connected, "connected")
    edge.uplink.stop(drain_s=10)
    await asyncio.wait_for(task, 5)
    await until(lambda: len(district.states) == 1, "the offline state")


async def test_stop_without_acks_or_broker_ends_in_time(broker, district):
    district.acking = False
    edge = Edge(broker.port)
    edge.commit(1)
    task = asyncio.create_task(edge.uplink.run())
    await until(lambda: bool(district.batches), "sent")
    edge.uplink.stop(drain_s=0.2)
    await asyncio.wait_for(task, 5)
    assert not edge.done
    lonely = Edge(free_port(), reconnect_min_s=30, reconnect_max_s=60)
    task = asyncio.create_task(lonely.uplink.run())
    await until(lambda: bool(lonely.events), "no broker")
    lonely.uplink.stop(drain_s=10)
    await asyncio.wait_for(task, 5)


async def test_unknown_expired_and_garbled_commands_are_refused(broker, district):
    edge = Edge(broker.port)
    async with running(edge.uplink):
        await until(lambda: edge.uplink.connected, "connected")
        assert district.client is not None
        command = encode_command(Command("c-1", "open-sesame", NOW * 2))
        await district.client.publish(topic(HERE, MessageKind.CMD), b"[]", qos=1)
        await district.client.publish(topic(HERE, MessageKind.CMD), command, qos=1)
        await until(lambda: bool(district.replies), "a reply")
    reply = json.loads(district.replies[0])
    assert (reply["id"], reply["ok"], reply["error"]) == ("c-1", False, "unknown command")


async def test_the_demo_broker_serves_as_well():
    with iotcore_broker() as (host, port):
        district = District(host, port)
        edge = Edge(port)
        edge.commit(40)
        async with running(district):
            await district.subscribed.wait()
            async with running(edge.uplink):
                await until(lambda: edge.done, "all acked")


AGENT_TOML = """
[edge]
region = "370114"
site = "foundry"
id = "gw1"
data_dir = "data"
[uplink]
host = "127.0.0.1"
port = {port}
commit_period_s = 0.2
state_period_s = 1
[poll]
period_s = 0.2
[[bus]]
id = "bus1"
host = "127.0.0.1"
port = {dead}
[[bus.meter]]
id = "em-01"
model = "eastron-sdm630"
"""


async def test_killed_agent_is_shown_offline_by_its_will_and_a_stopped_one_says_so(
    broker: Mosquitto, district, tmp_path
):
    config = tmp_path / "edge.toml"
    config.write_text(AGENT_TOML.format(port=broker.port, dead=free_port()))

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
            stderr=subprocess.PIPE,
        )

    def online() -> list[bool]:
        states = [decode_state(payload).online for payload in district.states]
        return [state for i, state in enumerate(states) if i == 0 or states[i - 1] != state]

    def lost() -> bool:
        meters = decode_state(district.states[-1]).meters
        return any(meter.failures.get("connection") for meter in meters)

    agent = start()
    await until(lambda: online() == [True], "online")
    agent.send_signal(signal.SIGKILL)
    agent.communicate()
    await until(lambda: online() == [True, False], "the will")
    agent = start()
    await until(lambda: online()[2:] == [True], "online again")
    await until(lost, "the dead meter is shown")
    agent.send_signal(signal.SIGTERM)
    _, log = agent.communicate(timeout=15)
    assert agent.returncode == os.EX_OK
    await until(lambda: online()[3:] == [False], "offline")
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[0] == "agent_started"
    assert events[-1] == "agent_stopped"
    assert "meter_lost" in events


def test_waits_double_up_to_the_limit_with_jitter():
    outbox = MemoryOutbox(1 << 20, 190)
    outbox.use_meta(META)
    outbox.append(some(1))
    outbox.commit(NOW)
    window = Window(outbox, 8, 30, 300, 20)
    now_s = 0.0
    for expected_s in (30, 60, 120, 240, 300, 300):
        assert window.pick() == 1
        window.sent(1, "m", now_s)
        assert window.pick() is None
        wait_s = window.wait_s(now_s)
        assert wait_s is not None
        assert 0.8 * expected_s <= wait_s <= 1.2 * expected_s
        now_s += wait_s
        assert window.expire(now_s) == []


def test_the_ack_of_a_batch_sent_twice_is_sure_to_be_later_than_the_first_time_only():
    """Else an ack that is as late as the wait for it names a time that is wrong by so much."""
    outbox = MemoryOutbox(1 << 20, 190)
    outbox.use_meta(META)
    window = Window(outbox, 8, 30, 300, 20)
    for _ in range(3):
        outbox.append(some(1))
        outbox.commit(NOW)
    window.sent(1, "m", 100.0)
    window.sent(2, "m", 110.0)
    assert window.expire(150.0) == []
    window.sent(1, "m", 150.0)
    window.connection_lost()
    window.sent(2, "m", 160.0)
    window.sent(1, "m", 170.0)
    window.sent(3, "m", 171.0)
    outbox.acknowledge(2)
    assert window.heard(170.1) == 110.0
    outbox.acknowledge(3)
    assert window.heard(171.1) == 171.0
    assert window.heard(172.0) is None, "an ack that settles nothing new"


def test_the_ack_of_a_batch_that_an_earlier_process_may_have_sent_tells_no_time():
    outbox = MemoryOutbox(1 << 20, 190)
    outbox.use_meta(META)
    outbox.append(some(1))
    outbox.commit(NOW)
    window = Window(outbox, 8, 30, 300, 20)
    outbox.append(some(1))
    outbox.commit(NOW)
    window.sent(1, "m", 10.0)
    outbox.acknowledge(1)
    assert window.heard(10.1) is None
    window.sent(2, "m", 11.0)
    outbox.acknowledge(2)
    assert window.heard(11.1) == 11.0


async def test_an_answer_after_a_second_question_may_be_to_the_first(broker, district):
    edge = Edge(broker.port, state_period_s=1.0)
    ack = encode_ack(Ack(NOW, {}))
    began_s = 0.0
    async with running(edge.uplink):
        for answers in (1, 2):
            asked, began_s = len(district.states), time.monotonic()

            def asked_twice(asked: int = asked) -> bool:
                return len(district.states) >= asked + 2

            def heard(answers: int = answers) -> bool:
                return len(edge.told) == answers

            await until(asked_twice, "two questions")
            await district.client.publish(topic(HERE, MessageKind.ACK), ack, qos=1)
            await until(heard, "the answer is heard")
            _, sent_s, heard_s = edge.told[-1]
            assert heard_s - sent_s > 0.9, "as old as the first of the two"
        assert edge.told[-1][1] > began_s, "what was answered is over"
