"""What an outbox holds, also beside a running agent: by pages, since SQLite's lock is its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contract.wire import Range
from edge_agent.errors import OutboxError
from edge_agent.outbox.base import Ledger
from edge_agent.outbox.file import ACKED, GIVEN_UP, PAGE_BYTES
from edge_agent.outbox.pages import Pages, Value

TRIES = 5
_WAL_HEADER = 32


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
    thinned_readings: int
    lost_batches: int
    timeless_readings: int
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
    wal = path.with_name(path.name + "-wal")
    try:
        tries = 0
        while True:
            tries += 1
            before = _moment(path, wal)
            with Pages(path, wal, PAGE_BYTES) as pages:
                found = _inspect(pages)
            # Else the log was written back meanwhile.
            if _moment(path, wal) == before or tries == TRIES:
                return found
    except (OSError, KeyError, ValueError) as error:
        raise OutboxError(str(path), f"reading: {error!r}") from error


def _moment(path: Path, wal: Path) -> tuple[int, bytes]:
    if not wal.exists():
        return path.stat().st_mtime_ns, b""
    with wal.open("rb") as file:
        return path.stat().st_mtime_ns, file.read(_WAL_HEADER)


@dataclass(slots=True)
class _Rows:
    info: dict[str, str] = field(default_factory=dict)
    spans: dict[int, list[Range]] = field(default_factory=lambda: {ACKED: [], GIVEN_UP: []})
    batches: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """seq -> (first_ms, last_ms, readings)."""
    metas: int = 0
    timeless: int = 0

    def take(self, rowid: int | None, columns: Sequence[Value]) -> None:
        """Sort a row by its shape."""
        match [rowid, *columns]:
            case [None, str(key), str(value)]:
                self.info[key] = value
            case [None, int(kind), int(low), int(high)] if kind in self.spans:
                self.spans[kind].append((low, high))
            case [int(), None, str(), bytes()]:
                self.metas += 1
            case [int(seq), None, int(), int(first), int(last), int(count), int(), bytes()]:
                self.batches[seq] = (first, last, count)
            case [int(), None, str(), int(), int(), int(count), bytes()]:
                self.timeless += count


def _inspect(pages: Pages) -> Inspection:
    rows = _Rows()
    for row in pages.rows():
        rows.take(*row)
    ledger = Ledger(rows.spans[ACKED], rows.spans[GIVEN_UP])
    next_seq = max([*rows.batches, *(high for _, high in ledger.settled), 0]) + 1
    unacked = [batch for seq, batch in rows.batches.items() if seq not in ledger.settled]
    return Inspection(
        id=rows.info["id"],
        floor=min(rows.batches, default=next_seq),
        next_seq=next_seq,
        held_batches=len(rows.batches),
        held_readings=sum(batch[2] for batch in rows.batches.values()),
        unacked_batches=len(unacked),
        unacked_readings=sum(batch[2] for batch in unacked),
        unacked_oldest_ms=min((batch[0] for batch in unacked), default=None),
        newest_ms=max((batch[1] for batch in rows.batches.values()), default=None),
        dropped_readings=int(rows.info["dropped_readings"]),
        thinned_readings=int(rows.info.get("thinned_readings", 0)),
        lost_batches=int(rows.info.get("lost_batches", 0)),
        timeless_readings=rows.timeless,
        metas=rows.metas,
        used_bytes=pages.used_bytes,
        acked=tuple(ledger.acked),
        void=tuple(ledger.given_up),
    )
