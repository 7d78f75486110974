"""How fast a store takes readings from nobody but a loop: what an aggregator is compared with."""

from __future__ import annotations

import time
from collections.abc import Sequence

import httpx

from aggregator.store.base import Commit
from aggregator.store.line_protocol import LineEncoder
from tests.benchmarks.stages import Profile
from tests.debian_influx import DebianInflux

LINES_PER_WRITE = 20_000


def influx_ingest(server: DebianInflux, found: Profile) -> float:
    """Readings/s of InfluxDB when lines that are encoded already are written one after the other.

    The commits are those of a run of the pipeline: the same wide lines that the aggregator writes.
    """
    bodies = _bodies(found.commits, LineEncoder(found.directory))
    login = ("admin", server.password("admin"))
    with httpx.Client(base_url=server.url, auth=login, timeout=60, trust_env=False) as client:
        client.post("/query", data={"q": 'CREATE DATABASE "raw"'}).raise_for_status()
        began = time.monotonic()
        for body in bodies:
            answer = client.post("/write", params={"db": "raw", "precision": "ns"}, content=body)
            answer.raise_for_status()
        return found.readings / (time.monotonic() - began)


def _bodies(commits: Sequence[Commit], encoder: LineEncoder) -> Sequence[bytes]:
    bodies = []
    lines: list[str] = []
    for commit in commits:
        wide = encoder.readings(commit.cumulative, commit.instantaneous)
        encoder.remember(wide.heads)
        lines += wide.lines
        while len(lines) >= LINES_PER_WRITE:
            bodies.append("\n".join(lines[:LINES_PER_WRITE]).encode())
            lines = lines[LINES_PER_WRITE:]
    bodies.append("\n".join(lines).encode())
    return [body for body in bodies if body]
