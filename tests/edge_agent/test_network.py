"""What networks do to an uplink, over real sockets: nothing is lost, it comes back by itself."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiomqtt
import pytest

from edge_agent.events import UplinkDown, UplinkUp
from edge_agent.uplink import SPREAD
from simulators.demo.processes import free_port
from tests.brokers import Mosquitto, mosquitto_broker
from tests.edge_agent.test_uplink import District, Edge, running, until

pytestmark = pytest.mark.mosquitto


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


class Wire:
    """A port that leads to another until it is cut without a word: nothing passes, nothing ends."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.open = asyncio.Event()
        self.open.set()

    async def _pump(self, reader, writer, alive: asyncio.Event) -> None:
        try:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(4096):
                    await alive.wait()
                    writer.write(chunk)
                    await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _join(self, reader, writer) -> None:
        alive = self.open  # of this connection: it stays dead when the next one works
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink, alive)))

    def cut(self) -> None:
        """From now on this end and the other are half open; new connections pass."""
        self.open.clear()
        self.open = asyncio.Event()
        self.open.set()

    @contextlib.asynccontextmanager
    async def laid(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_broker_away_for_days_gets_all_of_it_when_it_is_back(tmp_path):
    broker = Mosquitto(tmp_path)
    edge = Edge(broker.port)
    edge.commit(300)
    async with running(edge.uplink):
        await until(lambda: bool(edge.events), "no broker")
        broker.start()
        district = District(broker.host, broker.port)
        async with running(district):
            await until(lambda: edge.done, "all batches acked")
    broker.kill()
    assert set(district.seqs) == set(range(1, 301))


async def test_a_half_open_connection_is_given_up_and_made_anew(broker, district):
    wire = Wire(broker.port)
    async with wire.laid() as port:
        edge = Edge(port, publish_timeout_s=0.5, state_period_s=1, keepalive_s=5)
        edge.commit(5)
        async with running(edge.uplink):
            await until(lambda: edge.done, "the first five")
            wire.cut()
            edge.commit(5)
            await until(lambda: edge.done, "the others over a new connection")
    ups = [event for event in edge.events if isinstance(event, UplinkUp)]
    downs = [event for event in edge.events if isinstance(event, UplinkDown)]
    assert (len(ups), len(downs)) == (2, 1)


async def test_a_name_that_cannot_be_resolved_for_a_while(broker, district, monkeypatch):
    known: list[str] = []
    resolve = socket.getaddrinfo

    def resolver(host, *arguments, **named):
        if host == "broker.example":
            if not known:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = "127.0.0.1"
        return resolve(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    edge = Edge(broker.port, host="broker.example")
    edge.commit(5)
    async with running(edge.uplink):
        await until(lambda: bool(edge.events), "it is told")
        assert "name resolution" in str(edge.events[0])
        known.append("now")
        await until(lambda: edge.done, "acked")


async def test_acks_slower_than_the_timeout_settle_all_and_give_nothing_up(broker, district):
    edge = Edge(broker.port, ack_timeout_s=0.2, ack_timeout_max_s=0.4)
    district.acking = False
    edge.commit(20)
    async with running(edge.uplink):
        while not edge.done:
            before = len(district.batches)
            await until(partial(sent_more_than, district, before), "sent, or sent again")
            district.settled |= set(district.seqs)
            await district.ack(edge.outbox.id)
    assert edge.uplink.counts().quarantined_batches == 0
    assert set(district.seqs) == set(range(1, 21))


async def test_an_ack_topic_that_is_lost_keeps_all_until_it_is_back(broker, district):
    """The session lives, the acks go nowhere: the broker forgot the subscription."""
    edge = Edge(broker.port, ack_timeout_s=0.2, ack_timeout_max_s=0.4)
    district.acking = False
    edge.commit(5)
    async with running(edge.uplink):
        await until(lambda: edge.uplink.counts().resent_batches >= 10, "sent again and again")
        assert edge.outbox.stats().depth_batches == 5
        broker.kill()  # and with it the sessions
        broker.start()
        district.acking = True
        await until(lambda: edge.done, "acked after the next connection")
    assert edge.uplink.counts().quarantined_batches == 0


def sent_more_than(district: District, count: int) -> bool:
    return len(district.batches) > count


def certificates(folder: Path) -> None:
    """An authority, a server, and a client's certificate that has ended and one that holds."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-subj", "/CN=ca", "-days", "9", "-keyout", "ca.key",
            "-out", "ca.pem")  # fmt: skip
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, days in (("server", 9), ("client", 9), ("ended", 0)):
        openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", str(days), "-extfile", "san",
                "-out", f"{name}.pem")  # fmt: skip


async def test_a_certificate_that_has_ended_is_told_and_renewed_without_a_restart(tmp_path):
    certificates(tmp_path)
    extra = (
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\n"
        f"keyfile {tmp_path}/server.key\nrequire_certificate true\nuser root\n"
    )
    inner = free_port()
    with mosquitto_broker(tmp_path, f"{extra}listener {inner} 127.0.0.1\n") as broker:
        (tmp_path / "mine.pem").write_bytes((tmp_path / "ended.pem").read_bytes())
        (tmp_path / "mine.key").write_bytes((tmp_path / "ended.key").read_bytes())
        edge = Edge(
            broker.port,
            tls_ca=tmp_path / "ca.pem",
            tls_certificate=tmp_path / "mine.pem",
            tls_key=tmp_path / "mine.key",
        )
        edge.commit(3)
        district = District("127.0.0.1", inner)
        await asyncio.sleep(0)
        async with running(district, edge.uplink):
            await until(lambda: bool(edge.events), "the broker refuses")
            assert isinstance(edge.events[0], UplinkDown)
            (tmp_path / "mine.pem").write_bytes((tmp_path / "client.pem").read_bytes())
            (tmp_path / "mine.key").write_bytes((tmp_path / "client.key").read_bytes())
            await until(lambda: edge.done, "acked under the renewed one")


async def test_edges_that_lost_their_broker_come_back_one_after_the_other():
    """Forty edges; their second connections are spread over the whole first pause."""
    arrivals: list[float] = []
    writers = []

    async def accept(reader, writer) -> None:
        arrivals.append(time.monotonic())
        writers.append(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    edges = [Edge(port, reconnect_min_s=0.5, reconnect_max_s=60) for _ in range(40)]
    async with running(*(edge.uplink for edge in edges)):
        await until(lambda: len(arrivals) >= 80, "each twice")
    server.close()
    began = arrivals[39]
    again = [at - began for at in arrivals[40:80]]
    tenths = Counter(int(at / (0.5 * SPREAD / 10)) for at in again)
    assert max(tenths.values()) <= 16, f"a storm: {tenths}"
    assert len(tenths) >= 5


async def test_the_wire_of_this_test_is_a_wire(broker):
    wire = Wire(broker.port)
    async with wire.laid() as port, aiomqtt.Client("127.0.0.1", port, timeout=5) as client:
        await client.publish("x", b"y", qos=1)
