"""The pipeline in this process, without broker: where its thread's time goes, stage by stage.

Timers are put around the product's functions from outside; each counts what it takes itself,
without the stages inside it.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from aggregator import pipeline as pipeline_module
from aggregator import writer as writer_module
from aggregator.amendments import Amendments
from aggregator.batch import Int64, IntervalColumns
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.directory import Directory
from aggregator.events import Events
from aggregator.facts import Facts
from aggregator.ingest.answers import Answers
from aggregator.ingest.assemble import Assembler
from aggregator.ingest.subscriber import Inbox, Message
from aggregator.kernels.jit import warm_up
from aggregator.kernels.register import advance, new_heads
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.pipeline import Pipeline
from aggregator.records import Records
from aggregator.register.folder import load_folder
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.rounds import Rounds
from aggregator.runs import Runs
from aggregator.site_tariffs import SiteTariffs
from aggregator.sites import Sites
from aggregator.store.base import Commit
from aggregator.store.embedded import EmbeddedStore
from contract.ack import decode_ack
from contract.interval import GRID_MS, HOUR_MS
from contract.topics import MessageKind, parse_topic
from tests.benchmarks.load import Generator, Load, write_register

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("states", Pipeline, "_receive_state"),
    ("states", Pipeline, "_keep_states"),
    ("decode", pipeline_module, "decode_batch"),
    ("assemble", Assembler, "assemble"),
    ("load site", Book, "load_site"),
    ("late?", Book, "late"),
    ("choose and settle", Book, "counted"),
    ("figures", Book, "advance"),
    ("figures, late", Book, "recompute"),
    ("kernel", Runs, "_advance"),
    ("measures", Measures, "of"),
    ("dirty days", writer_module, "days_of"),
    ("store commit", EmbeddedStore, "commit"),
    ("live values", Live, "take"),
    ("roll-ups", Rounds, "work"),
    ("roll-ups", Rounds, "finish"),
    ("restatements", Amendments, "restate"),
    ("what is declared", Amendments, "note_new"),
    ("what is declared", Sites, "_go_on"),
    ("acks", Answers, "send"),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One run of the pipeline's thread, which waits for nothing but the disk.

    seconds: by the wall. stages: CPU seconds of the pipeline's thread, and of the others (DuckDB).
    """

    readings: int
    seconds: float
    stages: dict[str, float]
    commits: list[Commit]
    directory: Directory


class _Stopwatch:
    def __init__(self) -> None:
        self.own: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time() - start
                self.own[name] += took - self._inner.pop()
                self._inner[-1] += took

        return timed


def messages(load: Load, batches: int) -> list[Message]:
    """All metas; `batches` batches of every edge in turn, and its states in between."""
    sent: list[Message] = []
    generator = Generator(
        replace(load, rate=1.0), lambda name, data, _retain: sent.append(Message(name, data))
    )
    generator.start()
    generator.send_rounds_with_states(batches)
    return sent


def profile(
    load: Load, batches: int, pace: PaceSection, sent: list[Message] | None = None
) -> Profile:
    """Run `batches` batches per edge through a new pipeline on an embedded store of its own.

    sent: the messages of the load in another order.
    """
    stopwatch = _Stopwatch()
    commits: list[Commit] = []
    commit = EmbeddedStore.commit

    def noted(self: EmbeddedStore, columns: Commit) -> Any:
        commits.append(columns)
        return commit(self, columns)

    warm_up()
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name, ExitStack() as stack:
        stack.enter_context(patch.object(EmbeddedStore, "commit", noted))
        for stage, owner, attribute in STAGES:
            timed = stopwatch.around(stage, getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, timed))
        folder = Path(name)
        write_register(load, folder / "register")
        store = EmbeddedStore(folder / "ledger.duckdb", GRID_MS)
        store.open()
        stack.callback(store.close)
        records = Records(f"sqlite:///{folder / 'records.sqlite'}")
        records.open()
        stack.callback(records.close)
        pipeline, inbox = _pipeline(
            folder, store, records, sent or messages(load, batches), load, pace
        )
        for _ in range(load.edges):  # metas come once in an edge's life, and first
            pipeline._receive(inbox.take(0, 1)[0])
        start, cpu, whole = time.perf_counter(), time.thread_time(), time.process_time()
        pipeline.run()
        whole, cpu = time.process_time() - whole, time.thread_time() - cpu
        took = time.perf_counter() - start
    stages = {stage: stopwatch.own[stage] for stage, _, _ in STAGES if stage in stopwatch.own}
    stages["the rest"] = cpu - sum(stages.values())
    stages["other threads"] = whole - cpu
    readings = sum(len(c.cumulative) + len(c.instantaneous) for c in commits)
    assert readings == batches * load.edges * load.readings
    return Profile(readings, took, stages, commits, store.directory)


def _pipeline(
    folder: Path,
    store: EmbeddedStore,
    records: Records,
    sent: list[Message],
    load: Load,
    pace: PaceSection,
) -> tuple[Pipeline, Inbox]:
    """A pipeline that finds all messages in its inbox and stops when the last is acknowledged."""
    events = Events(lambda: 0)
    inbox = Inbox(1 << 40, events)  # all of them, whatever a message takes
    for message in sent:
        inbox.put(message)
    last = sum(message.topic.endswith(MessageKind.DATA) for message in sent) // load.edges
    unfinished = set(range(load.edges))

    def publish(topic: str, payload: bytes) -> None:
        address, kind = parse_topic(topic)
        assert kind is MessageKind.ACK
        (settled,) = decode_ack(payload).outboxes.values()
        if settled.upto == last:
            unfinished.discard(int(address.site.rpartition("-")[2]))
        if not unfinished:
            pipeline.stop()

    register = load_folder(folder / "register")
    parameters = Parameters(store.directory, register)
    tariffs = SiteTariffs(register, builtin_tariffs(), store.grid_ms)
    measures = Measures(store.directory, parameters, builtin_library().choose("demo"), tariffs)
    book = Book(store, parameters, measures)

    rounds = last * load.samples * load.period_ms

    def now_ms() -> int:
        """Follow the messages that have been taken: what comes in its turn is live."""
        taken = 1 - len(inbox._messages) / len(sent)
        return load.start_ms + int(taken * rounds) + HOUR_MS

    url = f"sqlite:///{folder / 'records.sqlite'}"
    pipeline = Pipeline(
        store=store,
        records=records,
        book=book,
        parameters=parameters,
        amendments=Amendments(
            store,
            book,
            parameters,
            Facts(url),
            Restatements(url),
            now_ms,
        ),
        rollups=Rollups(store, events),
        live=Live(),
        inbox=inbox,
        publish=publish,
        events=events,
        pace=pace,
        time_ms=now_ms,
    )
    return pipeline, inbox


def raw_append(found: Profile) -> float:
    """Wall seconds for the same readings in the same commits, without figures and receipts."""
    with tempfile.TemporaryDirectory(prefix="nenghao-bench-") as name:
        store = EmbeddedStore(Path(name) / "raw.duckdb", GRID_MS)
        store.open()
        store.directory.series.add_all(found.directory.series.keys())
        store.directory.sources.add_all(found.directory.sources.keys())
        start = time.perf_counter()
        for commit in found.commits:
            store.commit(
                replace(commit, intervals=IntervalColumns.empty(), receipts={}, dirty=frozenset())
            )
        took = time.perf_counter() - start
        store.close()
    return took


def kernel_alone(found: Profile) -> tuple[int, float]:
    """Cumulative readings and wall seconds for the register kernel on the same commits."""
    count = len(found.directory.series)
    heads = new_heads(*(np.full(count, x, np.int64) for x in (0, 10**9, 1_800_000, 10_000)))
    calls: list[tuple[Int64, Int64, Int64, Int64]] = []
    for commit in found.commits:
        columns = commit.cumulative
        rows = columns.take(np.lexsort((columns.time_ms, columns.series)))
        series, first = np.unique(rows.series, return_index=True)
        # Copies are writable, as the arrays are that the kernel was compiled for
        offsets = np.append(first, len(rows))
        calls.append(
            (series.astype(np.int64), offsets, rows.time_ms.copy(), rows.value.astype(np.int64))
        )
    start = time.perf_counter()
    for slots, offsets, times, values in calls:
        _, status = advance(heads, slots, offsets, times, values, GRID_MS)
        assert not status.any()
    return sum(len(call[2]) for call in calls), time.perf_counter() - start
