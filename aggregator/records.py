"""Small records beside the store: metas, quarantine, last state of each edge.

They stand in the register's database, SQLite (default) or PostgreSQL. Methods may be called
from any thread; each is one transaction. Times are UTC ms and arguments. Errors: RecordsUnavailable
when the database does not do what it is asked (away, locked, disk full), StoreRefused when it never
will (damaged, a table missing); nothing of the call is kept then.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import URL, Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from aggregator.databases import Database
from aggregator.register.schema import EDGE_STATE, META, QUARANTINE
from aggregator.store.base import StoreError, StoreRetriable
from contract.topics import Address, MessageKind, topic

IMPOSSIBLE_TIME = "impossible time"
"""Why a batch is in quarantine of which the door refused some readings."""


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


class Kept(NamedTuple):
    """What is in quarantine, without its payload."""

    topic: str
    reason: str
    first_seen_ms: int
    last_seen_ms: int
    seen: int


@dataclass(frozen=True, slots=True)
class StoredState:
    """The last state payload of one edge."""

    address: Address
    payload: bytes
    received_ms: int


class Records(Database):
    """The tables, in one database.

    url: an SQLAlchemy address, `sqlite:///<path>` for a file.
    """

    def __init__(
        self,
        url: URL | str,
        *,
        max_quarantined: int = 10_000,
        max_quarantine_bytes: int = 64_000_000,
    ) -> None:
        super().__init__(url)
        self._max_quarantined = max_quarantined
        self._max_quarantine_bytes = max_quarantine_bytes

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with super()._transaction() as db:
                yield db
        except StoreError as error:
            # Of a row that the database refuses only the row is lost: no reading waits for it.
            refused = isinstance(error.__cause__, IntegrityError)
            if refused or isinstance(error, StoreRetriable):
                raise RecordsUnavailable(str(error)) from error
            raise

    def put_meta(self, name: str, payload: bytes, address: Address) -> bool:
        """Keep what an edge says it reads, by its hash; True when new. Metas are never dropped."""
        with self._transaction() as db:
            key = _meta_key(name, address)
            if db.execute(select(META.c.id).filter_by(**key)).first():
                return False
            db.execute(insert(META).values(payload=payload, used_ms=0, **key))
            return True

    def use_meta(self, name: str, address: Address, time_ms: int) -> bool:
        """Note that a meta is in force from a reading of this time on; False when unknown."""
        with self._transaction() as db:
            known = update(META).filter_by(**_meta_key(name, address)).values(used_ms=time_ms)
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
                for row in db.execute(select(META).order_by(META.c.used_ms, META.c.id))
            )

    def quarantine(self, payload: bytes, topic: str, reason: str, now_ms: int) -> int:
        """Keep a payload that could not be taken; return how many older ones made room for it.

        The same payload again only counts up. A payload above the cap by itself is kept cut off.
        """
        name = hashlib.sha256(payload).hexdigest()
        payload = payload[: self._max_quarantine_bytes]
        with self._transaction() as db:
            again = db.execute(
                update(QUARANTINE)
                .where(QUARANTINE.c.hash == name)
                .values(last_seen_ms=now_ms, seen=QUARANTINE.c.seen + 1, reason=reason)
            )
            if again.rowcount:
                return 0
            evicted = self._make_room(db, len(payload))
            db.execute(
                insert(QUARANTINE).values(
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
        oldest = select(QUARANTINE.c.hash, QUARANTINE.c.size).order_by(
            QUARANTINE.c.first_seen_ms, QUARANTINE.c.hash
        )
        for name, its_size in db.execute(oldest):
            if count < self._max_quarantined and total + size <= self._max_quarantine_bytes:
                break
            gone.append(name)
            count -= 1
            total -= its_size
        db.execute(delete(QUARANTINE).where(QUARANTINE.c.hash.in_(gone)))
        return len(gone)

    def quarantined(self, limit: int = 100) -> tuple[Quarantined, ...]:
        """Return the newest payloads in quarantine, newest first."""
        columns = [QUARANTINE.c[name] for name in Quarantined.__dataclass_fields__]
        newest = (
            select(*columns)
            .order_by(QUARANTINE.c.last_seen_ms.desc(), QUARANTINE.c.hash)
            .limit(limit)
        )
        with self._transaction() as db:
            return tuple(Quarantined(**row) for row in db.execute(newest).mappings())

    def in_quarantine(self) -> tuple[Kept, ...]:
        """Return all that is in quarantine, without the payloads."""
        with self._transaction() as db:
            rows = db.execute(select(*(QUARANTINE.c[name] for name in Kept._fields)))
            return tuple(Kept(*row) for row in rows)

    def misdated(self, region: str, site: str) -> tuple[Quarantined, ...]:
        """Return a site's payloads that are kept for impossible times, the oldest first."""
        columns = [QUARANTINE.c[name] for name in Quarantined.__dataclass_fields__]
        before = topic(Address(region, site, "x"), MessageKind.DATA).partition("/x/")[0]
        query = (
            select(*columns)
            .filter_by(reason=IMPOSSIBLE_TIME)
            .where(QUARANTINE.c.topic.startswith(f"{before}/", autoescape=True))
            .order_by(QUARANTINE.c.first_seen_ms, QUARANTINE.c.hash)
        )
        with self._transaction() as db:
            return tuple(Quarantined(**row) for row in db.execute(query).mappings())

    def release(self, hashes: Sequence[str]) -> int:
        """Let payloads leave the quarantine whose readings are in the store; return how many."""
        with self._transaction() as db:
            return sum(
                db.execute(delete(QUARANTINE).filter_by(hash=name)).rowcount for name in hashes
            )

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
                known = update(EDGE_STATE).filter_by(**key).values(**value)
                if db.execute(known).rowcount == 0:
                    db.execute(insert(EDGE_STATE).values(**key, **value))
        return len(states)

    def states(self) -> tuple[StoredState, ...]:
        """Return the last state of every edge, by region, site and edge."""
        query = select(EDGE_STATE).order_by(
            EDGE_STATE.c.region, EDGE_STATE.c.site, EDGE_STATE.c.edge
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
    size = func.coalesce(func.sum(QUARANTINE.c.size), 0)
    count, total = db.execute(select(func.count(), size).select_from(QUARANTINE)).one()
    return int(count), int(total)
