"""Commands over a real broker to a real agent: carried out, refused, tried and taken back."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from contract.ack import Ack, OutboxAck, encode_ack
from contract.command import Command, encode_command
from contract.data import decode_data
from contract.topics import Address, MessageKind, parse_topic, topic
from edge_agent.agent import run_agent
from edge_agent.clock import SystemClock
from edge_agent.commands import Commands
from edge_agent.config import load_config
from edge_agent.errors import ConfigError
from edge_agent.events import ConfigurationChanged, Event
from edge_agent.trial import MAX_STARTS, Trials, changed_from_afar
from simulators.demo.processes import free_port
from tests.brokers import mosquitto_broker

HERE = Address("370114", "foundry", "gw1")
TOML = """\
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
ack_timeout_s = 1
reconnect_min_s = 0.1
reconnect_max_s = 0.2
drain_s = 0.1
[poll]
period_s = 0.5  # as the meters allow
[[bus]]
id = "bus1"
host = "127.0.0.1"
port = {dead}
timeout_s = 0.1
[[bus.meter]]
id = "em-01"
model = "acrel-adw300"
"""


class Side:
    """The aggregator's side of one edge."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.replies: dict[str, Any] = {}
        self.seqs: list[int] = []
        self.ready = asyncio.Event()
        self.client: aiomqtt.Client

    async def run(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self.port, timeout=5) as self.client:
            await self.client.subscribe("nenghao/1/#", qos=1)
            self.ready.set()
            async for message in self.client.messages:
                kind = parse_topic(message.topic.value)[1]
                if kind is MessageKind.REPLY:
                    reply = json.loads(message.payload)
                    assert reply["id"] not in self.replies or reply == self.replies[reply["id"]]
                    self.replies[reply["id"]] = reply
                elif kind is MessageKind.DATA:
                    batch = decode_data(message.payload)
                    self.seqs.append(batch.seq)
                    ack = Ack(SystemClock().time_ms(), {batch.outbox: OutboxAck(batch.seq)})
                    await self.publish(MessageKind.ACK, encode_ack(ack))
                elif kind is MessageKind.STATE:  # tells the time
                    await self.publish(MessageKind.ACK, encode_ack(Ack(1_760_000_000_000, {})))

    async def publish(self, kind: MessageKind, payload: bytes) -> None:
        await self.client.publish(topic(HERE, kind), payload, qos=1, timeout=5)

    async def ask(self, name: str, args: dict[str, Any] | None = None, **more: Any) -> Any:
        await self.tell(name, args, **more)
        return await self.reply(more.get("key", f"c-{name}"))

    async def tell(
        self, name: str, args: dict[str, Any] | None = None, *, key: str = "", in_ms: int = 60_000
    ) -> None:
        expires_ms = SystemClock().time_ms() + in_ms
        command = Command(key or f"c-{name}", name, expires_ms, args or {})
        await self.publish(MessageKind.CMD, encode_command(command))

    async def reply(self, command: str) -> Any:
        async with asyncio.timeout(15):
            while command not in self.replies:
                await asyncio.sleep(0.02)
        return self.replies[command]


class Agent:
    """An agent that begins anew when it says so, as the process does."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.stop = asyncio.Event()
        self.starts = 0
        self.events: list[Event] = []

    async def run(self) -> None:
        again = True
        while again:
            self.stop = asyncio.Event()
            self.starts += 1
            config = load_config(self.file)
            again = await run_agent(
                config, SystemClock(), self.events.append, self.stop, None, self.file
            )


@pytest.fixture
async def pair(tmp_path):
    with mosquitto_broker(tmp_path) as broker:
        file = tmp_path / "edge.toml"
        file.write_text(TOML.format(port=broker.port, dead=free_port()))
        side, agent = Side(broker.port), Agent(file)
        tasks = [asyncio.create_task(side.run())]
        await side.ready.wait()
        tasks.append(asyncio.create_task(agent.run()))
        yield side, agent
        agent.stop.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(tasks[1]), 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


pytestmark = pytest.mark.mosquitto


async def ready(side: Side) -> None:
    """Until the edge listens: what is told before is lost, as on any broker without a session."""
    for _ in range(50):
        with contextlib.suppress(TimeoutError):
            await side.tell("nothing", key="hello")
            async with asyncio.timeout(0.3):
                while "hello" not in side.replies:
                    await asyncio.sleep(0.02)
            return
    raise AssertionError("the edge does not listen")


async def test_what_cannot_be_done_is_refused_with_a_reason(pair):
    side, _ = pair
    await ready(side)
    assert side.replies["hello"]["error"] == "unknown command"
    refused = {
        "expired": ("poll-now", {}, -1),
        "args.now: unknown member": ("poll-now", {"now": 1}, 60_000),
        "no bus 'bus9'": ("poll-now", {"bus": "bus9"}, 60_000),
        "args.to_ms: is before from_ms": ("resend", {"from_ms": 5, "to_ms": 4}, 60_000),
        "args.period_s: 0.01 is not within 0.1 to 3600": ("set-interval", {"period_s": 0.01}, 9999),
        "em-01: keeps no freezes that its map reads": (
            "read-freezes",
            {"meter": "em-01", "from_ms": 1, "to_ms": 2},
            60_000,
        ),
        "no meter 'em-99'": ("read-freezes", {"meter": "em-99", "from_ms": 1, "to_ms": 2}, 9999),
        "args.max_bytes: unknown member": ("restart", {"max_bytes": 1}, 60_000),
    }
    for number, (reason, (name, args, in_ms)) in enumerate(refused.items()):
        reply = await side.ask(name, args, key=f"c-{number}", in_ms=in_ms)
        assert (reply["ok"], reply["error"]) == (False, reason)


async def test_poll_now_resend_and_a_double_is_carried_out_once(pair):
    side, agent = pair
    await ready(side)
    done = await side.ask("poll-now", {"bus": "bus1"})
    assert done["ok"]
    assert done["result"]["readings"] == 0, "the meter is dead"
    assert (await side.ask("resend", {"from_ms": 0, "to_ms": 10**13}))["ok"]
    first = await side.ask("set-interval", {"period_s": 2})
    del side.replies["c-set-interval"]
    assert await side.ask("set-interval", {"period_s": 3}) == first, "the id is known already"
    config = load_config(agent.file)
    assert config.poll.period_s == 2
    assert "# as the meters allow" in agent.file.read_text()


async def test_restart_replies_first_and_begins_anew(pair):
    side, agent = pair
    await ready(side)
    assert (await side.ask("restart"))["ok"]
    async with asyncio.timeout(15):
        while agent.starts < 2:
            await asyncio.sleep(0.02)


async def test_a_pushed_configuration_is_kept_when_the_agent_is_heard(pair):
    side, agent = pair
    await ready(side)
    text = agent.file.read_text().replace("period_s = 0.5", "period_s = 4")
    reply = await side.ask("push-config", {"toml": text, "trial_s": 10})
    assert (reply["ok"], reply["result"]) == (True, {"kept": True})
    assert agent.starts == 2
    assert load_config(agent.file).poll.period_s == 4
    assert ConfigurationChanged(True, "") in agent.events


async def test_a_broker_that_is_not_there_is_taken_back_and_one_that_is_kept(pair, tmp_path):
    side, agent = pair
    await ready(side)
    before = agent.file.read_bytes()
    wrong = before.decode().replace(f"port = {side.port}", f"port = {free_port()}")
    reply = await side.ask("push-config", {"toml": wrong, "trial_s": 5})
    assert not reply["ok"]
    assert reply["error"] == "taken back: the aggregator was not heard within 5 s"
    assert agent.file.read_bytes() == before
    assert agent.starts == 3
    other = tmp_path / "other"
    other.mkdir()
    with mosquitto_broker(other) as broker:
        there = Side(broker.port)
        task = asyncio.create_task(there.run())
        await there.ready.wait()
        moved = before.decode().replace(f"port = {side.port}", f"port = {broker.port}")
        await side.tell("push-config", {"toml": moved, "trial_s": 10}, key="c-move")
        assert (await there.reply("c-move"))["ok"], "the reply comes on the new broker"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('data_dir = "data"', 'data_dir = "elsewhere"', "edge.data_dir"),
        ('id = "gw1"', 'id = "gw2"', "edge.id"),
        ("[poll]", "[outbox]\nmax_bytes = 2000000\n[poll]", "outbox.max_bytes"),
        ("[poll]", '[poll]\nx = "', ""),
        ("[uplink]", '[uplink]\nusername = "u"\npassword_file = "/etc/shadow"', "password_file"),
    ],
)
def test_what_may_not_be_changed_from_afar(tmp_path, old, new, key):
    file = tmp_path / "edge.toml"
    file.write_text(TOML.format(port=1, dead=2))
    now = load_config(file)
    with pytest.raises(ConfigError, match=f"{key}.*cannot be changed|not valid TOML"):
        changed_from_afar(file.read_text().replace(old, new).encode(), file, now)


def test_an_agent_that_dies_each_time_gets_its_configuration_back(tmp_path):
    file = tmp_path / "edge.toml"
    file.write_bytes(b"old")
    trials = Trials(file, tmp_path)
    assert trials.begin() is None
    trials.start(b"new", "c-1", 30)
    assert file.read_bytes() == b"new"
    for _ in range(MAX_STARTS):
        trial = Trials(file, tmp_path).begin()
        assert trial is not None
        assert trial.refused == ""
    trial = Trials(file, tmp_path).begin()
    assert trial is not None
    assert "did not come back in 3 starts" in trial.refused
    trials.take_back(trial.id, trial.refused)
    assert file.read_bytes() == b"old"
    assert Trials(file, tmp_path).taken_back() == ("c-1", trial.refused)
    assert Trials(file, tmp_path).taken_back() is None
    assert Trials(file, tmp_path).begin() is None


async def test_without_the_time_nothing_can_be_judged():
    commands = Commands({}, SystemClock(), lambda _: None, knows_time=lambda: False)
    reply = await commands.carry_out(Command("c-1", "restart", 10**13))
    assert reply is not None
    assert reply.error == "unknown command"
