"""Small records beside the store: metas, quarantine, last state of each edge.

SQLAlchemy Core over SQLite (default) or PostgreSQL. Methods may be called from any thread; each
is one transaction. Times are UTC ms and arguments. Errors: RecordsUnavailable when the database
does not do what it is asked (away, locked, disk full); nothing of the call is kept then.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from contract.topics import Address

_METADATA = MetaData()
_META = Table(
    "meta",
    _METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("hash", String(64), nullable=False),
    Column("region", String(63), nullable=False),
    Column("site", String(63), nullable=False),
    Column("edge", String(63), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    UniqueConstraint("hash", "region", "site", "edge"),
)
_QUARANTINE = Table(
    "quarantine",
    _METADATA,
    Column("hash", String(64), primary_key=True),
    Column("topic", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("seen", Integer, nullable=False),
    # Size and eviction are answered from this alone: payloads would be read through otherwise.
    Index("quarantine_age", "first_seen_ms", "hash", "size"),
)
_EDGE_STATE = Table(
    "edge_state",
    _METADATA,
    Column("region", String(63), primary_key=True),
    Column("site", String(63), primary_key=True),
    Column("edge", String(63), primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
)


class RecordsUnavailable(Exception):  # noqa: N818 - says that it may pass, as StoreRetriable does
    """The records were not read or written; the same call may succeed later."""


@dataclass(frozen=True, slots=True)
class StoredMeta:
    """What an edge said it reads."""

    hash: str
    address: Address
    payload: bytes
    used_ms: int
    """Time of the newest reading when the meta last came into force [ms]; 0 = never."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A payload, or a line of a commit, that could not be taken, and why."""

    hash: str
    """SHA-256 of the payload, hex: the same payload is kept once, whatever topic brings it."""
    topic: str
    reason: str
    payload: bytes
    first_seen_ms: int
    last_seen_ms: int
    seen: int
    """How often it came."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """The last state payload of one edge."""

    address: Address
    payload: bytes
    received_ms: int


class Records:
    """The tables, in one database.

    url: an SQLAlchemy address, `sqlite:///<path>` for a file.
    """

    def __init__(
        self, url: str, *, max_quarantined: int = 10_000, max_quarantine_bytes: int = 64_000_000
    ) -> None:
        self._max_quarantined = max_quarantined
        self._max_quarantine_bytes = max_quarantine_bytes
        self._engine: Engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", prepare_sqlite)

    def open(self) -> None:
        """Create the tables that are absent."""
        with self._transaction() as db:
            _METADATA.create_all(db)

    def close(self) -> None:
        """Close all connections; idempotent."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as db:
                yield db
        except (SQLAlchemyError, sqlite3.Error) as error:  # the latter while connecting
            cause = getattr(error, "orig", None) or error
            raise RecordsUnavailable(f"{self._engine.url!r}: {cause}") from error

    def put_meta(self, name: str, payload: bytes, address: Address) -> bool:
        """Keep what an edge says it reads, by its hash; True when new. Metas are never dropped."""
        with self._transaction() as db:
            key = _meta_key(name, address)
            if db.execute(select(_META.c.id).filter_by(**key)).first():
                return False
            db.execute(insert(_META).values(payload=payload, used_ms=0, **key))
            return True

    def use_meta(self, name: str, address: Address, time_ms: int) -> bool:
        """Note that a meta is in force from a reading of this time on; False when unknown."""
        with self._transaction() as db:
            known = update(_META).filter_by(**_meta_key(name, address)).values(used_ms=time_ms)
            return db.execute(known).rowcount > 0

    def metas(self) -> tuple[StoredMeta, ...]:
        """Return all metas in the order in which they came into force, unused ones first."""
        with self._transaction() as db:
            return tuple(
                StoredMeta(
                    row.hash,
                    Address(row.region, row.site, row.edge),
                    bytes(row.payload),
                    row.used_ms,
                )
                for row in db.execute(select(_META).order_by(_META.c.used_ms, _META.c.id))
            )

    def quarantine(self, payload: bytes, topic: str, reason: str, now_ms: int) -> int:
        """Keep a payload that could not be taken; return how many older ones made room for it.

        The same payload again only counts up. A payload above the cap by itself is kept cut off.
        """
        name = hashlib.sha256(payload).hexdigest()
        payload = payload[: self._max_quarantine_bytes]
        with self._transaction() as db:
            again = db.execute(
                update(_QUARANTINE)
                .where(_QUARANTINE.c.hash == name)
                .values(last_seen_ms=now_ms, seen=_QUARANTINE.c.seen + 1, reason=reason)
            )
            if again.rowcount:
                return 0
            evicted = self._make_room(db, len(payload))
            db.execute(
                insert(_QUARANTINE).values(
                    hash=name,
                    topic=topic,
                    reason=reason,
                    payload=payload,
                    size=len(payload),
                    first_seen_ms=now_ms,
                    last_seen_ms=now_ms,
                    seen=1,
                )
            )
            return evicted

    def _make_room(self, db: Connection, size: int) -> int:
        count, total = _totals(db)
        gone: list[str] = []
        if count < self._max_quarantined and total + size <= self._max_quarantine_bytes:
            return 0
        oldest = select(_QUARANTINE.c.hash, _QUARANTINE.c.size).order_by(
            _QUARANTINE.c.first_seen_ms, _QUARANTINE.c.hash
        )
        for name, its_size in db.execute(oldest):
            if count < self._max_quarantined and total + size <= self._max_quarantine_bytes:
                break
            gone.append(name)
            count -= 1
            total -= its_size
        db.execute(delete(_QUARANTINE).where(_QUARANTINE.c.hash.in_(gone)))
        return len(gone)

    def quarantined(self, limit: int = 100) -> tuple[Quarantined, ...]:
        """Return the newest payloads in quarantine, newest first."""
        columns = [_QUARANTINE.c[name] for name in Quarantined.__dataclass_fields__]
        newest = (
            select(*columns)
            .order_by(_QUARANTINE.c.last_seen_ms.desc(), _QUARANTINE.c.hash)
            .limit(limit)
        )
        with self._transaction() as db:
            return tuple(Quarantined(**row) for row in db.execute(newest).mappings())

    def quarantine_size(self) -> tuple[int, int]:
        """Return how many payloads and how many bytes are in quarantine."""
        with self._transaction() as db:
            return _totals(db)

    def put_state(self, address: Address, payload: bytes, now_ms: int) -> None:
        """Keep the last state payload of an edge."""
        self.put_states([StoredState(address, payload, now_ms)])

    def put_states(self, states: Sequence[StoredState]) -> int:
        """Keep the last state payloads of some edges, each edge once; return how many."""
        with self._transaction() as db:
            for state in states:
                address = state.address
                key = {"region": address.region, "site": address.site, "edge": address.edge}
                value: dict[str, Any] = {
                    "payload": state.payload,
                    "received_ms": state.received_ms,
                }
                known = update(_EDGE_STATE).filter_by(**key).values(**value)
                if db.execute(known).rowcount == 0:
                    db.execute(insert(_EDGE_STATE).values(**key, **value))
        return len(states)

    def states(self) -> tuple[StoredState, ...]:
        """Return the last state of every edge, by region, site and edge."""
        query = select(_EDGE_STATE).order_by(
            _EDGE_STATE.c.region, _EDGE_STATE.c.site, _EDGE_STATE.c.edge
        )
        with self._transaction() as db:
            return tuple(
                StoredState(
                    Address(row.region, row.site, row.edge), bytes(row.payload), row.received_ms
                )
                for row in db.execute(query)
            )


def _meta_key(name: str, address: Address) -> dict[str, str]:
    return {"hash": name, "region": address.region, "site": address.site, "edge": address.edge}


def _totals(db: Connection) -> tuple[int, int]:
    size = func.coalesce(func.sum(_QUARANTINE.c.size), 0)
    count, total = db.execute(select(func.count(), size).select_from(_QUARANTINE)).one()
    return int(count), int(total)


def prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers go on while one writes, and writers wait for each other."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
