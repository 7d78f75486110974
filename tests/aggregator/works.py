"""A whole aggregator in this process, without broker: pipeline thread, store, records, API."""

import io
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aggregator.amendments import Amendments
from aggregator.api.guard import Doorkeeper
from aggregator.api.main import build_app
from aggregator.api.reader import StoreLedgerReader
from aggregator.api.writer import PipelineLedgerWriter
from aggregator.book import Book
from aggregator.config import PaceSection
from aggregator.events import Counter, Events
from aggregator.facts import Facts
from aggregator.ingest.subscriber import Inbox, Message
from aggregator.ledger.factor_tables import builtin_library
from aggregator.ledger.tariff_tables import builtin_tariffs
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.parameters import Parameters
from aggregator.pipeline import Pipeline
from aggregator.records import Records
from aggregator.register.model import Meter, Register, Role, Site
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.embedded import EmbeddedStore
from aggregator.stuck import Stuck
from aggregator.tokens import Tokens
from contract.data import Batch, blocks_of, encode_data
from contract.interval import DAY_MS, GRID_MS, MINUTE_MS
from contract.meta import Meta, MetaChannel, MetaMeter, encode_meta, meta_hash
from contract.reading import Reading
from contract.topics import Address, MessageKind, topic
from contract.units import to_micro
from tests.aggregator.doors import engineer, keeper_of

TOKEN = "a-token-of-the-tests-0123"
EDGE = Address("370114", "works", "gw-1")
T0 = 1_772_409_600_000  # 2026-03-02T08:00:00+08:00
NOW = T0 + 3 * DAY_MS
MULTIPLIER = 40
RATING_KW = 60.0
METERS = {"em-1": ("energy_import", "kWh", "electricity"), "wm-1": ("volume", "m3", "water")}
META = encode_meta(
    Meta(
        tuple(
            MetaMeter(name, "s", "m", (MetaChannel(channel, unit, 100_000.0, RATING_KW, 0.01),))
            for name, (channel, unit, _) in METERS.items()
        )
    )
)


def minutes(*values: float, start: int = 0, step: int = 15) -> list[tuple[int, float]]:
    """Readings (time [ms], display [unit]) each quarter of an hour."""
    return [(T0 + (start + i * step) * MINUTE_MS, value) for i, value in enumerate(values)]


class Works:
    """Closed and opened again it goes on with the same data."""

    def __init__(
        self,
        folder: Path,
        keeper: Doorkeeper | None = None,
        *,
        running: bool = True,
        wait_s: float = 30,
    ) -> None:
        self.events = Events(lambda: NOW, io.StringIO())
        self.store = EmbeddedStore(folder / "ledger.duckdb", GRID_MS)
        self.store.open()
        url = f"sqlite:///{folder / 'records.sqlite'}"
        self.records = Records(url)
        self.records.open()
        self.facts, self.restatements = Facts(url), Restatements(url)
        site = Site("works", "370114", "厂", "works", "foundry", None, None, None, None)
        register = Register.of(
            [site],
            [
                Meter("works", name, carrier, Role.BOUNDARY_IN, "", MULTIPLIER, "gw-1", 0, "")
                for name, (_, _, carrier) in METERS.items()
            ],
        )
        parameters = Parameters(self.store.directory, register)
        for place in self.facts.sites():
            parameters.declare(*place, self.facts.declared(*place))
        factors = builtin_library().choose("national")
        tariffs = SiteTariffs(register, builtin_tariffs(), GRID_MS)
        book = Book(
            self.store,
            parameters,
            Measures(self.store.directory, parameters, factors, tariffs),
        )
        self.inbox = Inbox(1_000_000, self.events)
        live = Live()
        self.pipeline = Pipeline(
            store=self.store,
            records=self.records,
            book=book,
            parameters=parameters,
            amendments=Amendments(
                self.store, book, parameters, self.facts, self.restatements, lambda: NOW
            ),
            rollups=Rollups(self.store, self.events, Stuck(self.store, parameters)),
            live=live,
            inbox=self.inbox,
            publish=lambda _topic, _payload: None,
            events=self.events,
            pace=PaceSection(commit_readings=1, late_debounce_s=0),
            time_ms=lambda: NOW,
        )
        reader = StoreLedgerReader(
            self.store, register, factors, tariffs, live,
            facts=parameters.facts, counters=self.events.counts, now_ms=lambda: NOW,
            quarantine=self.records,
        )  # fmt: skip
        writer = PipelineLedgerWriter(
            self.facts, self.restatements, self.pipeline.amend, lambda: NOW, wait_s
        )
        self.tokens = Tokens(url)
        if keeper is None and not self.tokens.ever_made():
            engineer(self.tokens, TOKEN)
        self.app = build_app(reader, writer, keeper or keeper_of(self.tokens, NOW))
        self.app.state.reads_with = TOKEN if keeper is None else None
        self._outbox, self._seq = f"{len(self.store.directory.sources):016x}", 0
        self._thread = threading.Thread(target=self.pipeline.run)
        if running:
            self._thread.start()

    def read(self, readings: Sequence[tuple[int, float]], meter: str = "em-1") -> None:
        """Let the edge send readings, and wait until they are committed."""
        channel = METERS[meter][0]
        self._seq += 1
        blocks = blocks_of([Reading(meter, channel, at, to_micro(value)) for at, value in readings])
        data = encode_data(Batch(self._outbox, self._seq, meta_hash(META), 1, (), blocks))
        self.inbox.put(Message(topic(EDGE, MessageKind.META), META))
        self.inbox.put(Message(topic(EDGE, MessageKind.DATA), data))
        self.until(lambda: self.events.counts()[Counter.BATCHES] == self._seq)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            assert self._thread.is_alive(), "the pipeline has ended"
            time.sleep(0.01)

    def ended(self) -> None:
        """Wait for the pipeline's end."""
        self._thread.join(20)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.pipeline.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self.records.close()
        self.facts.close()
        self.restatements.close()
        self.tokens.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def exchange(**more: Any) -> dict[str, Any]:
    """An event's body."""
    body = {
        "kind": "exchange", "site": "works", "meter": "em-1", "channel": "energy_import",
        "at_ms": T0 + 60 * MINUTE_MS, "author": "the tests", "reason": "a new meter",
    }  # fmt: skip
    return {name: value for name, value in (body | more).items() if value is not None}
