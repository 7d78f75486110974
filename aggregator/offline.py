"""What an aggregator is made of, without its network: for commands that take the store over.

The command owns the store for the time it runs (`aggregator.owned`).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aggregator.amendments import Amendments
from aggregator.api.reader import StoreLedgerReader
from aggregator.app import load_tables, wall_ms
from aggregator.basis import Basis, bases, outdated
from aggregator.book import Book
from aggregator.config import Config
from aggregator.dead_letters import DeadLetters
from aggregator.events import Events
from aggregator.facts import Facts
from aggregator.ingest.assemble import Assembler
from aggregator.kernels.jit import warm_up
from aggregator.live import Live
from aggregator.measures import Measures
from aggregator.owned import owned_store
from aggregator.parameters import Parameters
from aggregator.recorder import Recorder
from aggregator.records import Records
from aggregator.refusals import NothingThereError
from aggregator.register.model import Register
from aggregator.release import Release, release_of
from aggregator.replay import Replayer
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups
from aggregator.site_tariffs import SiteTariffs
from aggregator.store.base import Store
from aggregator.stuck import Stuck
from contract.meta import decode_meta


@dataclass(frozen=True, slots=True)
class Parts:
    """A store that is ours for now, and all that makes figures of its readings."""

    store: Store
    register: Register
    records: Records
    parameters: Parameters
    measures: Measures
    book: Book
    amendments: Amendments
    restatements: Restatements
    rollups: Rollups
    reader: StoreLedgerReader
    facts: Facts
    bases: Mapping[str, Basis]
    """By site what measures made here are made with."""

    def sites(self, site: str | None) -> list[tuple[str, str]]:
        """Return the (region, site) pairs with data that the register knows, ascending.

        NothingThereError: there is none.
        """
        known = {(one.region, one.id) for one in self.register.sites.values()}
        keys = self.store.directory.series.keys()
        found = sorted({(key.region, key.site) for key in keys} & known)
        chosen = [pair for pair in found if site in (None, pair[1])]
        if not chosen:
            what = f"no data of site {site}" if site else "the store holds no data"
            raise NothingThereError(what)
        return chosen

    def waiting(self, region: str, site: str) -> Release | None:
        """Return readings in quarantine that a clock event lets in; None when none wait.

        Only an aggregator lets them in. What is asked adds channels to the directory.
        """
        clocks = self.parameters.clocks(region, site)
        assembler = Assembler(self.store.directory)
        for kept in self.records.misdated(region, site) if clocks else ():
            found = release_of(kept, clocks, assembler, self.store, wall_ms())
            if found is not None and len(found):
                return found
        return None

    def replayer(self, why: str = "") -> Replayer:
        """Return what makes figures anew; `why` goes into the restatement records."""
        return Replayer(
            self.store,
            self.book,
            self.amendments,
            self.restatements,
            self.rollups,
            wall_ms,
            why,
        )


@contextmanager
def opened(
    config: Config,
    owner: str,
    events: Events,
    factor_set_name: str = "",
    *,
    read_only: bool = False,
) -> Iterator[Parts]:
    """Open the store of a configuration; StoreOwned while an aggregator has it.

    factor_set_name: make measures with another set than the configured one. read_only: take the
    register's folder for imported, and import nothing.
    """
    Path(config.aggregator.data_dir).mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        # Before the register: what is imported beside an aggregator it would not know of.
        store = closing.enter_context(owned_store(config, owner))
        tables = load_tables(config, events, read_only=read_only)
        factor_set = tables.factors.choose(factor_set_name or config.aggregator.factor_set)
        tariffs = SiteTariffs(tables.register, tables.tariffs, config.aggregator.grid_ms)
        url = config.aggregator.database_url()
        records, facts, restatements = Records(url), Facts(url), Restatements(url)
        for database in (records, facts, restatements):
            closing.callback(database.close)
        records.open()
        warm_up()
        parameters = Parameters(store.directory, tables.register)
        for stored in records.metas():
            meta = decode_meta(stored.payload)
            parameters.note_readers(stored.address, meta)
            if stored.used_ms:
                parameters.tell(stored.address, meta, stored.used_ms, stored.hash)
        for place in facts.sites():
            parameters.declare(*place, facts.declared(*place))
        measures = Measures(store.directory, parameters, factor_set, tariffs)
        book = Book(store, parameters, measures)
        rollups = Rollups.with_nodes(
            store,
            events,
            tables.register,
            factor_set.counts,
            tariffs,
            wall_ms,
            Stuck(store, parameters),
        )
        basis = bases(tables.register, factor_set, tariffs)
        known = store.directory.series.keys()
        rollups.refused_to(DeadLetters(Recorder(records, events), events, wall_ms).note)
        yield Parts(
            store=store,
            register=tables.register,
            records=records,
            parameters=parameters,
            measures=measures,
            book=book,
            amendments=Amendments(store, book, parameters, facts, restatements, wall_ms),
            restatements=restatements,
            rollups=rollups,
            reader=StoreLedgerReader(
                store,
                tables.register,
                factor_set,
                tariffs,
                Live(),
                facts=parameters.facts,
                counters=events.counts,
                now_ms=wall_ms,
                not_applied=outdated(facts.bases(), basis, {key.site for key in known}),
            ),
            facts=facts,
            bases=basis,
        )


def address_of(owner: str) -> str | None:
    """Return the address in what an owner wrote into the lock file; None when there is none."""
    found = re.search(r"https?://\S+", owner)
    return found and found[0]
