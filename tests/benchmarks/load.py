"""A city's edges over one connection: contract batches, windows, real acks.

    python -m tests.benchmarks.load PORT LOAD_JSON

All edges have meters of the same names, so the blocks of the k-th batch are encoded once, by the
contract's encoder, and only the envelope is each edge's own. Registers rise and other values
wander, differently per meter. Every second one JSON line tells what was acknowledged.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contract.ack import decode_ack
from contract.channels import catalogue
from contract.data import Block, encode_blocks, encode_envelope
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.state import BusState, EdgeState, MeterState, encode_state
from contract.topics import Address, MessageKind, filter_for, parse_topic, topic

REGION = "370114"
CUMULATIVE = ("energy_import", "reactive_energy_import")
INSTANTANEOUS = ("power", "reactive_power", "power_factor", "voltage_a", "current_a", "frequency")
CHANNELS = len(CUMULATIVE) + len(INSTANTANEOUS)
DISPLAY_STEP_MICRO = 10_000
WINDOW = 8
STATE_S = 30
RESEND_S = 30.0
SHARED_BATCHES = 256


@dataclass(frozen=True, slots=True)
class Load:
    """``edges`` of ``meters`` each; a batch is ``samples`` readings of each channel.

    rate: readings/s that are offered; 0 = as fast as acks come (a window of 8 per edge).
    """

    edges: int = 100
    meters: int = 10
    samples: int = 15
    period_ms: int = 1_000
    start_ms: int = 0
    rate: float = 0.0

    @property
    def readings(self) -> int:
        """Readings of one batch."""
        return self.meters * self.samples * CHANNELS

    def address(self, edge: int) -> Address:
        """Each edge is at a site of its own."""
        return Address(REGION, f"site-{edge:04}", "gw")

    def meta(self) -> bytes:
        """What every edge reads."""
        channels = tuple(
            MetaChannel(name, catalogue()[name].unit, 1e6, 1_000.0, DISPLAY_STEP_MICRO / 1_000_000)
            if name in CUMULATIVE
            else MetaChannel(name, catalogue()[name].unit)
            for name in CUMULATIVE + INSTANTANEOUS
        )
        return encode_meta(
            Meta(
                tuple(
                    MetaMeter(f"em-{m:02}", f"SN-{m}", "eastron-sdm630", channels)
                    for m in range(self.meters)
                )
            )
        )

    def state(self) -> bytes:
        """What every edge says of itself."""
        meters = tuple(MeterState(f"em-{m:02}", ok=True, polls=9) for m in range(self.meters))
        bus = BusState("lan", "modbus-tcp", cycles=9)
        return encode_state(
            EdgeState(online=True, time_ms=self.start_ms, buses=(bus,), meters=meters)
        )

    def blocks(self, k: int) -> bytes:
        """The k-th batch of every edge, without envelope."""
        draw = random.Random(k)
        first = k * self.samples
        times = tuple(self.start_ms + self.period_ms * (first + i) for i in range(self.samples))
        blocks = []
        for m in range(self.meters):
            base, step = 123_456_780_000 * (m + 1), (m + 1) * DISPLAY_STEP_MICRO
            rising = tuple(base + step * (first + i) for i in range(self.samples))
            columns: dict[str, tuple[int | float | None, ...]] = dict.fromkeys(CUMULATIVE, rising)
            for name in INSTANTANEOUS:
                columns[name] = tuple(round(draw.uniform(0, 400), 2) for _ in times)
            blocks.append(Block(f"em-{m:02}", times, columns, {}))
        return encode_blocks(blocks)


def write_register(load: Load, folder: Path) -> None:
    """Write the aggregator's register folder for a load: every meter a boundary one."""
    folder.mkdir(parents=True, exist_ok=True)
    sites = ["site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude"]
    meters = ["site,meter,carrier,role,parent,multiplier,edge,valid_from,note"]
    for edge in range(load.edges):
        address = load.address(edge)
        sites.append(f"{address.site},{REGION},压测,Load,load test,,,,")
        meters += [
            f"{address.site},em-{m:02},electricity,boundary_in,,1,{address.edge},,"
            for m in range(load.meters)
        ]
    (folder / "sites.csv").write_text("\n".join(sites) + "\n", "utf-8")
    (folder / "meters.csv").write_text("\n".join(meters) + "\n", "utf-8")


@dataclass(slots=True)
class _Edge:
    address: Address
    outbox: str
    sent: int = 0
    """Batches sent, which is also the last seq."""
    flying: dict[int, tuple[float, float]] = field(default_factory=dict)
    """seq -> (first sent, last sent) [monotonic s]."""


@dataclass(slots=True)
class Tally:
    """What happened in one second."""

    acked_readings: int = 0
    batches: int = 0
    bytes: int = 0
    resent: int = 0
    held_back: int = 0
    """Open loop: sends that were due while the window was full."""
    latency_ms: list[int] = field(default_factory=list)


class Generator:
    """The edges of a load. `publish` sends topic, payload and retain flag."""

    def __init__(self, load: Load, publish: Callable[[str, bytes, bool], Any]) -> None:
        self._load = load
        self._publish = publish
        self._edges = [_Edge(load.address(i), f"{i + 1:016x}") for i in range(load.edges)]
        self._by_site = {edge.address.site: edge for edge in self._edges}
        self._meta = load.meta()
        self._hash = meta_hash(self._meta)
        self._state = load.state()
        self._blocks: dict[int, bytes] = {}
        self._began = 0.0
        self._offered = 0
        self._turn = 0
        self.tally = Tally()

    def start(self) -> None:
        """Publish all metas; closed loop: then fill all windows."""
        for edge in self._edges:
            self._publish(topic(edge.address, MessageKind.META), self._meta, True)
        self._began = time.monotonic()
        if not self._load.rate:
            self.send_rounds(WINDOW)

    def send_rounds(self, rounds: int) -> None:
        """Send the next batches of every edge, whatever its window says."""
        for _ in range(rounds):
            for edge in self._edges:
                self._send_next(edge)

    def send_rounds_with_states(self, rounds: int) -> None:
        """The same, with a state of every edge as often as its samples would take."""
        spans = STATE_S * 1_000 // (self._load.samples * self._load.period_ms) or 1
        for number in range(rounds):
            self.send_rounds(1)
            if number % spans == 0:
                self.send_states(range(len(self._edges)))

    def send_states(self, edges: Iterable[int]) -> None:
        """Publish the states of some edges."""
        for edge in edges:
            name = topic(self._edges[edge].address, MessageKind.STATE)
            self._publish(name, self._state, True)

    def tick(self) -> None:
        """Open loop: send what is due."""
        now = time.monotonic()
        if self._load.rate:
            due = int((now - self._began) * self._load.rate / self._load.readings)
            while self._offered < due:
                edge = self._edges[self._turn]
                if len(edge.flying) < WINDOW:
                    self._send_next(edge)
                else:
                    self.tally.held_back += 1
                self._turn = (self._turn + 1) % len(self._edges)
                self._offered += 1

    def resend(self) -> None:
        """Send again what nobody acknowledged in time."""
        now = time.monotonic()
        for edge in self._edges:
            for seq, (first, last) in edge.flying.items():
                if now - last > RESEND_S:
                    edge.flying[seq] = first, now
                    self._publish(
                        topic(edge.address, MessageKind.DATA), self._data(edge, seq), False
                    )
                    self.tally.resent += 1

    def take_ack(self, name: str, payload: bytes) -> None:
        """Count what is settled; closed loop: fill the window again."""
        address, _ = parse_topic(name)
        edge = self._by_site[address.site]
        ack = decode_ack(payload).outboxes.get(edge.outbox)
        if ack is None:
            return
        now = time.monotonic()
        for seq in list(edge.flying):
            if seq <= ack.upto or any(low <= seq <= high for low, high in ack.ranges):
                first, _ = edge.flying.pop(seq)
                self.tally.acked_readings += self._load.readings
                self.tally.batches += 1
                self.tally.latency_ms.append(round(1_000 * (now - first)))
        while not self._load.rate and len(edge.flying) < WINDOW:
            self._send_next(edge)

    def _send_next(self, edge: _Edge) -> None:
        edge.sent += 1
        payload = self._data(edge, edge.sent)
        now = time.monotonic()
        edge.flying[edge.sent] = now, now
        self.tally.bytes += len(payload)
        self._publish(topic(edge.address, MessageKind.DATA), payload, False)

    def _data(self, edge: _Edge, seq: int) -> bytes:
        blocks = self._blocks.get(seq)
        if blocks is None:
            blocks = self._blocks[seq] = self._load.blocks(seq - 1)
            self._blocks.pop(seq - SHARED_BATCHES, None)
        return encode_envelope(edge.outbox, seq, self._hash, 1, (), blocks)


def main(port: int, load: Load) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="load", clean_session=True)
    client.max_inflight_messages_set(60_000)  # the broker's limits are met, not paho's
    generator = Generator(
        load, lambda name, data, retain: client.publish(name, data, qos=1, retain=retain)
    )
    subscribed = False

    def on_subscribe(*_: Any) -> None:
        nonlocal subscribed
        subscribed = True

    client.on_subscribe = on_subscribe
    client.on_message = lambda _client, _data, message: generator.take_ack(
        message.topic, bytes(message.payload)
    )
    client.connect("127.0.0.1", port)
    client.subscribe(filter_for(MessageKind.ACK, REGION), qos=1)
    while not subscribed:
        assert client.loop(0.1) == paho.MQTT_ERR_SUCCESS
    generator.start()
    told, second = time.monotonic(), 0
    while True:
        if client.loop(0.01) != paho.MQTT_ERR_SUCCESS:
            raise ConnectionError("the broker left")
        generator.tick()
        if time.monotonic() - told >= 1:
            told += 1
            second += 1
            generator.resend()
            generator.send_states(range(second % STATE_S, load.edges, STATE_S))
            print(json.dumps(asdict(generator.tally)), flush=True)
            generator.tally = Tally()


if __name__ == "__main__":
    main(int(sys.argv[1]), Load(**json.loads(sys.argv[2])))
