"""The durable outbox: one SQLite file.

Invariants (beyond those of `edge_agent.outbox.base`)
    * One commit = one transaction. Numbers are given inside it, so a crash leaves no holes.
    * The next number is one above everything the file knows: held, acked or given up.
    * Acks change memory first and reach the file with every tenth commit, at close, and in the
      transaction that deletes a batch. Losing some in a crash only makes batches be sent again.
    * Every meta named by a held batch is in `meta`.

Table format (`format` = 1 in `info`)
    info   key, value       id, format, told_upto, dropped_readings
    meta   hash, payload
    batch  seq, meta, first_ms, last_ms, readings, size, body     body = zlib of the blocks JSON
    span   kind, low, high  ranges: kind 0 acked, 1 given up

Crash cases
    killed before COMMIT returns   the WAL has no commit frame: nothing of the batch is seen
    killed after COMMIT returns    synchronous=FULL: the frames are on disk and replayed at opening
    killed while checkpointing     the WAL stays valid until it is all in the main file
    power cut before the schema    a file without tables is as good as none: they are made
    power cut tears a WAL frame    its checksum fails; the WAL ends before that transaction
    main file torn or overwritten  found at opening (`_check`) or at a read: OutboxError that names
                                   the file; nothing is deleted, a person moves it away. A batch
                                   found unreadable while running is given up, the others go on
    disk full                      tried once more in the room of the oldest acked batches
    no room, read-only, I/O error  the transaction is rolled back and OutboxError raised; readings
                                   stay pending and the next commit takes them

Pragmas
    WAL            commits append to one file and readers (show-outbox) are never in the way
    FULL           a commit that returned survives a power cut; NORMAL would lose the last ones
    page_size      512: a batch of 2 kB dirties little more than itself; bytes written per day are
                   measured in docs/performance.md
    wal_autocheckpoint 2 MB: pages that each commit touches are written back once per some hundred
A commit takes milliseconds, so it runs in the event loop without a thread.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from contract.meta import meta_hash
from contract.reading import Reading
from contract.wire import Range
from edge_agent.errors import OutboxError, OutboxLockedError
from edge_agent.outbox.base import (
    DAY_MS,
    Evicted,
    Ledger,
    OutboxStats,
    StoredBatch,
    new_outbox_id,
    split_batches,
)

FORMAT = "1"
PAGE_BYTES = 512
CHECKPOINT_PAGES = 4096
COMPRESSION = 6
CHECKED_BYTES = 64 << 20
"""Files up to this size are checked page by page at opening; larger ones row by row only."""
RESERVE_BYTES = 1 << 16
"""The file grows in steps of this and what a commit needs."""
ACK_COMMITS = 10
"""Acks are saved with every so many commits."""
RATE_COMMITS = 120
"""Commits over which the present rate is taken: an hour at 30 s."""
_ACKED, _GIVEN_UP = 0, 1

_SCHEMA = """
CREATE TABLE info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, payload BLOB NOT NULL);
CREATE TABLE span (kind INTEGER, low INTEGER, high INTEGER, PRIMARY KEY (kind, low)) WITHOUT ROWID;
CREATE TABLE batch (
    seq INTEGER PRIMARY KEY, meta INTEGER NOT NULL, first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL, readings INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL
);
"""


@dataclass(slots=True)
class _Depth:
    """Unsettled batches, kept as running sums."""

    batches: int = 0
    readings: int = 0
    size: int = 0


class SqliteOutbox:
    """See the module. Not thread safe; one process at a time (a lock file says which)."""

    def __init__(
        self, path: Path, max_bytes: int, max_days: float, on_evicted: Evicted | None = None
    ) -> None:
        """Open or make the file. OutboxLockedError when in use, OutboxError when damaged."""
        self._path = path
        self._max_bytes = max_bytes
        self._max_age_ms = round(max_days * DAY_MS)
        self._on_evicted = on_evicted
        self._pending: list[Reading] = []
        self._meta: tuple[str, bytes] | None = None
        self._unsaved_commits = 0
        self._rate: deque[tuple[int, int]] = deque(maxlen=RATE_COMMITS)
        self._lock = _lock(path)
        try:
            with self._errors("opening"):
                self._db = _open(path)
                self._load()
                # Closed after the connection: closing any descriptor lets go of SQLite's locks.
                self._file = os.open(path, os.O_RDWR)
        except BaseException:
            self._lock.close()
            raise

    # ------------------------------------------------------------------------------- opening

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, zlib.error) as error:
            raise OutboxError(str(self._path), f"{doing}: {error}") from error

    def _load(self) -> None:
        """Read the bookkeeping from the file."""
        info = dict(self._db.execute("SELECT key, value FROM info"))
        if info.get("format") != FORMAT:
            raise OutboxError(str(self._path), f"format {info.get('format')!r}, not {FORMAT!r}")
        spans: dict[int, list[Range]] = {_ACKED: [], _GIVEN_UP: []}
        for kind, low, high in self._db.execute("SELECT kind, low, high FROM span ORDER BY low"):
            spans[kind].append((low, high))
        self._id: str = info["id"]
        self._ledger = Ledger(
            spans[_ACKED],
            spans[_GIVEN_UP],
            int(info["told_upto"]),
            int(info["dropped_readings"]),
        )
        self._saved = _ledger_rows(self._id, self._ledger)
        floor, last = self._db.execute("SELECT min(seq), max(seq) FROM batch").fetchone()
        known = [high for _, high in self._ledger.settled]
        self._next_seq: int = max([last or 0, *known]) + 1
        self._floor: int = floor or self._next_seq
        self._recount()

    def _recount(self) -> None:
        self._depth = _Depth()
        for low, high in self._ledger.settled.missing(self._floor, self._next_seq - 1):
            self._count(low, high, 1)

    def _count(self, low: int, high: int, sign: int) -> None:
        batches, readings, size = self._db.execute(
            "SELECT count(*), total(readings), total(size) FROM batch WHERE seq BETWEEN ? AND ?",
            (low, high),
        ).fetchone()
        self._depth.batches += sign * batches
        self._depth.readings += sign * int(readings)
        self._depth.size += sign * int(size)

    # ------------------------------------------------------------------------------ protocol

    @property
    def id(self) -> str:
        return self._id

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def next_seq(self) -> int:
        return self._next_seq

    @property
    def floor(self) -> int:
        return self._floor

    @property
    def meta_in_use(self) -> str:
        return self._meta[0] if self._meta else ""

    def use_meta(self, payload: bytes) -> str:
        self._meta = (meta_hash(payload), payload)
        return self._meta[0]

    def append(self, readings: Sequence[Reading]) -> None:
        self._pending.extend(readings)

    def drop_pending(self, keep: int) -> int:
        dropped = max(0, len(self._pending) - keep)
        del self._pending[:dropped]
        self._ledger.dropped_readings += dropped
        return dropped

    def commit(self, now_ms: int) -> range:
        if self._meta is None:
            raise OutboxError(str(self._path), "use_meta comes before commit")
        try:
            return self._commit(now_ms, self._meta)
        except OutboxError as error:
            if not _no_room(error.__cause__):
                raise
        with contextlib.suppress(sqlite3.Error):  # what the WAL has is all the room there is for it
            self._db.execute("PRAGMA wal_checkpoint(RESTART)")
        return self._commit(now_ms, self._meta, full_disk=True)

    def _commit(self, now_ms: int, meta: tuple[str, bytes], *, full_disk: bool = False) -> range:
        """One attempt; with `full_disk` only in the room that acked batches give."""
        ledger = self._ledger.copy()
        evicted: list[tuple[int, int]] = []
        seq = self._next_seq
        size = 0
        deleted = False
        with self._errors("committing"):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                limit = self._used_bytes() if full_disk else self._max_bytes
                may_evict = None if full_disk else evicted
                for readings, blocks in split_batches(self._pending):
                    body = zlib.compress(blocks, COMPRESSION)
                    deleted = self._make_room(len(body), limit, ledger, may_evict) or deleted
                    self._insert(seq, meta, readings, body)
                    size += len(body)
                    seq += 1
                deleted = self._evict_old(now_ms - self._max_age_ms, ledger) or deleted
                # A deleted batch must not come back as one that is still to be sent.
                saving = deleted or self._unsaved_commits + 1 >= ACK_COMMITS
                if saving:
                    self._save(ledger)
                self._reserve()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            written = range(self._next_seq, seq)
            if saving:
                self._saved = _ledger_rows(self._id, ledger)
            self._unsaved_commits = 0 if saving else self._unsaved_commits + 1
            self._settle_commit(written, size, ledger, recount=bool(evicted))
        self._rate.append((now_ms, size))
        if evicted and self._on_evicted:
            self._on_evicted(evicted[0][0], evicted[-1][0], sum(lost for _, lost in evicted))
        return written

    def _settle_commit(self, written: range, size: int, ledger: Ledger, *, recount: bool) -> None:
        """Memory follows the file, after COMMIT has returned."""
        self._ledger = ledger
        self._next_seq = written.stop
        held = self._db.execute("SELECT min(seq) FROM batch").fetchone()[0]
        self._floor = held or self._next_seq
        self._depth.batches += len(written)
        self._depth.readings += len(self._pending)
        self._depth.size += size
        self._pending.clear()
        if recount:
            self._recount()

    def _insert(
        self, seq: int, meta: tuple[str, bytes], readings: Sequence[Reading], body: bytes
    ) -> None:
        times = [reading.time_ms for reading in readings]
        row = self._db.execute("SELECT id FROM meta WHERE hash = ?", meta[:1]).fetchone()
        key = (
            row[0]
            if row
            else self._db.execute("INSERT INTO meta (hash, payload) VALUES (?, ?)", meta).lastrowid
        )
        self._db.execute(
            "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, key, min(times), max(times), len(readings), len(body), body),
        )

    # -------------------------------------------------------------------------- bounded size

    def _reserve(self) -> None:
        """Give the file the room of all its pages before they are in the WAL for good.

        Else a full disk would be found by a checkpoint, which then never gets done, while the WAL
        cannot grow: no way to delete anything. SQLite does not mind a file that is too long.
        """
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        size = os.fstat(self._file).st_size
        if pages * PAGE_BYTES > size:
            os.posix_fallocate(self._file, size, pages * PAGE_BYTES - size + RESERVE_BYTES)

    def _used_bytes(self) -> int:
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return (pages - free) * PAGE_BYTES

    def _make_room(
        self, size: int, limit: int, ledger: Ledger, evicted: list[tuple[int, int]] | None
    ) -> bool:
        """Delete the oldest settled batches until `size` fits in `limit`, then the oldest others.

        The others are added to `evicted`; with None they stay.
        """
        slack = 8 * PAGE_BYTES  # overflow and index pages of the row to come
        deleted = False
        while self._used_bytes() + size + slack > limit:
            oldest = self._oldest_settled(ledger)
            if oldest is not None:
                seq = oldest[0]
            elif evicted is None:
                break
            else:
                row = self._db.execute(
                    "SELECT seq, readings FROM batch ORDER BY seq LIMIT 1"
                ).fetchone()
                if row is None:
                    break  # one batch is larger than the bound: the batch counts more
                ledger.give_up(*row)
                evicted.append(row)
                seq = row[0]
            self._delete(seq)
            deleted = True
        return deleted

    def _oldest_settled(self, ledger: Ledger) -> tuple[int, int] | None:
        """(seq, last_ms) of the lowest settled batch still held."""
        for low, high in ledger.settled:
            row: tuple[int, int] | None = self._db.execute(
                "SELECT seq, last_ms FROM batch WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT 1",
                (low, high),
            ).fetchone()
            if row is not None:
                return row
        return None

    def _evict_old(self, before_ms: int, ledger: Ledger) -> bool:
        deleted = False
        while (row := self._oldest_settled(ledger)) is not None and row[1] < before_ms:
            self._delete(row[0])
            deleted = True
        return deleted

    def _delete(self, seq: int) -> None:
        self._db.execute("DELETE FROM batch WHERE seq = ?", (seq,))

    def _save(self, ledger: Ledger) -> None:
        """Write the bookkeeping when it changed; a meta nobody refers to goes."""
        rows = _ledger_rows(self._id, ledger)
        if rows == self._saved:
            return
        spans, info = rows
        if spans != self._saved[0]:
            self._db.execute("DELETE FROM span")
            self._db.executemany("INSERT INTO span VALUES (?, ?, ?)", spans)
        if info != self._saved[1]:
            self._db.executemany("UPDATE info SET value = ?2 WHERE key = ?1", info)

    # ---------------------------------------------------------------------------- settlement

    def acknowledge(self, upto: int, ranges: Iterable[Range] = ()) -> bool:
        spans = list(ranges)
        if max([upto, *(high for _, high in spans)]) >= self._next_seq:
            self._id = new_outbox_id()
            self._ledger.renew()
            self._unsaved_commits = ACK_COMMITS  # reaches the file with the next commit
            return False
        with self._errors("reading"):
            for low, high in self._ledger.acknowledge(upto, spans):
                self._count(low, high, -1)
        return True

    def give_up(self, seq: int) -> int:
        if self.is_settled(seq):
            return 0
        try:
            row = self._db.execute(
                "SELECT readings, size FROM batch WHERE seq = ?", (seq,)
            ).fetchone()
        except sqlite3.Error:
            row = (0, 0)  # the page itself is gone, and with it how many they were
        if row is None:
            return 0
        readings, size = row
        self._ledger.give_up(seq, readings)
        self._depth.batches -= 1
        self._depth.readings -= readings
        self._depth.size -= size
        return int(readings)

    def is_settled(self, seq: int) -> bool:
        return seq in self._ledger.settled

    def unsettled(self, *, newest_first: bool) -> Iterator[int]:
        return self._ledger.unsettled(self._floor, self._next_seq - 1, newest_first=newest_first)

    def void(self) -> tuple[Range, ...]:
        return self._ledger.void()

    def batch(self, seq: int) -> StoredBatch | None:
        with self._errors(f"reading batch {seq}"):
            row = self._db.execute(
                "SELECT hash, first_ms, last_ms, readings, body FROM batch"
                " JOIN meta ON meta.id = batch.meta WHERE seq = ?",
                (seq,),
            ).fetchone()
            if row is None:
                return None
            meta, first_ms, last_ms, readings, body = row
            return StoredBatch(seq, meta, first_ms, last_ms, readings, zlib.decompress(body))

    def meta(self, name: str) -> bytes | None:
        if self._meta is not None and self._meta[0] == name:
            return self._meta[1]
        with self._errors("reading a meta"):
            row = self._db.execute("SELECT payload FROM meta WHERE hash = ?", (name,)).fetchone()
        return row and bytes(row[0])

    def stats(self) -> OutboxStats:
        with self._errors("reading"):
            lowest = next(self.unsettled(newest_first=False), None)
            oldest = (
                lowest
                and self._db.execute(
                    "SELECT first_ms FROM batch WHERE seq = ?", (lowest,)
                ).fetchone()
            )
            return OutboxStats(
                next_seq=self._next_seq,
                upto=self._ledger.upto(),
                depth_batches=self._depth.batches,
                depth_readings=self._depth.readings,
                depth_bytes=self._depth.size,
                oldest_ms=oldest[0] if oldest else None,
                held_bytes=self._used_bytes(),
                limit_bytes=self._max_bytes,
                horizon_s=self._horizon_s(),
                dropped_readings=self._ledger.dropped_readings,
            )

    def _horizon_s(self) -> int | None:
        if len(self._rate) < 2:
            return None
        span_ms = self._rate[-1][0] - self._rate[0][0]
        size = sum(size for _, size in self._rate) - self._rate[0][1]
        if span_ms <= 0 or size <= 0:
            return None
        return max(0, self._max_bytes - self._depth.size) * span_ms // size // 1000

    def close(self) -> None:
        """Save late acks, empty the WAL into the file, let the lock go. Pending is lost."""
        self._pending.clear()
        try:
            with self._errors("closing"):
                self._db.execute("BEGIN IMMEDIATE")
                self._save(self._ledger)
                self._db.execute(
                    "DELETE FROM meta WHERE id NOT IN (SELECT DISTINCT meta FROM batch)"
                )
                self._db.execute("COMMIT")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._db.close()
            os.close(self._file)
            self._lock.close()


def _no_room(error: BaseException | None) -> bool:
    """Disk or quota full, or the file as large as its file system takes."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


_Rows = tuple[list[tuple[int, int, int]], list[tuple[str, str]]]


def _ledger_rows(outbox: str, ledger: Ledger) -> _Rows:
    spans = [(_ACKED, low, high) for low, high in ledger.acked]
    spans += [(_GIVEN_UP, low, high) for low, high in ledger.given_up]
    info = {
        "id": outbox,
        "told_upto": ledger.told_upto,
        "dropped_readings": ledger.dropped_readings,
    }
    return spans, [(key, str(value)) for key, value in info.items()]


def _lock(path: Path) -> TextIO:
    """Hold `<file>.lock` as long as the returned file is open; it names the holder."""
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = name.open("a+", encoding="ascii")
    except OSError as error:
        raise OutboxError(str(path), f"cannot make {name}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(20).strip() or "unknown"
        file.close()
        raise OutboxLockedError(
            str(path), f"in use by process {holder}; only one agent may run on it"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _open(path: Path) -> sqlite3.Connection:
    """Open or make the file; checks what can be checked in reasonable time."""
    db = sqlite3.connect(path, isolation_level=None, cached_statements=32)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA cache_size = -512")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * PAGE_BYTES}")
        # Empty also after a power cut between the first page (journal_mode) and the schema.
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _create(db)
        _check(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.strip().split(";\n"):
        db.execute(statement)
    rows = {"id": new_outbox_id(), "format": FORMAT, "told_upto": "0", "dropped_readings": "0"}
    db.executemany("INSERT INTO info VALUES (?, ?)", rows.items())
    db.execute("COMMIT")


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Find a torn file now rather than in the middle of a night."""
    if path.stat().st_size <= CHECKED_BYTES:
        verdict: Any = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise OutboxError(str(path), f"damaged ({verdict}); move it away to start afresh")
    else:
        db.execute("SELECT total(readings) FROM batch").fetchone()


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found in a file."""

    id: str
    floor: int
    next_seq: int
    held_batches: int
    held_readings: int
    unacked_batches: int
    unacked_readings: int
    unacked_oldest_ms: int | None
    newest_ms: int | None
    dropped_readings: int
    metas: int
    used_bytes: int
    acked: tuple[Range, ...]
    void: tuple[Range, ...]


def inspect(path: Path) -> Inspection:
    """Read an outbox without changing it, also while an agent runs; OutboxError if it cannot.

    Acks the agent got since its last commit are not in the file yet.
    """
    if not path.is_file():
        raise OutboxError(str(path), "no such file")
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")  # one snapshot
            return _inspect(db)
    except (sqlite3.Error, KeyError, ValueError) as error:
        raise OutboxError(str(path), f"reading: {error}") from error


def _inspect(db: sqlite3.Connection) -> Inspection:
    def one(query: str, values: Sequence[int] = ()) -> Any:
        return db.execute(query, values).fetchone()

    info = dict(db.execute("SELECT key, value FROM info"))
    spans = db.execute("SELECT kind, low, high FROM span ORDER BY low").fetchall()
    ledger = Ledger(
        [(low, high) for kind, low, high in spans if kind == _ACKED],
        [(low, high) for kind, low, high in spans if kind == _GIVEN_UP],
    )
    first, last, batches, readings, newest = one(
        "SELECT min(seq), max(seq), count(*), total(readings), max(last_ms) FROM batch"
    )
    next_seq = max([last or 0, *(high for _, high in ledger.settled)]) + 1
    open_sums = [
        one(
            "SELECT count(*), total(readings), min(first_ms) FROM batch WHERE seq BETWEEN ? AND ?",
            gap,
        )
        for gap in ledger.settled.missing(1, next_seq - 1)
    ]
    pages, free = one("PRAGMA page_count")[0], one("PRAGMA freelist_count")[0]
    return Inspection(
        id=info["id"],
        floor=first or next_seq,
        next_seq=next_seq,
        held_batches=batches,
        held_readings=int(readings),
        unacked_batches=sum(row[0] for row in open_sums),
        unacked_readings=int(sum(row[1] for row in open_sums)),
        unacked_oldest_ms=min((row[2] for row in open_sums if row[2] is not None), default=None),
        newest_ms=newest,
        dropped_readings=int(info["dropped_readings"]),
        metas=one("SELECT count(*) FROM meta")[0],
        used_bytes=(pages - free) * one("PRAGMA page_size")[0],
        acked=tuple(ledger.acked),
        void=tuple(ledger.given_up),
    )
