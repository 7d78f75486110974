"""The durable outbox: one SQLite file.

Invariants (beyond those of `edge_agent.outbox.base`)
    * One commit = one transaction. Numbers are given inside it, so a crash leaves no holes.
    * The next number is one above everything the file knows: held, acked or given up.
    * Acks change memory first and reach the file with every tenth commit, at close, and in the
      transaction that deletes a batch. Losing some in a crash only makes batches be sent again.
    * Every meta named by a held batch is in `meta`.

Table format (`format` = 2 in `info`; 1 had neither `thinned` nor `held`, and bodies of zlib)
    info     key, value       id, format, told_upto and counters
    meta     hash, payload
    batch    seq, meta, first_ms, last_ms, readings, size, body     body = `edge_agent.outbox.body`
    span     kind, low, high  ranges: kind 0 acked, 1 given up
    thinned  seq, level       batches that thinning made, or left as they were (`thinning`)
    held     boot, wall_ms, meta, readings, body      readings whose time is not known yet: their
             times count from the boot, `wall_ms` is what the wall clock showed at time 0

Crash cases
    killed before COMMIT returns   the WAL has no commit frame: nothing of the batch is seen
    killed after COMMIT returns    synchronous=FULL: the frames are on disk and replayed at opening
    killed while checkpointing     the WAL stays valid until it is all in the main file
    power cut before the schema    a file without tables is as good as none: they are made
    power cut tears a WAL frame    its checksum fails; the WAL ends before that transaction
    main file or WAL torn,         found at opening or by a commit: what is whole is copied to a new
    overwritten, decayed           file (`edge_agent.outbox.file`). A batch found unreadable while
                                   running is given up, the others go on
    disk full                      tried once more in the room of the oldest acked batches
    no room, read-only, I/O error  the transaction is rolled back and OutboxError raised; readings
                                   stay pending and the next commit takes them

Pragmas
    WAL            commits append to one file
    EXCLUSIVE      no shared-memory file beside the WAL: the kernel would write some pages of it to
                   the card after each commit, more than the commit itself
    FULL           a commit that returned survives a power cut; NORMAL would lose the last ones
    page_size      512: a batch of 2 kB dirties little more than itself; bytes written per day are
                   measured in docs/performance.md
    wal_autocheckpoint 512 kB: pages that each commit touches are written back once per some hundred
A commit takes milliseconds, so it runs in the event loop without a thread.
"""

import contextlib
import errno
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from contract.meta import meta_hash
from contract.reading import Quality, Reading
from contract.wire import Range
from edge_agent.errors import OutboxError, OutboxFullError
from edge_agent.outbox import file
from edge_agent.outbox.base import (
    DAY_MS,
    LAST_BATCHES,
    Evicted,
    Ledger,
    OutboxStats,
    StoredBatch,
    moved,
    new_outbox_id,
    split_batches,
)
from edge_agent.outbox.body import pack, readings_in, unpack
from edge_agent.outbox.file import ACKED, GIVEN_UP, PAGE_BYTES, Salvaged
from edge_agent.outbox.thinning import LAST_LEVEL, thin

RESERVE_BYTES = 1 << 20
"""The file grows in steps of this and what a commit needs."""
ACK_COMMITS = 10
"""Acks are saved with every so many commits."""
RATE_COMMITS = 120
"""Commits over which the present rate is taken: an hour at 30 s."""
THINNED_TOGETHER = 16
"""Batches that thinning makes one of: a few thousand readings in memory."""
RELEASED_TOGETHER = 64
"""Rows of held readings that get their numbers in one transaction."""


@dataclass(slots=True)
class _Depth:
    """Unsettled batches, kept as running sums."""

    batches: int = 0
    readings: int = 0
    size: int = 0

    def add(self, sign: int, batches: int, readings: int, size: int) -> None:
        """Count batches in (1) or out (-1)."""
        self.batches += sign * batches
        self.readings += sign * readings
        self.size += sign * size


@dataclass(slots=True)
class _Work:
    """What one transaction does; memory follows when it is committed."""

    ledger: Ledger
    depth: _Depth
    next_seq: int
    held_readings: int
    thin_from: int
    deleted: bool = False
    size: int = 0
    """Bytes of new bodies."""
    evicted: list[tuple[int, int]] = field(default_factory=list)
    """(seq, readings) of unsettled batches that had to go."""
    thinned: list[tuple[int, int]] = field(default_factory=list)
    """(seq, readings that went) of batches replaced by thinner ones."""


class SqliteOutbox:
    """See the module. Not thread safe; one process at a time (a lock file says which)."""

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        max_days: float,
        on_evicted: Evicted | None = None,
        on_thinned: Evicted | None = None,
        on_salvaged: Callable[[Salvaged], None] | None = None,
    ) -> None:
        """Open or make the file.

        OutboxLockedError when in use, OutboxError when the disk does not let it be used.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._max_age_ms = round(max_days * DAY_MS)
        self._on_evicted = on_evicted
        self._on_thinned = on_thinned
        self._on_salvaged = on_salvaged
        self._pending: list[Reading] = []
        self._held: dict[tuple[str, int], list[Reading]] = {}
        self._meta: tuple[str, bytes] | None = None
        self._unsaved_commits = 0
        self._rate: deque[tuple[int, int]] = deque(maxlen=RATE_COMMITS)
        self._lock = file.lock(path)
        try:
            with self._errors("opening"):
                self._open()
        except BaseException:
            self._lock.close()
            raise

    # ------------------------------------------------------------------------------- opening

    def _open(self) -> None:
        self._db, salvaged = file.open_file(self._path)
        self._load()
        # Closed after the connection: closing any descriptor lets go of SQLite's locks.
        self._file = os.open(self._path, os.O_RDWR)
        if salvaged is not None and self._on_salvaged is not None:
            self._on_salvaged(salvaged)

    def _reopen(self) -> None:
        """The file was found damaged in the middle of work: put a new one in its place."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        os.close(self._file)
        with self._errors("opening"):
            self._open()

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            kind = OutboxFullError if _no_room(error) else OutboxError
            raise kind(str(self._path), f"{doing}: {error}") from error

    def _load(self) -> None:
        """Read the bookkeeping from the file."""
        info = dict(self._db.execute("SELECT key, value FROM info"))
        if info.get("format") != file.FORMAT:
            reason = f"format {info.get('format')!r}, not {file.FORMAT!r}"
            raise OutboxError(str(self._path), reason)
        spans: dict[int, list[Range]] = {ACKED: [], GIVEN_UP: []}
        for kind, low, high in self._db.execute("SELECT kind, low, high FROM span ORDER BY low"):
            spans[kind].append((low, high))
        self._id: str = info["id"]
        self._ledger = Ledger(
            spans[ACKED],
            spans[GIVEN_UP],
            **{name: int(info[name]) for name in file.COUNTERS},
        )
        self._saved = _ledger_rows(self._id, self._ledger)
        floor, last = self._db.execute("SELECT min(seq), max(seq) FROM batch").fetchone()
        known = [high for _, high in self._ledger.settled]
        self._next_seq: int = max([last or 0, *known]) + 1
        self._floor: int = floor or self._next_seq
        self._held_readings = int(
            self._db.execute("SELECT total(readings) FROM held").fetchone()[0]
        )
        self._thin_from = self._floor
        self._unsaved_commits = 0
        self._depth = _Depth()
        for gap in self._ledger.settled.missing(self._floor, self._next_seq - 1):
            self._depth.add(1, *self._sums(*gap))

    def _sums(self, low: int, high: int) -> tuple[int, int, int]:
        """Batches, readings and bytes of held numbers within [low, high]."""
        batches, readings, size = self._db.execute(
            "SELECT count(*), total(readings), total(size) FROM batch WHERE seq BETWEEN ? AND ?",
            (low, high),
        ).fetchone()
        return batches, int(readings), int(size)

    # ------------------------------------------------------------------------------ protocol

    @property
    def id(self) -> str:
        return self._id

    @property
    def durable(self) -> bool:
        return True

    @property
    def pending(self) -> int:
        return len(self._pending) + sum(map(len, self._held.values()))

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

    def hold(self, readings: Sequence[Reading], boot: str, wall_ms: int) -> None:
        self._held.setdefault((boot, wall_ms), []).extend(readings)

    def drop_pending(self, keep: int) -> int:
        dropped = max(0, len(self._pending) - keep)
        del self._pending[:dropped]
        for readings in self._held.values():
            too_many = max(0, len(readings) - keep)
            del readings[:too_many]
            dropped += too_many
        self._ledger.dropped_readings += dropped
        return dropped

    # ----------------------------------------------------------------------------- committing

    def commit(self, now_ms: int) -> range:
        with self._errors("committing"):
            work = self._transaction(lambda work: self._write_pending(work, now_ms))
        written = range(self._next_seq, work.next_seq)
        self._pending.clear()
        self._held.clear()
        self._follow(work)
        self._rate.append((now_ms, work.size))
        return written

    def release(self, boot: str, offset_ms: int | None) -> int:
        if offset_ms is not None:
            for key in [key for key in self._held if key[0] == boot]:
                self._pending += moved(self._held.pop(key), offset_ms, None)
        with self._errors("releasing held readings"):
            rows = self._db.execute(
                "SELECT held.id, wall_ms, hash, payload, readings, body FROM held"
                " JOIN meta ON meta.id = held.meta WHERE boot = ? ORDER BY held.id LIMIT ?",
                (boot, RELEASED_TOGETHER),
            ).fetchall()
            if not rows:
                return 0
            work = self._transaction(lambda work: self._number_held(work, rows, offset_ms))
        self._follow(work)
        return sum(row[4] for row in rows)

    def held_boots(self) -> tuple[str, ...]:
        with self._errors("reading"):
            rows = self._db.execute("SELECT DISTINCT boot FROM held").fetchall()
        return tuple(sorted({boot for (boot,) in rows} | {boot for boot, _ in self._held}))

    def _transaction(self, fill: "Callable[[_Work], None]") -> _Work:
        """Commit what `fill` does; once more in a new file, or in the room of what may go."""
        try:
            return self._attempt(fill, self._max_bytes, may_evict=True)
        except (sqlite3.Error, OSError) as error:
            if file.is_damage(error):
                self._reopen()
                return self._attempt(fill, self._max_bytes, may_evict=True)
            if not _no_room(error):
                raise
        with contextlib.suppress(sqlite3.Error):  # what the WAL has is all the room there is for it
            self._db.execute("PRAGMA wal_checkpoint(RESTART)")
        return self._attempt(fill, self._used_bytes(), may_evict=False)

    def _attempt(self, fill: "Callable[[_Work], None]", limit: int, *, may_evict: bool) -> _Work:
        work = _Work(
            self._ledger.copy(),
            replace(self._depth),
            self._next_seq,
            self._held_readings,
            self._thin_from,
        )
        self._limit, self._may_evict = limit, may_evict
        try:
            self._db.execute("BEGIN IMMEDIATE")
            fill(work)
            # A deleted batch must not come back as one that is still to be sent.
            saving = work.deleted or self._unsaved_commits + 1 >= ACK_COMMITS
            if saving:
                self._save(work.ledger)
            self._reserve()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        if saving:
            self._saved = _ledger_rows(self._id, work.ledger)
        self._unsaved_commits = 0 if saving else self._unsaved_commits + 1
        return work

    def _follow(self, work: _Work) -> None:
        """Memory follows the file, after COMMIT has returned; then what went is told."""
        self._ledger, self._depth = work.ledger, work.depth
        self._held_readings, self._thin_from = work.held_readings, work.thin_from
        self._next_seq = work.next_seq
        with self._errors("reading"):
            held = self._db.execute("SELECT min(seq) FROM batch").fetchone()[0]
        self._floor = held or self._next_seq
        for went, tell in ((work.thinned, self._on_thinned), (work.evicted, self._on_evicted)):
            if went and tell:
                tell(went[0][0], went[-1][0], sum(readings for _, readings in went))

    def _write_pending(self, work: _Work, now_ms: int) -> None:
        if self._meta is None:
            raise OutboxError(str(self._path), "use_meta comes before commit")
        if self._pending or self._held:
            key = self._meta_key(*self._meta)
            for (boot, wall_ms), held in self._held.items():
                for readings, blocks in split_batches(held):
                    body = pack(blocks)
                    self._make_room(work, len(body))
                    self._db.execute(
                        "INSERT INTO held (boot, wall_ms, meta, readings, body)"
                        " VALUES (?, ?, ?, ?, ?)",
                        (boot, wall_ms, key, len(readings), body),
                    )
                    work.held_readings += len(readings)
                    work.size += len(body)
            self._number(work, key, self._pending)
        self._evict_old(work, now_ms - self._max_age_ms)

    def _number_held(
        self,
        work: _Work,
        rows: "Sequence[tuple[int, int, str, bytes, int, bytes]]",
        offset_ms: int | None,
    ) -> None:
        """Give held readings their times, and numbers."""
        for row, wall_ms, meta, payload, count, body in rows:
            try:
                readings = readings_in(unpack(body))
            except ValueError:
                work.ledger.dropped_readings += count
                readings = []
            if offset_ms is None:
                timed = moved(readings, wall_ms, Quality.CLOCK)
            else:
                timed = moved(readings, offset_ms, None)
            self._db.execute("DELETE FROM held WHERE id = ?", (row,))
            work.held_readings -= count
            self._number(work, self._meta_key(meta, payload), timed)

    def _number(self, work: _Work, meta: int, readings: Sequence[Reading]) -> None:
        """Insert readings as batches with the next numbers."""
        for part, blocks in split_batches(readings):
            body = pack(blocks)
            self._make_room(work, len(body))
            self._insert(work, meta, part, body)
            work.size += len(body)

    def _insert(self, work: _Work, meta: int, readings: Sequence[Reading], body: bytes) -> int:
        seq = work.next_seq
        times = [reading.time_ms for reading in readings]
        self._db.execute(
            "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, meta, min(times), max(times), len(readings), len(body), body),
        )
        work.depth.add(1, 1, len(readings), len(body))
        work.next_seq += 1
        return seq

    def _meta_key(self, name: str, payload: bytes) -> int:
        row = self._db.execute("SELECT id FROM meta WHERE hash = ?", (name,)).fetchone()
        if row is None:
            insert = "INSERT INTO meta (hash, payload) VALUES (?, ?) RETURNING id"
            row = self._db.execute(insert, (name, payload)).fetchone()
            # Twice: without its meta no batch can be sent, and there is one for all of them.
            copy = (file.META_COPY.format(*row), payload.decode("utf-8"))
            self._db.execute("INSERT OR REPLACE INTO info VALUES (?, ?)", copy)
        return int(row[0])

    # -------------------------------------------------------------------------- bounded size

    def _reserve(self) -> None:
        """Give the file the room of all its pages before they are in the WAL for good.

        Else a full disk would be found by a checkpoint, which then never gets done, while the WAL
        cannot grow: no way to delete anything. SQLite does not mind a file that is too long.
        """
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        size = os.fstat(self._file).st_size
        missing = pages * PAGE_BYTES - size
        if missing <= 0:
            return
        try:
            os.posix_fallocate(self._file, size, missing + RESERVE_BYTES)
        except OSError:  # no room for the whole step
            os.posix_fallocate(self._file, size, missing)

    def _used_bytes(self) -> int:
        pages: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return (pages - free) * PAGE_BYTES

    def _make_room(self, work: _Work, size: int) -> None:
        """Let go until `size` fits: settled batches, resolution, unsettled batches, held readings.

        Each time the oldest. On a full disk (`_may_evict` false) the last two stay.
        """
        slack = 8 * PAGE_BYTES  # overflow and index pages of the row to come
        while self._used_bytes() + size + slack > self._limit:
            oldest = self._oldest_settled(work.ledger)
            if oldest is not None:
                self._delete(oldest[0])
            elif self._thin_oldest(work):
                pass
            elif not self._may_evict or not self._evict_unsettled(work):
                return  # one batch is larger than the bound: the batch counts more
            work.deleted = True

    def _evict_unsettled(self, work: _Work) -> bool:
        row = self._db.execute(
            "SELECT seq, readings, size FROM batch ORDER BY seq LIMIT 1"
        ).fetchone()
        if row is not None:
            work.ledger.give_up(row[0], row[1])
            work.evicted.append(row[:2])
            work.depth.add(-1, 1, *row[1:])
            self._delete(row[0])
            return True
        row = self._db.execute("SELECT id, readings FROM held ORDER BY id LIMIT 1").fetchone()
        if row is None:
            return False
        self._db.execute("DELETE FROM held WHERE id = ?", row[:1])
        work.held_readings -= row[1]
        work.ledger.dropped_readings += row[1]
        return True

    def _thin_oldest(self, work: _Work) -> bool:
        """Make thinner ones of the oldest batches of full resolution, then of those thinned once.

        Called when nothing settled is left. False when no instantaneous reading is left either.
        """
        rows = self._db.execute(
            "SELECT seq, meta, readings, size, body FROM batch WHERE seq >= ? AND seq < ?"
            " AND seq NOT IN (SELECT seq FROM thinned) ORDER BY seq LIMIT ?",
            (work.thin_from, self._next_seq, THINNED_TOGETHER),
        ).fetchall()
        level = 1
        if rows:
            work.thin_from = rows[-1][0] + 1
        else:
            level = LAST_LEVEL
            rows = self._db.execute(
                "SELECT batch.seq, meta, readings, size, body FROM thinned"
                " JOIN batch ON batch.seq = thinned.seq"
                " WHERE level < ? ORDER BY thinned.seq LIMIT ?",
                (level, THINNED_TOGETHER),
            ).fetchall()
        for meta in {row[1] for row in rows}:
            self._thin_rows(work, meta, [row for row in rows if row[1] == meta], level)
        return bool(rows)

    def _thin_rows(
        self, work: _Work, meta: int, rows: list[tuple[int, int, int, int, bytes]], level: int
    ) -> None:
        readings: list[Reading] = []
        for seq, _, count, _, body in rows:
            try:
                readings += readings_in(unpack(body))
            except ValueError:  # goes with the batches it is among; its readings are lost
                work.ledger.dropped_readings += count
                work.thinned.append((seq, count))
        kept = thin(readings, level)
        seqs = [row[0] for row in rows]
        if len(kept) == sum(row[2] for row in rows):  # nothing to thin: not written again
            marks = [(seq, level) for seq in seqs]
            self._db.executemany("INSERT OR REPLACE INTO thinned VALUES (?, ?)", marks)
            return
        for seq, _, count, size, _ in rows:
            self._delete(seq)
            work.ledger.give_up(seq, 0)
            work.depth.add(-1, 1, count, size)
        lost = len(readings) - len(kept)
        work.ledger.thinned_readings += lost
        work.thinned.append((seqs[-1], lost))
        for part, blocks in split_batches(kept):
            seq = self._insert(work, meta, part, pack(blocks))
            self._db.execute("INSERT INTO thinned VALUES (?, ?)", (seq, level))

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

    def _evict_old(self, work: _Work, before_ms: int) -> None:
        while (row := self._oldest_settled(work.ledger)) is not None and row[1] < before_ms:
            self._delete(row[0])
            work.deleted = True

    def _delete(self, seq: int) -> None:
        self._db.execute("DELETE FROM batch WHERE seq = ?", (seq,))
        self._db.execute("DELETE FROM thinned WHERE seq = ?", (seq,))

    def _save(self, ledger: Ledger) -> None:
        """Write the bookkeeping when it changed."""
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
            for gap in self._ledger.acknowledge(upto, spans):
                self._depth.add(-1, *self._sums(*gap))
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
        self._depth.add(-1, 1, readings, size)
        return int(readings)

    def reopen(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        with self._errors("reading"):
            rows = self._db.execute(
                "SELECT seq, readings, size FROM batch WHERE last_ms >= ? AND first_ms <= ?",
                (first_ms, last_ms),
            ).fetchall()
        again = [row for row in rows if self._ledger.reopen(row[0])]
        for _, readings, size in again:
            self._depth.add(1, 1, readings, size)
        return len(again), sum(row[1] for row in again)

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
            return StoredBatch(seq, meta, first_ms, last_ms, readings, unpack(body))

    def meta(self, name: str) -> bytes | None:
        if self._meta is not None and self._meta[0] == name:
            return self._meta[1]
        with self._errors("reading a meta"):
            row = self._db.execute("SELECT payload FROM meta WHERE hash = ?", (name,)).fetchone()
        return row and bytes(row[0])

    def newest_ms(self) -> int | None:
        with self._errors("reading"):
            row = self._db.execute(
                "SELECT max(last_ms) FROM (SELECT last_ms FROM batch ORDER BY seq DESC LIMIT ?)",
                (LAST_BATCHES,),
            ).fetchone()
        newest: int | None = row[0]
        return newest

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
                thinned_readings=self._ledger.thinned_readings,
                lost_batches=self._ledger.lost_batches,
                timeless_readings=self._held_readings + sum(map(len, self._held.values())),
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
        self._held.clear()
        try:
            with self._errors("closing"):
                self._db.execute("BEGIN IMMEDIATE")
                self._save(self._ledger)
                self._db.execute(
                    "DELETE FROM meta WHERE id NOT IN (SELECT DISTINCT meta FROM batch)"
                    " AND id NOT IN (SELECT DISTINCT meta FROM held)"
                )
                self._db.execute(
                    "DELETE FROM info WHERE key LIKE ? AND"
                    " CAST(substr(key, 6) AS INTEGER) NOT IN (SELECT id FROM meta)",
                    (file.META_COPY.format("%"),),
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
    spans = [(ACKED, low, high) for low, high in ledger.acked]
    spans += [(GIVEN_UP, low, high) for low, high in ledger.given_up]
    info = {"id": outbox} | {name: getattr(ledger, name) for name in file.COUNTERS}
    return spans, [(key, str(value)) for key, value in info.items()]
