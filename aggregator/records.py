"""Small records beside the store: metas, quarantine, last state of each edge.

They stand in the register's database, SQLite (default) or PostgreSQL. Methods may be called
from any thread; each is one transaction. Times are UTC ms and arguments. Errors: RecordsUnavailable
when the database does not do what it is asked (away, locked, disk full), StoreRefused when it never
will (damaged, a table missing); nothing of the call is kept then.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    URL,
    Connection,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from aggregator.databases import Database
from aggregator.register.schema import EDGE_STATE, META, QUARANTINE
from aggregator.store.base import StoreError, StoreRetriable
from contract.topics import Address, MessageKind, parse_topic, topic

IMPOSSIBLE_TIME = "impossible time"
"""Why a batch is in quarantine of which the door refused some readings."""
OTHER_CONTENT = "other content under a settled number"
"""Why a batch is in quarantine whose number another has."""
_LET_GO = (IMPOSSIBLE_TIME, OTHER_CONTENT)
"""Why batches are in quarantine that were acknowledged."""
_OF_EDGE = ("region", "site", "edge")
_TOGETHER = 500
"""Payloads of a site that are read at once: 32 MB at most."""


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
        max_kept_bytes: int = 1_000_000_000,
    ) -> None:
        super().__init__(url)
        self._max_quarantined = max_quarantined
        self._max_quarantine_bytes = max_quarantine_bytes
        self._max_kept_bytes = max_kept_bytes
        self._kept: dict[bool, tuple[int, int]] | None = None
        """Payloads and bytes in quarantine, by whether their edges have let go of them: counted
        once, and followed from then on, as a count would read through a gigabyte."""

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

    def keep_metas(
        self,
        came: Mapping[tuple[Address, str], bytes],
        used: Mapping[Address, tuple[int, str]],
    ) -> int:
        """Keep what edges say they read, by hash, then from which reading on [ms] it is in force.

        Returns how many were new, and how many known ones came into force. Metas are never dropped.
        One transaction, for a city's edges connect all at once.
        """
        with self._transaction() as db:
            kept = [_put_meta(db, name, payload, edge) for (edge, name), payload in came.items()]
            kept += [_use_meta(db, name, edge, at_ms) for edge, (at_ms, name) in used.items()]
        return sum(kept)

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
        What `keep` keeps has room of its own.
        """
        name, payload = _name(payload), payload[: self._max_quarantine_bytes]
        gone: Sequence[Row[Any]] = ()
        with self._transaction() as db:
            if _came_again(db, name, reason, now_ms):
                return 0
            if not self._has_room(db, len(payload)):
                gone = self._oldest(db, len(payload))
                names = [row.hash for row in gone]
                db.execute(delete(QUARANTINE).where(QUARANTINE.c.hash.in_(names)))
            db.execute(insert(QUARANTINE).values(_row(name, payload, topic, reason, now_ms)))
        self._follow(False, 1 - len(gone), len(payload) - sum(row.size for row in gone))
        return len(gone)

    def keep(self, payload: bytes, topic: str, reason: str, now_ms: int) -> bool:
        """Keep a batch that its edge may let go of then; False: there is no room for it.

        reason: one of `_LET_GO`. None that is kept ever makes room for another.
        """
        name = _name(payload)
        with self._transaction() as db:
            if _came_again(db, name, reason, now_ms):
                return True
            if self._totals(db)[True][1] + len(payload) > self._max_kept_bytes:
                return False
            row = _row(name, payload, topic, reason, now_ms)
            db.execute(insert(QUARANTINE).values(row))
        self._follow(True, 1, len(payload))
        return True

    def _totals(self, db: Connection) -> dict[bool, tuple[int, int]]:
        if self._kept is None:
            self._kept = _totals(db)
        return self._kept

    def _follow(self, let_go: bool, count: int, size: int) -> None:  # noqa: FBT001 - a key
        if self._kept is not None:
            old = self._kept[let_go]
            self._kept[let_go] = old[0] + count, old[1] + size

    def _has_room(self, db: Connection, size: int) -> bool:
        count, total = self._totals(db)[False]
        return count < self._max_quarantined and total + size <= self._max_quarantine_bytes

    def _oldest(self, db: Connection, size: int) -> Sequence[Row[Any]]:
        """Return the oldest payloads, so many that a twentieth more than is needed gets free.

        To find them those that edges have let go of are passed by: not each time.
        """
        count, total = self._totals(db)[False]
        most = self._max_quarantined - 1 - self._max_quarantined // 20
        most_bytes = self._max_quarantine_bytes - size - self._max_quarantine_bytes // 20
        oldest = (
            select(QUARANTINE.c.hash, QUARANTINE.c.size)
            .where(QUARANTINE.c.reason.not_in(_LET_GO))
            .order_by(QUARANTINE.c.first_seen_ms, QUARANTINE.c.hash)
        )
        gone: list[Any] = []
        for row in db.execute(oldest):
            if count <= most and total <= most_bytes:
                break
            gone.append(row)
            count, total = count - 1, total - row.size
        return gone

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

    def misdated(self, region: str, site: str) -> Iterator[Quarantined]:
        """Yield a site's payloads that are kept for impossible times, the oldest first."""
        last = None
        while some := self.misdated_after(region, site, last):
            yield from some
            last = some[-1]

    def misdated_sites(self) -> set[tuple[str, str]]:
        """Return the (region, site) pairs of which payloads are kept for impossible times."""
        query = select(QUARANTINE.c.topic).filter_by(reason=IMPOSSIBLE_TIME).distinct()
        with self._transaction() as db:
            found = [parse_topic(one)[0] for one in db.execute(query).scalars()]
        return {(address.region, address.site) for address in found}

    def misdated_after(
        self, region: str, site: str, after: Quarantined | None
    ) -> tuple[Quarantined, ...]:
        """Return some of a site's payloads that are kept for impossible times, the oldest first.

        Those behind `after`, the last of what was returned before; () when there are no more.
        """
        table = QUARANTINE.c
        columns = [table[name] for name in Quarantined.__dataclass_fields__]
        before = topic(Address(region, site, "x"), MessageKind.DATA).partition("/x/")[0]
        query = (
            select(*columns)
            .filter_by(reason=IMPOSSIBLE_TIME)
            .where(table.topic.startswith(f"{before}/", autoescape=True))
            .order_by(table.first_seen_ms, table.hash)
            .limit(_TOGETHER)
        )
        if after is not None:
            here = tuple_(table.first_seen_ms, table.hash)
            query = query.where(here > (after.first_seen_ms, after.hash))
        with self._transaction() as db:
            return tuple(Quarantined(**row) for row in db.execute(query).mappings())

    def release(self, hashes: Sequence[str]) -> int:
        """Let payloads leave the quarantine whose readings are in the store; return how many."""
        chosen = QUARANTINE.c.hash.in_(hashes)
        with self._transaction() as db:
            sizes = db.execute(select(QUARANTINE.c.size).where(chosen)).scalars().all()
            db.execute(delete(QUARANTINE).where(chosen))
        self._follow(True, -len(sizes), -sum(sizes))
        return len(sizes)

    def quarantine_size(self) -> tuple[int, int]:
        """Return how many payloads and how many bytes are in quarantine."""
        with self._transaction() as db:
            kept = _totals(db).values()
        return sum(count for count, _ in kept), sum(size for _, size in kept)

    def put_states(self, states: Sequence[StoredState]) -> int:
        """Keep the last state payloads of some edges, each edge once; return how many."""
        rows = [
            {
                "region": one.address.region,
                "site": one.address.site,
                "edge": one.address.edge,
                "payload": one.payload,
                "received_ms": one.received_ms,
            }
            for one in states
        ]
        old = [{f"old_{name}": row[name] for name in _OF_EDGE} for row in rows]
        if rows:  # two statements for all of them: one for each took 0.5 ms of processor
            with self._transaction() as db:
                same = [EDGE_STATE.c[name] == bindparam(f"old_{name}") for name in _OF_EDGE]
                db.execute(delete(EDGE_STATE).where(*same), old)
                db.execute(insert(EDGE_STATE), rows)
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


def _put_meta(db: Connection, name: str, payload: bytes, address: Address) -> bool:
    key = _meta_key(name, address)
    if db.execute(select(META.c.id).filter_by(**key)).first():
        return False
    db.execute(insert(META).values(payload=payload, used_ms=0, **key))
    return True


def _use_meta(db: Connection, name: str, address: Address, time_ms: int) -> bool:
    known = update(META).filter_by(**_meta_key(name, address)).values(used_ms=time_ms)
    return db.execute(known).rowcount > 0


def _meta_key(name: str, address: Address) -> dict[str, str]:
    return {"hash": name, "region": address.region, "site": address.site, "edge": address.edge}


def _name(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _row(name: str, payload: bytes, topic: str, reason: str, now_ms: int) -> dict[str, Any]:
    return {
        "hash": name,
        "topic": topic,
        "reason": reason,
        "payload": payload,
        "size": len(payload),
        "first_seen_ms": now_ms,
        "last_seen_ms": now_ms,
        "seen": 1,
    }


def _came_again(db: Connection, name: str, reason: str, now_ms: int) -> bool:
    """Note that a payload has come again; False when it is new."""
    again = update(QUARANTINE).where(QUARANTINE.c.hash == name)
    told = QUARANTINE.c.reason  # what an edge has let go of stays what it is
    seen = {"last_seen_ms": now_ms, "seen": QUARANTINE.c.seen + 1}
    seen["reason"] = case((told.in_(_LET_GO), told), else_=reason)
    return db.execute(again.values(seen)).rowcount > 0


def _totals(db: Connection) -> dict[bool, tuple[int, int]]:
    let_go = QUARANTINE.c.reason.in_(_LET_GO)
    query = select(let_go, func.count(), func.sum(QUARANTINE.c.size)).group_by(let_go)
    found = {bool(key): (int(count), int(size)) for key, count, size in db.execute(query)}
    return {key: found.get(key, (0, 0)) for key in (False, True)}
