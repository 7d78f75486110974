"""Decoding ``data`` payloads, bytes to cells of int64 and float64, all checks on; one core."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from aggregator.ingest.decode import decode_batch
from contract.channels import catalogue
from contract.data import Batch, Block, decode_data, encode_data
from tests.benchmarks.measure import rate, seconds

ROUNDS = 300


def main() -> Iterator[str]:
    for label, meters, samples, channels, coded in (
        ("60 samples x 20 channels", 1, 60, 20, False),
        ("the same, every value with a quality code", 1, 60, 20, True),
        ("1 sample x 240 channels (30 meters x 8)", 30, 1, 8, False),
    ):
        data = payload(meters, samples, channels, coded=coded)
        readings = meters * samples * channels
        assert len(decode_batch(data)) == readings
        fast = per_payload(decode_batch, data)
        plain = per_payload(plain_loop, data)
        reference = per_payload(decode_data, data)
        yield (
            f"{label}, {len(data)} bytes: {rate(readings, fast)} readings; plain json.loads + "
            f"Python loop, nothing checked, {rate(readings, plain)}, x {plain / fast:.1f}; "
            f"reference codec {rate(readings, reference)}, x {reference / fast:.0f}"
        )


def per_payload(call: Any, data: bytes) -> float:
    def rounds() -> None:
        for _ in range(ROUNDS):
            call(data)

    return seconds(rounds, repeat=5) / ROUNDS


def payload(meters: int, samples: int, channels: int, *, coded: bool) -> bytes:
    """Values as a meter gives them: registers with two decimals, the rest with one to three."""
    draw = random.Random(7)
    names = list(catalogue())[3 : 3 + channels] if channels < 20 else list(catalogue())[9:29]
    blocks = []
    for meter in range(meters):
        columns: dict[str, tuple[int | float | None, ...]] = {}
        for name in names:
            if catalogue()[name].cumulative:
                start = draw.randrange(10**8)
                columns[name] = tuple((start + 7 * i) * 10_000 for i in range(samples))
            else:
                columns[name] = tuple(round(draw.uniform(0, 400), 2) for _ in range(samples))
        times = tuple(1_760_000_000_000 + 60_000 * i for i in range(samples))
        quality = dict.fromkeys(names, (5,) * samples) if coded else {}
        blocks.append(Block(f"em-{meter:02}", times, columns, quality))
    return encode_data(Batch("9f86d081884c7d65", 1, "ab" * 32, 1, (), tuple(blocks)))


def plain_loop(data: bytes) -> list[Any]:
    """The least a loop must do for the same cells; it trusts every byte."""
    channels = catalogue()
    kinds: tuple[list[Any], list[Any]] = ([], [])
    for b, block in enumerate(json.loads(data)["blocks"]):
        time_ms, times = block["t0"], []
        for step in block["dt"]:
            time_ms += step
            times.append(time_ms)
        codes = block.get("quality", {})
        for name, column in block["channels"].items():
            channel = channels[name]
            cells = kinds[channel.cumulative]
            column_codes = codes.get(name) or [0] * len(column)
            for at, value, code in zip(times, column, column_codes, strict=True):
                if value is None:
                    continue
                micro = round(value * 1_000_000) if channel.cumulative else value
                cells.append((b, channel.index, at, micro, code))
    return [
        np.array(column, dtype)
        for cells, kind in zip(kinds, (np.float64, np.int64), strict=True)
        for column, dtype in zip(
            zip(*cells, strict=True), (np.int32, np.int32, np.int64, kind, np.uint8), strict=False
        )
    ]
