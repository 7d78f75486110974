"""Composition root: the only file that knows which classes an aggregator is made of.

Threads: paho's own (network), the pipeline (everything that writes), the API's event loop in the
main thread with a pool for its reads.
"""

import asyncio
import signal
import socket
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import uvicorn

from aggregator.amendments import Amendments
from aggregator.api.guard import Doorkeeper
from aggregator.api.main import build_app
from aggregator.api.reader import StoreLedgerReader
from aggregator.api.writer import PipelineLedgerWriter
from aggregator.arrivals import Arrivals
from aggregator.basis import bases
from aggregator.book import Book
from aggregator.closings import Closings
from aggregator.config import Config, StoreSection
from aggregator.daily_proof import DailyProof
from aggregator.documents import Judge, load_documents
from aggregator.events import (
    AggregatorFailed,
    AggregatorStarted,
    AggregatorStopped,
    Events,
    FactorsNotApplied,
    RegisterImported,
    SecretExposed,
)
from aggregator.facts import Facts
from aggregator.fleet import Fleet
from aggregator.information import Information
from aggregator.ingest.subscriber import Inbox, Subscriber
from aggregator.kernels.jit import warm_up
from aggregator.ledger.factors import FactorLibrary
from aggregator.ledger.tariffs import TariffLibrary
from aggregator.lists import Lists
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.orders import Orders
from aggregator.parameters import Parameters
from aggregator.pipeline import Pipeline
from aggregator.records import Records
from aggregator.register.database import RegisterDatabase, summary
from aggregator.register.model import Register
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Store
from aggregator.stuck import Stuck
from aggregator.tokens import Tokens
from contract.state import decode_state

_MEGABYTE = 1_000_000


def wall_ms() -> int:
    """Return the time [ms UTC]: the one place where the aggregator reads a clock."""
    return time.time_ns() // 1_000_000


def open_store(settings: StoreSection, data_dir: Path, grid_ms: int, owner: str) -> Store:
    """Make the configured store and open it; StoreRefused when it cannot be used as it is."""
    store: Store
    if settings.kind == "embedded":
        from aggregator.store.embedded import EmbeddedStore  # noqa: PLC0415 - only what is used

        store = EmbeddedStore(
            data_dir / "ledger.duckdb",
            grid_ms,
            owner=owner,
            memory_limit=f"{settings.memory_limit_mb}MB",
        )
    elif settings.kind == "influx1":
        from aggregator.store.influx1 import Influx1Store  # noqa: PLC0415 - as above

        store = Influx1Store(
            settings.url,
            settings.database,
            grid_ms,
            user=settings.username,
            password=_secret(settings.password_file),
        )
    else:
        from aggregator.store.influx2 import Influx2Store  # noqa: PLC0415 - as above

        store = Influx2Store(
            settings.url,
            settings.database,
            grid_ms,
            org=settings.org,
            token=_secret(settings.token_file),
        )
    store.open()
    return store


def _secret(file: str) -> str:
    return Path(file).read_text("utf-8").strip() if file else ""


@dataclass(frozen=True, slots=True)
class Tables:
    """What is true about the city."""

    register: Register
    factors: FactorLibrary
    tariffs: TariffLibrary


def load_tables(config: Config, events: Events, *, read_only: bool = False) -> Tables:
    """Bring the register's folder into its database, where there is one, and load all of it.

    read_only: load what that would give, and leave the database as it is.

    Raises:
        DatabaseError, RegisterError, TableError, OSError: named with file, row and column.
    """
    settings = config.aggregator
    folder = settings.register_dir
    judge = Judge(settings.factor_set, settings.grid_ms)
    with RegisterDatabase(settings.database_url(), judge) as database:
        database.open()
        if folder and read_only:
            register, documents = database.with_folder(Path(folder))
            libraries = load_documents(documents)
            return Tables(register, libraries.factors, libraries.tariffs)
        if folder:
            changes = database.import_folder(Path(folder), author="start", now_ms=wall_ms())
            if changes:
                events.emit(RegisterImported(summary(changes)))
        libraries = load_documents(database.documents())
        return Tables(database.register(), libraries.factors, libraries.tariffs)


def run(config: Config) -> int:
    """Run one aggregator until SIGTERM or SIGINT; return the exit code."""
    events = Events(wall_ms)
    for section, host in config.exposed():
        events.emit(SecretExposed(section, host))
    data_dir = Path(config.aggregator.data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    tables = load_tables(config, events)
    register = tables.register
    factor_set = tables.factors.choose(config.aggregator.factor_set)
    tariffs = SiteTariffs(register, tables.tariffs, config.aggregator.grid_ms)
    warm_up()

    listener = socket.create_server((config.api.host, config.api.port))
    address = f"http://{config.api.host}:{listener.getsockname()[1]}"
    store = open_store(config.store, data_dir, config.aggregator.grid_ms, address)
    database_url = config.aggregator.database_url()
    records = Records(database_url)
    records.open()
    live = Live()
    for known in records.states():
        live.take_state(known.address, decode_state(known.payload))
    parameters = Parameters(store.directory, register)
    inbox = Inbox(config.pace.queue_mb * _MEGABYTE, events)
    subscriber = Subscriber(
        config.broker, config.client_id, config.aggregator.regions, inbox, events
    )
    orders = Orders(subscriber.publish, wall_ms)
    facts, restatements = Facts(database_url), Restatements(database_url)
    closings, tokens = Closings(database_url), Tokens(database_url)
    for place in facts.sites():
        parameters.declare(*place, facts.declared(*place))
    basis = bases(register, factor_set, tariffs)
    keys = store.directory.series.keys()
    not_applied = facts.begin_bases(basis, {key.site for key in keys})
    if not_applied:
        events.emit(FactorsNotApplied(factor_set.name, len(not_applied), min(not_applied)))
    book = Book(store, parameters, Measures(store.directory, parameters, factor_set, tariffs))
    pipeline = Pipeline(
        store=store,
        records=records,
        book=book,
        parameters=parameters,
        amendments=Amendments(store, book, parameters, facts, restatements, wall_ms),
        rollups=Rollups.with_nodes(
            store,
            events,
            register,
            factor_set.counts,
            tariffs,
            wall_ms,
            Stuck(store, parameters),
        ),
        live=live,
        inbox=inbox,
        publish=subscriber.publish,
        events=events,
        pace=config.pace,
        time_ms=wall_ms,
        orders=orders,
        information=Information(store, register, factor_set, wall_ms),
        fleet=Fleet(),
        arrivals=Arrivals(store),
    )
    reader = StoreLedgerReader(
        store,
        register,
        factor_set,
        tariffs,
        live,
        facts=parameters.facts,
        counters=events.counts,
        now_ms=wall_ms,
        quarantine=records,
        not_applied=not_applied,
    )
    writer = PipelineLedgerWriter(facts, restatements, pipeline.amend, wall_ms)
    keeper = Doorkeeper(tokens, config.api.local, wall_ms)
    app = build_app(reader, writer, keeper, closings, orders=orders)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
    )
    proof = DailyProof(reader, store, restatements, pipeline.put)
    lists = Lists(reader, store, records, facts, pipeline.put)
    ending = threading.Event()
    beside = [
        threading.Thread(target=run, args=(ending,), name=name, daemon=True)
        for name, run in (("proof", proof.run), ("lists", lists.run))
    ]
    worker = _Worker(pipeline, events, server)
    events.emit(
        AggregatorStarted(
            version("nenghao"), config.store.kind, address, tuple(config.aggregator.regions)
        )
    )
    try:
        subscriber.start()
        worker.start()
        for thread in beside:
            thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _noted)
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        ending.set()
        pipeline.stop()
        if worker.ident is not None:
            worker.join()
        for thread in beside:
            if thread.ident is not None:
                thread.join()
        subscriber.stop()
        records.close()
        facts.close()
        restatements.close()
        closings.close()
        tokens.close()
        store.close()
        listener.close()
    if worker.failed:
        return 1
    events.emit(AggregatorStopped())
    return 0


class _Worker(threading.Thread):
    """Runs the pipeline; when it fails the whole process ends, to be started again."""

    def __init__(self, pipeline: Pipeline, events: Events, server: uvicorn.Server) -> None:
        super().__init__(name="pipeline")
        self._pipeline = pipeline
        self._events = events
        self._server = server
        self.failed = False

    def run(self) -> None:
        try:
            self._pipeline.run()
        except Exception as error:  # the edges keep what was not acked
            self.failed = True
            self._events.emit(AggregatorFailed(f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._server.should_exit = True


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: uvicorn has seen the signal and ends, then raises it once more."""
