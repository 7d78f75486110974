"""The real edge and the real aggregator over TLS: a batch with its ack, and what is refused."""

import asyncio
import gc
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from aggregator.config import BrokerSection
from aggregator.events import Counter, Events
from aggregator.ingest.subscriber import Inbox, Subscriber
from edge_agent.certificate import expires_ms
from edge_agent.events import UplinkDown, UplinkUp
from tests.edge_agent.test_uplink import Edge, until
from tests.integration.world import World
from tests.secure_broker import Authority, SecureBroker, secure_broker

pytestmark = [
    pytest.mark.mosquitto,
    # paho leaves the socket of a handshake that failed to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]
NAME = "370114/foundry/gw1"


class SecureWorld(World):
    """Edges and aggregator with certificates, and the broker that is shipped."""

    def __init__(self, folder: Path, edge: str) -> None:
        super().__init__(folder, edges=[edge])
        self.authority = Authority(folder / "ca")
        self.broker = SecureBroker(folder / "mosquitto", self.authority)  # type: ignore[assignment]

    async def _start_meters(self) -> None:
        await super()._start_meters()
        for name, file in self.edges.items():
            certificate = self.authority.edge(
                self.folder / f"tls-{name}", f"{self.district.region}/{file.site}/{name}"
            )
            self._secure(file.config, "uplink", certificate)
        certificate = self.authority.client(self.folder / "tls-aggregator", "aggregator")
        self._secure(self.folder / "aggregator.toml", "broker", certificate)

    @staticmethod
    def _secure(config: Path, section: str, certificate: Path) -> None:
        lines = f'[{section}]\ntls_ca = "{certificate}/ca.pem"\n'
        lines += f'tls_certificate = "{certificate}/cert.pem"\ntls_key = "{certificate}/key.pem"\n'
        text = config.read_text("utf-8")
        assert f"[{section}]\n" in text
        config.write_text(text.replace(f"[{section}]\n", lines), "utf-8")


async def test_a_gateway_delivers_over_tls_and_hears_that_it_was_stored(tmp_path: Path) -> None:
    async with SecureWorld(tmp_path, "works-gw1") as world:
        (edge,) = world.edges
        await world.start("aggregator", edge)
        await world.wait_counter("committed_batches", 2)

        async def acked() -> bool:
            outbox = world.outbox(edge)
            return outbox.held_batches > outbox.unacked_batches

        await world.wait_until(acked, "the edge has heard of its ack")
        assert await world.counter("lost_broker_connections") == 0
        live = await world.api.get("/api/v1/live")
        assert live["edges_online"] == 1
        await world.end(edge)
        assert f"as {world.district.region}/works/{edge} " in world.broker.log  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _collected():
    """What paho left open is collected in the test that made it."""
    yield
    gc.collect()


class Parties:
    def __init__(self, folder: Path) -> None:
        self.authority, self.others = Authority(folder / "ca"), Authority(folder / "others")
        self.good = self.authority.edge(folder / "good", NAME)
        self.expired = self.authority.past(folder / "expired", NAME)
        self.foreign = self.others.edge(folder / "foreign", NAME)


@pytest.fixture(scope="module")
def parties(tmp_path_factory):
    return Parties(tmp_path_factory.mktemp("parties"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory, parties):
    with secure_broker(tmp_path_factory.mktemp("broker") / "mosquitto", parties.authority) as one:
        yield one


def settings(ca: Path, certificate: Path | None) -> dict[str, Any]:
    found = {"tls_ca": ca / "ca.pem"}
    if certificate is not None:
        found |= {"tls_certificate": certificate / "cert.pem", "tls_key": certificate / "key.pem"}
    return found


CASES = {
    "expired": ("good", "expired", "certificate expired"),
    "of another authority": ("good", "foreign", "unknown ca"),
    "without a certificate": ("good", None, "certificate required"),
    "a broker of another authority": ("foreign", "foreign", "certificate verify failed"),
}


@pytest.mark.parametrize("case", CASES)
async def test_an_edge_that_is_refused_says_why_and_keeps_its_readings(
    broker: SecureBroker, parties: Parties, case: str
) -> None:
    ca, certificate, reason = CASES[case]
    given = None if certificate is None else getattr(parties, certificate)
    edge = Edge(broker.port, publish_timeout_s=0.5, **settings(getattr(parties, ca), given))
    edge.commit(1)
    running = asyncio.create_task(edge.uplink.run())
    await until(lambda: bool(edge.events), "the uplink says something")
    edge.uplink.stop(0)
    await running
    (event,) = edge.events
    assert isinstance(event, UplinkDown)
    assert reason in event.reason
    assert (event.connects, edge.uplink.counts().connects) == (0, 0)
    assert edge.outbox.stats().depth_batches == 1


async def test_an_edge_tells_when_its_certificate_ends(
    broker: SecureBroker, parties: Parties
) -> None:
    edge = Edge(broker.port, **settings(parties.good, parties.good))
    running = asyncio.create_task(edge.uplink.run())
    await until(lambda: bool(edge.events), "the uplink says something")
    edge.uplink.stop(0)
    await running
    assert [type(event) for event in edge.events] == [UplinkUp]
    assert expires_ms(parties.expired / "cert.pem") == 1_577_836_800_000
    ends_ms = expires_ms(parties.good / "cert.pem")
    assert ends_ms is not None
    assert 824 < (ends_ms / 1000 - time.time()) / 86_400 <= 825


@pytest.mark.parametrize("case", CASES)
def test_an_aggregator_that_is_refused_says_why_once_and_counts_each_time(
    broker: SecureBroker, parties: Parties, case: str
) -> None:
    ca, certificate, reason = CASES[case]
    files: dict[str, Any] = {
        name: str(path)
        for name, path in settings(
            getattr(parties, ca), None if certificate is None else getattr(parties, certificate)
        ).items()
    }
    log = io.StringIO()
    events = Events(lambda: 0, log)
    subscriber = Subscriber(
        BrokerSection(host=broker.host, port=broker.port, **files),
        "aggregator", ["370114"], Inbox(1_000_000, events), events,
    )  # fmt: skip
    subscriber._client.reconnect_delay_set(0, 1)
    subscriber.start()
    deadline = time.monotonic() + 20
    while events.counts()[Counter.BROKER_LOST] < 8:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    subscriber.stop()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {(line["event"], line["level"]) for line in lines} == {("broker_lost", "warning")}
    reasons = [line["reason"] for line in lines]
    assert len(set(reasons)) == len(reasons)  # an end of file may come before the broker's word
    assert reason in " ".join(reasons)


def test_a_broker_that_is_not_there_is_told_once(parties: Parties) -> None:
    from simulators.demo.processes import free_port

    log = io.StringIO()
    events = Events(lambda: 0, log)
    section = BrokerSection(host="127.0.0.1", port=free_port())
    subscriber = Subscriber(section, "x", ["370114"], Inbox(1_000_000, events), events)
    subscriber._client.reconnect_delay_set(0, 1)
    subscriber.start()
    deadline = time.monotonic() + 20
    while events.counts()[Counter.BROKER_LOST] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    subscriber.stop()
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert "refused" in line["reason"].lower()
