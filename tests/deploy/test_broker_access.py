"""Over TLS with certificates: who may publish and read what on the broker as it is shipped."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from contract.topics import MessageKind
from tests.secure_broker import Authority, SecureBroker, secure_broker

pytestmark = pytest.mark.mosquitto
OWN, NEIGHBOUR, ELSEWHERE = "370114/foundry/gw1", "370114/foundry/gw2", "370112/foundry/gw1"
WRITES = {MessageKind.META, MessageKind.DATA, MessageKind.STATE, MessageKind.REPLY}
READS = {MessageKind.ACK, MessageKind.CMD}
REFUSED = ReasonCode(PacketTypes.PUBACK, "Not authorized")


class Client:
    """A session whose every publish is answered, and that sees what it is sent."""

    def __init__(self, broker: SecureBroker, identity: Path, client_id: str = "") -> None:
        self.seen: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.lost = threading.Event()
        self._answers: dict[int, ReasonCode] = {}
        self._changed = threading.Condition()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5
        )
        client.tls_set(
            str(identity / "ca.pem"), str(identity / "cert.pem"), str(identity / "key.pem")
        )
        client.reconnect_delay_set(0, 1)  # a refused publish ends the connection
        client.on_publish = self._answered
        client.on_subscribe = lambda _c, _d, mid, codes, _p: self._note(mid, codes[0])
        client.on_message = lambda _c, _d, m: self.seen.put((m.topic, bytes(m.payload)))
        client.on_disconnect = lambda *_: self.lost.set()
        connected = threading.Event()
        client.on_connect = lambda *_: connected.set()
        client.connect(broker.host, broker.port)
        client.loop_start()
        assert connected.wait(10)

    def _answered(self, _c: Any, _d: Any, mid: int, code: ReasonCode, _p: Any) -> None:
        self._note(mid, code)

    def _note(self, mid: int, code: ReasonCode) -> None:
        with self._changed:
            self._answers[mid] = code
            self._changed.notify_all()

    def _wait(self, mid: int | None) -> ReasonCode:
        assert mid is not None
        with self._changed:
            assert self._changed.wait_for(lambda: mid in self._answers, 10)
            return self._answers[mid]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Return whether the broker took it."""
        code = self._wait(self._client.publish(topic, payload, 1, retain).mid)
        return code != REFUSED

    def subscribe(self, topic: str) -> None:
        self._wait(self._client.subscribe(topic, 1)[1])

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Rig:
    def __init__(self, folder: Path, broker: SecureBroker, authority: Authority) -> None:
        self.broker, self.authority = broker, authority
        self.folders = {
            name: authority.edge(folder / name.replace("/", "-"), name)
            for name in (OWN, NEIGHBOUR, ELSEWHERE)
        }
        for name in ("aggregator", "monitor", "stranger"):
            self.folders[name] = authority.client(folder / name, name)

    @contextmanager
    def client(self, name: str, client_id: str = "") -> Iterator[Client]:
        client = Client(self.broker, self.folders[name], client_id)
        try:
            yield client
        finally:
            client.close()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("broker")
    authority = Authority(folder / "ca")
    with secure_broker(folder / "mosquitto", authority) as broker:
        yield Rig(folder, broker, authority)


def topics(*names: str) -> list[str]:
    found = [f"nenghao/1/{name}/{kind}" for name in names for kind in MessageKind]
    foreign = f"nenghao/2/{OWN}/data nenghao/1/{OWN}/data/x nenghao/1/{OWN} nenghao other".split()
    return [*found, *foreign, "nenghao/1/370114/foundry/gw1x/data", "$SYS/broker/uptime"]


def allowed_to_write(who: str) -> set[str]:
    if who == "aggregator":
        return {f"nenghao/1/{n}/{kind}" for n in (OWN, NEIGHBOUR, ELSEWHERE) for kind in READS}
    return {f"nenghao/1/{OWN}/{kind}" for kind in WRITES} if who == OWN else set()


@pytest.mark.parametrize("who", [OWN, "aggregator", "monitor", "stranger"])
def test_what_is_not_somebodys_to_write_is_refused_and_reaches_nobody(rig: Rig, who: str) -> None:
    """Everybody else listens to everything meanwhile."""
    everything = topics(OWN, NEIGHBOUR, ELSEWHERE)
    with ExitStack() as stack:
        witnesses = {
            name: stack.enter_context(rig.client(name))
            for name in ("aggregator", OWN, NEIGHBOUR)
            if name != who
        }
        for witness in witnesses.values():
            witness.subscribe("#")
        with rig.client(who) as writer:
            taken = {topic for topic in everything if writer.publish(topic, b"x")}
        assert taken == allowed_to_write(who)
        aggregator = witnesses.get("aggregator") or stack.enter_context(rig.client("aggregator"))
        for name, witness in witnesses.items():
            if witness is aggregator:
                readable = {f"nenghao/1/{OWN}/{kind}" for kind in WRITES}
                assert witnesses[NEIGHBOUR].publish(f"nenghao/1/{NEIGHBOUR}/state", b"end")
            else:
                readable = {f"nenghao/1/{name}/{kind}" for kind in READS}
                assert aggregator.publish(f"nenghao/1/{name}/ack", b"end")
            seen = set()
            while (found := witness.seen.get(timeout=10))[1] != b"end":
                seen.add(found[0])
            assert seen == taken & readable, name


@pytest.mark.parametrize("who", [OWN, NEIGHBOUR, ELSEWHERE, "monitor", "stranger"])
def test_nobody_is_sent_what_is_anothers_whatever_it_subscribes_to(rig: Rig, who: str) -> None:
    """Retained and fresh, by name and by wildcard."""
    names = (OWN, NEIGHBOUR, ELSEWHERE)
    with rig.client("aggregator") as aggregator:
        others = {name: rig.client(name) for name in names if name != who}
        with rig.client(who) as reader:
            for filter_ in ("#", "+/#", "nenghao/1/#", "nenghao/1/+/+/+/data", "$SYS/#",
                            *topics(*names)):  # fmt: skip
                reader.subscribe(filter_)
            for name, entered in others.items():
                with entered as edge:
                    for kind in WRITES:
                        topic = f"nenghao/1/{name}/{kind}"
                        assert edge.publish(topic, b"x", retain=True)
            for name in names:
                for kind in READS:
                    assert aggregator.publish(f"nenghao/1/{name}/{kind}", b"x", retain=True)
            again = "nenghao/1/+/+/+/+"
            reader.subscribe(again)  # everything that is retained, once more
            last = f"nenghao/1/{who}/ack"
            if who in names:
                assert aggregator.publish(last, b"end")
                seen: set[str] = set()
                while (found := reader.seen.get(timeout=10)) != (last, b"end"):
                    seen.add(found[0])
                assert seen == {f"nenghao/1/{who}/{kind}" for kind in READS}
            else:
                # No word of the broker follows what it does not send: its own clock ticks instead.
                rest = {"$SYS/broker/uptime"} if who == "monitor" else set()
                seen = {reader.seen.get(timeout=15)[0] for _ in range(2)} if rest else set()
                assert seen == rest
                assert reader.publish("other", b"") is False  # a round trip after it
                assert {topic for topic, _ in list(reader.seen.queue)} <= rest


def test_nobody_ends_anothers_session_by_taking_its_client_id(rig: Rig) -> None:
    with (
        rig.client(OWN, "nenghao-370114-foundry-gw1") as victim,
        rig.client(NEIGHBOUR, "nenghao-370114-foundry-gw1") as thief,
    ):
        assert thief.publish(f"nenghao/1/{NEIGHBOUR}/state", b"here")
        assert victim.publish(f"nenghao/1/{OWN}/state", b"here")
        assert not victim.lost.is_set()


def test_what_was_revoked_is_refused_after_a_reload_and_its_renewal_is_let_in(
    rig: Rig, tmp_path: Path
) -> None:
    name = "370114/works/gw9"
    rig.folders[name] = rig.authority.edge(tmp_path / "first", name)
    with rig.client(name) as edge:
        assert edge.publish(f"nenghao/1/{name}/state", b"x")
    rig.authority.run("revoke", rig.authority.folder, name)
    assert "revoked until 20" in rig.authority.run("list", rig.authority.folder)
    crl = rig.authority.folder / "crl.pem"
    (rig.broker.folder / "tls" / "crl.pem").write_bytes(crl.read_bytes())
    rig.broker.reload()
    deadline = time.monotonic() + 10
    while "certificate revoked" not in rig.broker.log + str(refusal(rig, name)):
        assert time.monotonic() < deadline, rig.broker.log
    rig.folders[name] = rig.authority.edge(tmp_path / "second", name)
    with rig.client(name) as edge:
        assert edge.publish(f"nenghao/1/{name}/state", b"x")


def refusal(rig: Rig, name: str) -> OSError | None:
    """Shake hands, and read: with TLS 1.3 the client hears of its refusal after its own part."""
    folder = rig.folders[name]
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    try:
        with (
            socket.create_connection((rig.broker.host, rig.broker.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wire,
        ):
            wire.settimeout(0.2)
            wire.recv(1)
    except TimeoutError:
        return None  # the broker waits for the first word
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("edge", "370114", "Foundry", "gw1"), "site Foundry"),
        (("edge", "37011", "foundry", "gw1"), "region 37011"),
        (("edge", "370114", "foundry", "gw/1"), "edge gw/1"),
        (("edge", "370114", "foundry", "gw\n1"), "edge gw"),
        (("edge", "370114", "f" * 60, "gw1"), "more than 64"),
        (("client", "+"), "name +"),
        (("client", "370114/foundry/gw1"), "name 370114"),
        (("server", "a b"), "neither a host name"),
        (("server", "a,DNS:b"), "neither a host name"),
    ],
)
def test_a_name_that_could_stand_for_another_is_not_certified(
    rig: Rig, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    action, *names = arguments
    out = tmp_path / "out"
    said = rig.authority.run(action, rig.authority.folder, out, *names, fails=True)
    assert reason in said
    assert not (out / "cert.pem").exists()


def test_keys_are_for_their_owner_alone(rig: Rig) -> None:
    keys = [*rig.authority.folder.glob("*.key"), *rig.authority.folder.parent.glob("*/key.pem"),
            rig.broker.folder / "tls" / "key.pem"]  # fmt: skip
    assert len(keys) > 5
    assert {file.stat().st_mode & 0o777 for file in keys} == {0o600}
