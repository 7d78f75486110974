"""The outbox's file: its lock, its tables, and how it is opened whatever happened to it.

Opening
    sound        the write-ahead log is replayed, the tables are checked
    damaged      a page that does not fit, a file cut short, a bad frame with good ones behind it:
                 every row that is whole is copied to a new file (`pages`), which takes the old
                 one's place under a new outbox id; the old one is kept beside it as `.damaged`
    of format 1  gets the tables it lacks

Replacing a damaged file survives a kill at each step: the log is renamed first, so that SQLite
never plays it onto another file; the new file's generation (user_version) is one above, which
tells at the next opening which of the two the log belongs to.
"""

import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from contract.meta import meta_hash
from edge_agent.errors import OutboxError, OutboxLockedError
from edge_agent.outbox.base import Ledger, new_outbox_id
from edge_agent.outbox.body import unpack
from edge_agent.outbox.pages import Pages, Row

FORMAT = "2"
OLDER_FORMATS = {"1"}
PAGE_BYTES = 512
CHECKPOINT_PAGES = 1024
CHECKED_BYTES = 64 << 20
"""Files up to this size are checked page by page at opening; larger ones row by row only."""
ACKED, GIVEN_UP = 0, 1
_CACHE_PAGE = 4096

_SCHEMA = """
CREATE TABLE IF NOT EXISTS info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (
    id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS span (
    kind INTEGER, low INTEGER, high INTEGER, PRIMARY KEY (kind, low)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch (
    seq INTEGER PRIMARY KEY, meta INTEGER NOT NULL, first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL, readings INTEGER NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS thinned (seq INTEGER PRIMARY KEY, level INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS held (
    id INTEGER PRIMARY KEY, boot TEXT NOT NULL, wall_ms INTEGER NOT NULL, meta INTEGER NOT NULL,
    readings INTEGER NOT NULL, body BLOB NOT NULL
);
"""
META_COPY = "meta:{}"
"""Key in `info` of the second copy of a meta, by its id."""
COUNTERS = ("told_upto", "dropped_readings", "thinned_readings", "lost_batches")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What could be saved of a damaged file. `lost` = numbers that are missing, as far as known."""

    reason: str
    batches: int
    readings: int
    lost: int
    damaged: Path


def lock(path: Path) -> TextIO:
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
    with contextlib.suppress(OSError):  # a full disk: who holds it is then not told
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
    return file


def open_file(path: Path) -> tuple[sqlite3.Connection, Salvaged | None]:
    """Open the file, make it when there is none, replace it when it is damaged.

    sqlite3.Error or OSError when the disk does not let it be read and written.
    """
    saved = None
    reason = _interrupted(path) or _hidden_frames(path)
    if reason is None:
        try:
            return _connect(path), None
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            reason = str(error)
    saved = replace(path, reason)
    return _connect(path), saved


def is_damage(error: BaseException | None) -> bool:
    """Whether the file's content is at fault, not the disk's mood."""
    if isinstance(error, _CheckError):
        return True
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _CheckError(sqlite3.DatabaseError):
    pass


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, cached_statements=32)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA cache_size = -512")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * PAGE_BYTES}")
        _prepare(db)
        _check(db, path)
        _make_room_for_log(db, _wal(path))
    except BaseException:
        db.close()
        raise
    return db


def _make_room_for_log(db: sqlite3.Connection, wal: Path) -> None:
    """Write the log's room once, so that commits do not make the file system find it bit by bit.

    Zeros are no frames. A disk without so much room goes without.
    """
    db.execute("UPDATE info SET value = value WHERE key = 'format'")  # the log begins
    missing = CHECKPOINT_PAGES * PAGE_BYTES - wal.stat().st_size
    with contextlib.suppress(OSError), wal.open("ab", buffering=0) as log:
        # In pieces of a page: the kernel keeps a long one together, and counts it as a whole
        # whenever a part is written.
        for _ in range(0, missing, _CACHE_PAGE):
            log.write(bytes(_CACHE_PAGE))
        os.fsync(log.fileno())


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables that are not there.

    None is also after a power cut between the first page (journal_mode) and the schema.
    """
    tables = db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    if tables == _SCHEMA.count("CREATE TABLE"):
        return
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.strip().split(";\n"):
        db.execute(statement)
    if not tables:
        rows = {"id": new_outbox_id(), "format": FORMAT}
        db.executemany("INSERT INTO info VALUES (?, ?)", rows.items())
    db.executemany("INSERT OR IGNORE INTO info VALUES (?, '0')", [(name,) for name in COUNTERS])
    db.executemany(
        f"UPDATE info SET value = '{FORMAT}' WHERE key = 'format' AND value = ?",  # noqa: S608
        [(name,) for name in OLDER_FORMATS],
    )
    db.execute("COMMIT")


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Find a torn file now rather than in the middle of a night."""
    if path.stat().st_size <= CHECKED_BYTES:
        verdict: Any = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _CheckError(verdict)
    else:
        db.execute("SELECT total(readings) FROM batch").fetchone()
    if not db.execute("SELECT count(*) FROM info WHERE key IN ('id', 'format')").fetchone()[0]:
        raise _CheckError("the table info is empty")


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _set_aside(path: Path) -> tuple[int, Path] | None:
    """(generation, file) of a log that was renamed when a replacement began."""
    for found in path.parent.glob(f"{path.name}.log-*"):
        generation = found.name.rpartition("-")[2]
        if re.fullmatch("[0-9]+", generation):
            return int(generation), found
    return None


def _interrupted(path: Path) -> str | None:
    """Why a replacement must begin anew; clears away what a finished one left."""
    aside = _set_aside(path)
    if aside is None:
        return None
    with Pages(path, path.with_name("none"), PAGE_BYTES) as pages:
        if pages.user_version() != aside[0]:
            aside[1].unlink()
            return None
    return "a replacement of the damaged file was interrupted"


def _hidden_frames(path: Path) -> str | None:
    """A bad frame ends the log for SQLite, without a word, however good those behind it are."""
    if not path.exists() or not _wal(path).exists():
        return None
    with Pages(path, _wal(path), PAGE_BYTES) as pages:
        if pages.unread_frames:
            return f"{pages.unread_frames} pages of the log behind a bad one"
    return None


# ------------------------------------------------------------------------------ replacing


@dataclass(slots=True)
class _Found:
    info: dict[str, str] = field(default_factory=dict)
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: {0: [], 1: []})
    highest: int = 0


def replace(path: Path, reason: str) -> Salvaged:
    """Put a new file with all whole rows in the place of a damaged one."""
    aside = _set_aside(path)
    with Pages(path, path.with_name("none"), PAGE_BYTES) as pages:
        generation = pages.user_version() if aside is None else aside[0]
    log = path.with_name(f"{path.name}.log-{generation}")
    if aside is None and _wal(path).exists():
        _wal(path).rename(log)
    fresh = path.with_name(path.name + ".salvage")
    for old in (fresh, _wal(fresh)):
        old.unlink(missing_ok=True)
    db = _connect(fresh)
    try:
        with Pages(path, log, PAGE_BYTES) as pages:
            found = _copy(pages, db)
        counts = _settle(db, found)
        db.execute(f"PRAGMA user_version = {(generation + 1) & 0x7FFFFFFF}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()
    damaged = path.with_name(path.name + ".damaged")
    damaged.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a file system without links: nothing to look at later
        os.link(path, damaged)
    fresh.replace(path)
    _sync_folder(path.parent)
    log.unlink(missing_ok=True)
    return Salvaged(reason, *counts, damaged)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(pages: Pages, db: sqlite3.Connection) -> _Found:
    """Write every whole row into the new file."""
    found = _Found()
    db.execute("BEGIN")
    for at, row in enumerate(pages.rows(older=True)):
        _copy_row(row, db, found)
        if at % 1000 == 999:
            db.execute("COMMIT")
            db.execute("BEGIN")
    db.execute("COMMIT")
    return found


def _copy_row(row: Row, db: sqlite3.Connection, found: _Found) -> None:
    rowid, columns = row
    kinds = tuple(type(value) for value in columns)
    integers = tuple(value for value in columns if isinstance(value, int))
    if rowid is None and kinds == (str, str):
        found.info[str(columns[0])] = str(columns[1])
    elif rowid is None and kinds == (int, int, int):
        kind, low, high = integers
        if kind in found.spans and 1 <= low <= high:
            found.spans[kind].append((low, high))
            found.highest = max(found.highest, high)
    elif kinds == (type(None), str, bytes) and _named(*columns[1:]):
        db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?, ?)", (rowid, *columns[1:]))
    elif kinds == (type(None), *[int] * 5, bytes):
        if _whole(columns[-1]):
            db.execute(
                "INSERT OR IGNORE INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)", (rowid, *columns[1:])
            )
    elif kinds == (type(None), str, int, int, int, bytes):
        if _whole(columns[-1]):
            db.execute(
                "INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?, ?)", (rowid, *columns[1:])
            )
    elif kinds == (type(None), int):
        db.execute("INSERT OR IGNORE INTO thinned VALUES (?, ?)", (rowid, columns[1]))


def _named(name: object, payload: object) -> bool:
    return isinstance(payload, bytes) and meta_hash(payload) == name


def _whole(body: object) -> bool:
    try:
        return isinstance(body, bytes) and bool(unpack(body))
    except ValueError:
        return False


def _settle(db: sqlite3.Connection, found: _Found) -> tuple[int, int, int]:
    """Bookkeeping of the new file; returns batches and readings saved, and batches lost.

    A new id: numbers of batches that were sent and are lost may be given again.
    """
    db.execute("BEGIN")
    for key, payload in found.info.items():
        _, _, number = key.partition(":")
        if META_COPY.format(number) == key and number.isdecimal():
            raw = payload.encode()
            db.execute("INSERT OR REPLACE INTO info VALUES (?, ?)", (key, payload))
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?, ?)", (number, meta_hash(raw), raw))
    for table in ("batch", "held"):
        orphans = f"DELETE FROM {table} WHERE meta NOT IN (SELECT id FROM meta)"  # noqa: S608
        db.execute(orphans)
    low, high, batches, readings = db.execute(
        "SELECT min(seq), max(seq), count(*), total(readings) FROM batch"
    ).fetchone()
    numbers = {name: _number(found.info.get(name)) for name in COUNTERS}
    ledger = Ledger(found.spans[ACKED], found.spans[GIVEN_UP])
    held = [seq for (seq,) in db.execute("SELECT seq FROM batch ORDER BY seq")]
    lost = 0
    for first, last in _gaps(held, low or 1, max(high or 0, found.highest)):
        lost += sum(b - a + 1 for a, b in ledger.settled.missing(first, last))
        ledger.acked.add(first, last)
    if low and low > 1:
        ledger.acked.add(1, low - 1)
    ledger.renew()
    spans = [(ACKED, *span) for span in ledger.acked]
    spans += [(GIVEN_UP, *span) for span in ledger.given_up]
    db.executemany("INSERT INTO span VALUES (?, ?, ?)", spans)
    numbers["told_upto"] = 0
    numbers["lost_batches"] += lost
    db.executemany("UPDATE info SET value = ?2 WHERE key = ?1", list(numbers.items()))
    db.execute("COMMIT")
    return batches, int(readings), lost


def _gaps(held: list[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    expected = low
    for seq in [*held, high + 1]:
        if seq > expected:
            yield expected, seq - 1
        expected = max(expected, seq + 1)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
