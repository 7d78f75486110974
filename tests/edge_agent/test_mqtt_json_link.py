"""Devices that publish JSON: a real broker, exact numbers, ages, silence, reconnection."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.reading import Reading
from edge_agent.codecs.mqtt_json import Message, ReadTopics
from edge_agent.config import MeterConfig
from edge_agent.decoders.mqtt_json import MqttJsonDecoder
from edge_agent.decoders.registry import make_decoder
from edge_agent.errors import LinkError, LinkTimeoutError
from edge_agent.links import mqtt
from edge_agent.links.mqtt import MqttJsonLink
from edge_agent.registers import load_device_map
from tests.brokers import Mosquitto, mosquitto_broker

TOPIC = "tele/plug-1/SENSOR"
ASK = ReadTopics("m1", (TOPIC,))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
async def link(broker: Mosquitto) -> AsyncIterator[MqttJsonLink]:
    link = MqttJsonLink(broker.host, broker.port, 5)
    yield link
    await link.close()


async def publish(broker: Mosquitto, topic: str, *payloads: bytes, retain: bool = False) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1, retain=retain, timeout=5)


async def taken(link: MqttJsonLink) -> list[Message]:
    """What the link has, once it has something."""
    async with asyncio.timeout(10):
        while not (messages := await link.read(ASK)):
            await asyncio.sleep(0.005)
    return list(messages)


@pytest.mark.mosquitto
async def test_the_newest_message_is_taken_once(broker, link):
    assert await link.read(ASK) == ()  # subscribed
    await publish(broker, "tele/other/SENSOR", b"not asked for")
    await publish(broker, TOPIC, b"1", b"2")
    async with asyncio.timeout(10):
        while (message := (await taken(link))[0]).payload != b"2":
            pass
    assert message.topic == TOPIC
    assert 0 <= message.age_s < 5
    assert await link.read(ASK) == ()


@pytest.mark.mosquitto
async def test_a_retained_message_is_of_an_unknown_time_and_passed_over(broker, link):
    await publish(broker, TOPIC, b"old", retain=True)
    assert await link.read(ASK) == ()
    await publish(broker, TOPIC, b"x" * (mqtt.MAX_PAYLOAD + 1))
    await publish(broker, TOPIC, b"new")
    assert [message.payload for message in await taken(link)] == [b"new"]


@pytest.mark.mosquitto
async def test_a_device_silent_for_long_is_lost_until_it_speaks(broker, link, monkeypatch):
    monkeypatch.setattr(mqtt, "SILENT_S", -1.0)
    with pytest.raises(LinkTimeoutError, match="meter m1 did not answer: silent for 0 s"):
        await link.read(ASK)
    monkeypatch.setattr(mqtt, "SILENT_S", 900.0)
    await publish(broker, TOPIC, b"1")
    assert [message.payload for message in await taken(link)] == [b"1"]


@pytest.mark.mosquitto
async def test_broker_gone_and_back(broker, link):
    assert await link.read(ASK) == ()
    assert link.is_open
    broker.kill()
    async with asyncio.timeout(10):
        while link.is_open:
            await asyncio.sleep(0.005)
    with pytest.raises(LinkError, match="cannot connect"):
        await link.read(ASK)
    broker.start()
    assert await link.read(ASK) == ()  # subscribed anew
    await publish(broker, TOPIC, b"1")
    assert [message.payload for message in await taken(link)] == [b"1"]
    await link.close()
    assert not link.is_open


def decode(payload: bytes, age_s: float = 0.0) -> tuple[dict[str, Reading], Counter[str]]:
    device = load_device_map("tasmota-energy")
    decoder = make_decoder(MeterConfig("m1", "tasmota-energy", address="plug-1"), device)
    drops: Counter[str] = Counter()
    readings = decoder.decode(0, [Message(TOPIC, payload, age_s)], 100_000, drops)
    return {reading.channel: reading for reading in readings}, drops


def test_counts_are_exact_and_of_the_time_the_message_came():
    text = json.dumps({"ENERGY": {"Total": 0}}).replace("0}", '123456789.000001, "Power": 1e3}')
    readings, drops = decode(text.encode(), age_s=7.5)
    assert readings["energy_import"] == Reading("m1", "energy_import", 92_500, 123_456_789_000_001)
    assert readings["power"].value == 1.0
    assert drops == Counter(no_value=3)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_payload_is_readings_or_counted_drops(payload):
    readings, drops = decode(payload)
    assert len(readings) + drops.total() == 5


@pytest.mark.parametrize("total", ["true", '"5"', "NaN", "1e999999", "[1]", "{}", "null", "-1"])
def test_what_is_no_count_is_none(total):
    readings, drops = decode(b'{"ENERGY":{"Total":%s,"Power":5}}' % total.encode())
    assert set(readings) == {"power"}
    assert drops.total() == 4


def test_a_meter_needs_a_name():
    device = load_device_map("tasmota-energy")
    for name in ("", "a/b", "a+", "#"):
        with pytest.raises(ValueError, match="no name for a topic"):
            MqttJsonDecoder(MeterConfig("m1", "tasmota-energy", address=name), device)  # type: ignore[arg-type]
