"""How fast an edge sends a backlog: many times real time, over a wire with delay.

    python -m tests.benchmarks.drain --hours 24

100 meters x 8 channels each 15 s, committed each 30 s, in the durable outbox; a real mosquitto
behind 5 ms in each direction; the other side acks what it gets, as an aggregator that is never the
limit would.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt

from contract.ack import Ack, OutboxAck, encode_ack
from contract.reading import Reading
from contract.topics import Address, MessageKind, topic
from edge_agent.clock import SystemClock
from edge_agent.config import UplinkConfig
from edge_agent.outbox.sqlite import SqliteOutbox
from edge_agent.uplink import Uplink
from tests.benchmarks.measure import machine
from tests.benchmarks.processes import load_average
from tests.brokers import mosquitto_broker
from tests.suites.outbox_suite import META, NOW

HERE = Address("370114", "bench", "gw")
DELAY_S = 0.005
METERS = 100
CHANNELS = (
    "energy_import", "energy_export", "power", "voltage_a", "voltage_b", "current_a", "current_b",
    "power_factor",
)  # fmt: skip
_SEQ = re.compile(rb'"seq":(\d+)')


def backlog(outbox: SqliteOutbox, hours: float) -> int:
    """Fill the outbox as a gateway without network does; returns the readings."""
    chance = random.Random(1)
    commits = round(hours * 120)
    for commit in range(commits):
        for half in range(2):
            time_ms = NOW + commit * 30_000 + half * 15_000
            outbox.append(
                [
                    Reading(f"em-{meter}", name, time_ms + meter, _value(name, time_ms, chance))
                    for meter in range(METERS)
                    for name in CHANNELS
                ]
            )
        outbox.commit(NOW + commit * 30_000)
    return commits * 2 * METERS * len(CHANNELS)


def _value(channel: str, time_ms: int, chance: random.Random) -> float:
    if channel.startswith("energy"):
        return (time_ms - NOW) // 1000 * 10_000
    return round(chance.gauss(100, 2), 2)


async def delayed(port: int) -> tuple[asyncio.Server, int]:
    """A port that leads to another, each way 5 ms later."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await reader.read(1 << 16):
            loop.call_later(DELAY_S, writer.write, chunk)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(asyncio.CancelledError):  # the end of the run
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def acknowledge(port: int, outbox: str, ready: asyncio.Event) -> None:
    """Ack every batch."""
    settled: set[int] = set()
    upto = 0
    async with aiomqtt.Client("127.0.0.1", port, timeout=10) as client:
        await client.subscribe(topic(HERE, MessageKind.DATA), qos=1)
        ready.set()
        async for message in client.messages:
            found = _SEQ.search(message.payload)
            settled.add(int(found.group(1)) if found else 0)
            while upto + 1 in settled:
                upto += 1
            above = tuple((seq, seq) for seq in sorted(settled) if seq > upto)[-64:]
            ack = Ack(SystemClock().time_ms(), {outbox: OutboxAck(upto, above)})
            await client.publish(topic(HERE, MessageKind.ACK), encode_ack(ack), qos=1)


async def drain(outbox: SqliteOutbox, port: int) -> tuple[float, float]:
    """Seconds and processor seconds (of both sides) until all is acked."""
    wire, delayed_port = await delayed(port)
    uplink = Uplink(
        UplinkConfig(host="127.0.0.1", port=delayed_port),
        HERE,
        outbox,
        SystemClock(),
        lambda _: None,
        lambda: b'{"v":1,"online":true,"time_ms":1}',
    )
    ready = asyncio.Event()
    tasks = [asyncio.create_task(acknowledge(port, outbox.id, ready))]
    await ready.wait()
    began, used = time.monotonic(), time.process_time()
    tasks.append(asyncio.create_task(uplink.run()))
    while outbox.stats().depth_batches:
        await asyncio.sleep(0.05)
    took = time.monotonic() - began, time.process_time() - used
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    wire.close()
    return took


def main(hours: float = 6) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name:
        folder = Path(name)
        outbox = SqliteOutbox(folder / "outbox.sqlite", 1 << 30, 190)
        outbox.use_meta(META)
        readings = backlog(outbox, hours)
        batches = outbox.next_seq - 1
        with mosquitto_broker(folder) as broker:
            seconds, used = asyncio.run(drain(outbox, broker.port))
        outbox.close()
    yield (
        f"{hours:g} h of {METERS} meters x {len(CHANNELS)} channels at 15 s: {readings} readings "
        f"in {batches} batches drained in {seconds:.1f} s: {hours * 3600 / seconds:.0f} x real "
        f"time ({used:.1f} CPU s, the acking side included); {load_average()}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.drain", description=__doc__)
    parser.add_argument("--hours", type=float, default=6)
    chosen = parser.parse_args()
    print(machine())
    for text in main(chosen.hours):
        print(f"  {text}", flush=True)
