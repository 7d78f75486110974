"""What both ends wrote down: what the meters answered, what the store keeps of every reading."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import httpx

from contract.channels import catalogue
from contract.reading import COUNTING_CODES
from contract.stored import EDGE, METER, OUTBOX, QUALITY_SUFFIX, READING, SEQ, SITE

NS_PER_MS = 1_000_000
Channel = tuple[str, str, str]
"""(site, meter, channel)."""


@dataclass(frozen=True, slots=True, order=True)
class Answer:
    """What a counter showed [micro-units] and what was true then [micro-units after CT x VT]."""

    time_ms: int
    shown_micro: int
    true_micro: int


@dataclass(frozen=True, slots=True, order=True)
class Kept:
    """One stored reading of a counter. counts: of a quality that enters the ledger."""

    time_ms: int
    value_micro: int
    counts: bool


@dataclass(slots=True)
class Stored:
    """All readings of a store. by_edge: every reading of an edge, of all channels."""

    counters: dict[Channel, list[Kept]] = field(default_factory=dict)
    by_edge: dict[str, list[tuple[str, str, int, str, int]]] = field(default_factory=dict)
    """Edge -> (meter, channel, time_ms, outbox, seq), as often as the store has it."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a reading: site, meter, channel, edge, outbox, seq, time_ms, value, quality."""
        meter, channel = row["meter"], row["channel"]
        place = (meter, channel, row["time_ms"], row["outbox"], row["seq"])
        self.by_edge.setdefault(row["edge"], []).append(place)
        if catalogue()[channel].cumulative:
            kept = Kept(row["time_ms"], row["value"], row["quality"] in COUNTING_CODES)
            self.counters.setdefault((row["site"], meter, channel), []).append(kept)


def read_served(file: Path) -> dict[Channel, list[Answer]]:
    """What `simulate meters --record` wrote, in the order of time."""
    served: dict[Channel, list[Answer]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            answer = Answer(int(row["time_ms"]), int(row["served_micro"]), int(row["true_micro"]))
            served.setdefault((row["site"], row["meter"], row["channel"]), []).append(answer)
    return {channel: sorted(set(answers)) for channel, answers in served.items()}


def read_embedded(file: Path) -> Stored:
    """The readings of the embedded store, whose owner has ended."""
    stored = Stored()
    with duckdb.connect(str(file), read_only=True) as db:
        names = [row[0] for row in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        for name in names:
            if not name.startswith(("cumulative_", "instant_")):
                continue
            found = db.execute(
                "SELECT series.site, meter, channel, edge, outbox, seq, time_ms, value, quality "
                f"FROM {name} AS raw JOIN series ON series.id = raw.series "
                "JOIN source ON source.id = raw.source"
            )
            columns = [column[0] for column in found.description or ()]
            for values in found.fetchall():
                stored.add(dict(zip(columns, values, strict=True)))
    return stored


def read_influx(url: str, database: str) -> Stored:
    """The readings of an InfluxDB 1.x. A point that was sent again may stand there twice."""
    form = {"db": database, "q": f'SELECT * FROM "{READING}"', "epoch": "ns"}
    answer = httpx.post(f"{url}/query", data=form, timeout=60, trust_env=False)
    answer.raise_for_status()
    stored = Stored()
    for series in answer.json()["results"][0].get("series", ()):
        for values in series["values"]:
            point = dict(zip(series["columns"], values, strict=True))
            for row in _readings(point):
                stored.add(row)
    return stored


def _readings(point: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    head = {name: point[name] for name in (SITE, METER, EDGE, OUTBOX, SEQ)}
    for channel in catalogue():
        value = point.get(channel)
        if value is not None:
            yield {
                **head,
                "channel": channel,
                "time_ms": point["time"] // NS_PER_MS,
                "value": value,
                "quality": point.get(f"{channel}{QUALITY_SUFFIX}") or 0,
            }
