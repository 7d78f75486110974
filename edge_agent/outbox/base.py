"""The outbox protocol, what it promises, and the in-memory reference.

Promises, kept by every implementation (``tests/suites/outbox_suite.py`` runs on all of them):

1. `commit` makes all appended readings durable at once, as one or more batches numbered without
   gaps from 1. A reading is in exactly one batch. A failed commit changes nothing.
2. `acknowledge` is idempotent and never takes an acknowledgement back.
3. An acked batch stays until its room is needed or it is older than the age limit; the oldest go
   first. When nothing acked is left, the oldest unacked batches are replaced by thinner ones: new
   numbers, the old ones void (`edge_agent.outbox.thinning`). When no instantaneous reading is left
   to thin, the oldest unacked batches go; each is counted and voided.
4. `floor` is the lowest number still held; everything below it will never be sent.
5. (id, number) names one batch for ever. An ack of numbers never written tells that another life of
   this outbox (before its disk was restored from an older image) used them: the outbox takes a new
   id, what is unsettled is sent under that, and what was settled is void there, since nobody
   will send it.
6. Readings whose time is not known are held: durable by `commit` like others, without numbers,
   until `release` says what their times are.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from contract.data import MAX_BLOCKS_BYTES, blocks_of, encode_blocks
from contract.meta import meta_hash
from contract.reading import Quality, Reading
from contract.wire import MAX_RANGES, Range
from edge_agent.errors import OutboxError
from edge_agent.outbox.ranges import Ranges

DAY_MS = 86_400_000
MAX_BATCH_READINGS = 4_096
"""Keeps a batch under the contract's limits of blocks and times whatever the readings are."""
ALARM_PERCENT = (70, 90)
"""Shares of the room at which unacked readings alarm."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A committed batch as it will be sent."""

    seq: int
    meta: str
    """Hash of the meta it was read under."""
    first_ms: int
    last_ms: int
    readings: int
    blocks_json: bytes
    """Array of blocks, `contract.data.encode_blocks`."""


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """How full the outbox is. Bytes are bytes on disk."""

    next_seq: int
    upto: int
    """Every batch up to and including it is settled (acked or given up)."""
    depth_batches: int
    depth_readings: int
    depth_bytes: int
    oldest_ms: int | None
    """Time of the oldest unacked reading [ms UTC]; None when all is acked."""
    held_bytes: int
    limit_bytes: int
    horizon_s: int | None
    """How long the room not taken by unacked batches lasts at the present rate [s]."""
    dropped_readings: int
    """Readings given up since the outbox was made."""
    thinned_readings: int
    """Instantaneous readings thinned away for want of room since the outbox was made."""
    lost_batches: int
    """Batches a damaged file could not give back since the outbox was made."""
    timeless_readings: int
    """Readings held until their time is known."""

    @property
    def alarm_percent(self) -> int:
        """The highest level of `ALARM_PERCENT` that unacked readings fill, else 0."""
        share = 100 * self.depth_bytes // max(1, self.limit_bytes)
        return max((level for level in ALARM_PERCENT if share >= level), default=0)


LAST_BATCHES = 256
"""Batches `newest_ms` looks at: the last may be of old readings, thinned or late."""

Evicted = Callable[[int, int, int], None]
"""Told (first_seq, last_seq, readings) when unacked batches had to go."""


class Outbox(Protocol):
    """Where readings wait until the aggregator has committed them."""

    @property
    def id(self) -> str:
        """Random 64-bit id, 16 hex digits: made with the outbox, renewed as promise 5 says."""
        ...

    @property
    def durable(self) -> bool:
        """Whether what is committed survives the process."""
        ...

    @property
    def pending(self) -> int:
        """Readings appended and not yet committed."""
        ...

    @property
    def next_seq(self) -> int:
        """Number the next batch will get; 1 at first."""
        ...

    @property
    def floor(self) -> int:
        """Lowest number still held; `next_seq` when nothing is."""
        ...

    @property
    def meta_in_use(self) -> str:
        """Hash given by the last `use_meta`, "" before."""
        ...

    def use_meta(self, payload: bytes) -> str:
        """Readings committed from now on were read under this meta; returns its hash."""
        ...

    def append(self, readings: Sequence[Reading]) -> None:
        """Take readings into memory. Never fails, never blocks."""
        ...

    def hold(self, readings: Sequence[Reading], boot: str, wall_ms: int) -> None:
        """Take readings whose times are milliseconds since the boot `boot`.

        `wall_ms`: what the wall clock, right or wrong, showed at time 0 of that boot.
        """
        ...

    def release(self, boot: str, offset_ms: int | None) -> int:
        """Number some of the readings held since a boot; returns how many, 0 when none is left.

        `offset_ms` is added to their times. None: it will never be known; they get the time of
        the wall clock of then and `Quality.CLOCK`.
        """
        ...

    def held_boots(self) -> tuple[str, ...]:
        """The boots of which readings are held."""
        ...

    def reopen(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        """Let acked batches with readings within [first_ms, last_ms] be sent again.

        Returns how many batches and readings; they are settled when they are acked again.
        """
        ...

    def drop_pending(self, keep: int) -> int:
        """Forget the oldest uncommitted readings beyond `keep`; returns how many."""
        ...

    def commit(self, now_ms: int) -> range:
        """Make pending readings durable; returns the numbers of the new batches.

        OutboxError when the file does not take them: they stay pending.
        """
        ...

    def acknowledge(self, upto: int, ranges: Iterable[Range] = ()) -> bool:
        """Settle all batches up to `upto` and in `ranges` (inclusive).

        False when it names batches that were never committed: it settles nothing and the
        outbox has a new id.
        """
        ...

    def give_up(self, seq: int) -> int:
        """Void one unsettled batch, keeping its body here; returns its readings.

        Works without reading the body; readings that cannot even be counted are 0.
        """
        ...

    def is_settled(self, seq: int) -> bool:
        """Acked, given up, or below the floor."""
        ...

    def unsettled(self, *, newest_first: bool) -> Iterator[int]:
        """Numbers of batches still to be acked. Do not change the outbox while iterating."""
        ...

    def void(self) -> tuple[Range, ...]:
        """Given-up ranges the aggregator may not know of, as an envelope carries them."""
        ...

    def batch(self, seq: int) -> StoredBatch | None:
        """A held batch, None when it is gone."""
        ...

    def meta(self, name: str) -> bytes | None:
        """Payload of a meta in use or referred to by a held batch."""
        ...

    def newest_ms(self) -> int | None:
        """Time of the newest reading of the last batches [ms UTC]; None when there is none."""
        ...

    def stats(self) -> OutboxStats:
        """How full it is."""
        ...

    def close(self) -> None:
        """Release the file. What was not committed is lost."""
        ...


def new_outbox_id() -> str:
    """64 random bits as 16 hex digits."""
    return secrets.token_hex(8)


def split_batches(readings: Sequence[Reading]) -> Iterator[tuple[Sequence[Reading], bytes]]:
    """Cut readings, in order, into the fewest halves whose blocks fit a batch."""
    if not readings:
        return
    if len(readings) <= MAX_BATCH_READINGS:
        body = encode_blocks(blocks_of(readings))
        if len(body) <= MAX_BLOCKS_BYTES:
            yield readings, body
            return
    middle = len(readings) // 2
    yield from split_batches(readings[:middle])
    yield from split_batches(readings[middle:])


def moved(readings: Iterable[Reading], by_ms: int, quality: Quality | None) -> list[Reading]:
    """Return the readings `by_ms` later, with another quality unless it is None."""
    return [
        replace(
            reading,
            time_ms=max(0, reading.time_ms + by_ms),
            quality=reading.quality if quality is None else quality,
        )
        for reading in readings
    ]


class Ledger:
    """Which numbers are settled: the bookkeeping shared by implementations.

    `acked` and `given_up` are kept apart because only what was given up is told to the aggregator.
    """

    def __init__(
        self,
        acked: Iterable[Range] = (),
        given_up: Iterable[Range] = (),
        told_upto: int = 0,
        dropped_readings: int = 0,
        thinned_readings: int = 0,
        lost_batches: int = 0,
    ) -> None:
        self.acked = Ranges(acked)
        self.given_up = Ranges(given_up)
        self.settled = Ranges([*self.acked, *self.given_up])
        self.told_upto = told_upto
        """Highest `upto` the aggregator has told: it knows of every void up to here."""
        self.dropped_readings = dropped_readings
        self.thinned_readings = thinned_readings
        self.lost_batches = lost_batches

    def copy(self) -> "Ledger":
        """An independent copy, to be kept only when a transaction succeeds."""
        return Ledger(
            self.acked,
            self.given_up,
            self.told_upto,
            self.dropped_readings,
            self.thinned_readings,
            self.lost_batches,
        )

    def acknowledge(self, upto: int, ranges: Iterable[Range]) -> list[Range]:
        """Union an ack; returns the ranges that became settled by it."""
        fresh: list[Range] = []
        for low, high in [(1, upto), *ranges]:
            fresh += self.settled.missing(low, high)
            self.acked.add(low, high)
            self.settled.add(low, high)
        self.told_upto = max(self.told_upto, upto)
        return fresh

    def renew(self) -> None:
        """Under a new id the aggregator knows nothing: what is settled will not come."""
        for low, high in self.acked:
            self.given_up.add(low, high)
        self.told_upto = 0

    def give_up(self, seq: int, readings: int) -> None:
        """Void one batch."""
        self.given_up.add(seq, seq)
        self.settled.add(seq, seq)
        self.dropped_readings += readings

    def reopen(self, seq: int) -> bool:
        """Forget that a batch was acked; False when it was not."""
        if seq not in self.acked or seq in self.given_up:
            return False
        self.acked.remove(seq)
        self.settled.remove(seq)
        return True

    def upto(self) -> int:
        """All numbers up to it are settled."""
        first = next(iter(self.settled), (1, 0))
        return first[1] if first[0] == 1 else 0

    def unsettled(self, low: int, high: int, *, newest_first: bool) -> Iterator[int]:
        """Unsettled numbers within [low, high]."""
        gaps = self.settled.missing(low, high)
        if newest_first:
            for first, last in reversed(gaps):
                yield from range(last, first - 1, -1)
        else:
            for first, last in gaps:
                yield from range(first, last + 1)

    def void(self) -> tuple[Range, ...]:
        """The lowest given-up ranges the aggregator has not passed; the rest follow later."""
        news = [(low, high) for low, high in self.given_up if high > self.told_upto]
        return tuple(news[:MAX_RANGES])


class MemoryOutbox:
    """The reference: plain, in memory, nothing durable, nothing thinned.

    Bytes are those of the encoded blocks.
    """

    def __init__(self, max_bytes: int, max_days: float, on_evicted: Evicted | None = None) -> None:
        self._id = new_outbox_id()
        self._max_bytes = max_bytes
        self._max_age_ms = max_days * DAY_MS
        self._on_evicted = on_evicted
        self._pending: list[Reading] = []
        self._held: dict[tuple[str, int], list[Reading]] = {}
        self._meta = ""
        self._metas: dict[str, bytes] = {}
        self._batches: dict[int, StoredBatch] = {}
        self._next_seq = 1
        self._ledger = Ledger()

    @property
    def id(self) -> str:
        return self._id

    @property
    def durable(self) -> bool:
        return False

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def next_seq(self) -> int:
        return self._next_seq

    @property
    def floor(self) -> int:
        return min(self._batches, default=self._next_seq)

    @property
    def meta_in_use(self) -> str:
        return self._meta

    def use_meta(self, payload: bytes) -> str:
        self._meta = meta_hash(payload)
        self._metas[self._meta] = payload
        return self._meta

    def append(self, readings: Sequence[Reading]) -> None:
        self._pending.extend(readings)

    def hold(self, readings: Sequence[Reading], boot: str, wall_ms: int) -> None:
        self._held.setdefault((boot, wall_ms), []).extend(readings)

    def release(self, boot: str, offset_ms: int | None) -> int:
        count = 0
        for key in [key for key in self._held if key[0] == boot]:
            readings = self._held.pop(key)
            count += len(readings)
            by_ms = key[1] if offset_ms is None else offset_ms
            quality = Quality.CLOCK if offset_ms is None else None
            self._number(moved(readings, by_ms, quality))
        return count

    def held_boots(self) -> tuple[str, ...]:
        return tuple(sorted({boot for boot, _ in self._held}))

    def reopen(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        again = [
            batch
            for batch in self._batches.values()
            if batch.last_ms >= first_ms
            and batch.first_ms <= last_ms
            and self._ledger.reopen(batch.seq)
        ]
        return len(again), sum(batch.readings for batch in again)

    def drop_pending(self, keep: int) -> int:
        dropped = max(0, len(self._pending) - keep)
        del self._pending[:dropped]
        self._ledger.dropped_readings += dropped
        return dropped

    def commit(self, now_ms: int) -> range:
        if not self._meta:
            raise OutboxError("memory", "use_meta comes before commit")
        first = self._next_seq
        self._number(self._pending)
        self._pending.clear()
        for seq, batch in list(self._batches.items()):
            if seq in self._ledger.settled and batch.last_ms < now_ms - self._max_age_ms:
                del self._batches[seq]
        return range(first, self._next_seq)

    def _number(self, pending: Sequence[Reading]) -> None:
        for readings, body in split_batches(pending):
            self._make_room(len(body))
            times = [reading.time_ms for reading in readings]
            self._batches[self._next_seq] = StoredBatch(
                self._next_seq, self._meta, min(times), max(times), len(readings), body
            )
            self._next_seq += 1

    def _make_room(self, size: int) -> None:
        evicted: list[StoredBatch] = []
        while self._batches and self._held_bytes() + size > self._max_bytes:
            held = sorted(self._batches)
            seq = next((s for s in held if s in self._ledger.settled), held[0])
            batch = self._batches.pop(seq)
            if seq not in self._ledger.settled:
                self._ledger.give_up(seq, batch.readings)
                evicted.append(batch)
        if evicted and self._on_evicted:
            total = sum(batch.readings for batch in evicted)
            self._on_evicted(evicted[0].seq, evicted[-1].seq, total)

    def _held_bytes(self) -> int:
        return sum(len(batch.blocks_json) for batch in self._batches.values())

    def acknowledge(self, upto: int, ranges: Iterable[Range] = ()) -> bool:
        spans = list(ranges)
        if max([upto, *(high for _, high in spans)]) >= self._next_seq:
            self._id = new_outbox_id()
            self._ledger.renew()
            return False
        self._ledger.acknowledge(upto, spans)
        return True

    def give_up(self, seq: int) -> int:
        if self.is_settled(seq) or seq not in self._batches:
            return 0
        self._ledger.give_up(seq, self._batches[seq].readings)
        return self._batches[seq].readings

    def is_settled(self, seq: int) -> bool:
        return seq in self._ledger.settled

    def unsettled(self, *, newest_first: bool) -> Iterator[int]:
        return self._ledger.unsettled(self.floor, self._next_seq - 1, newest_first=newest_first)

    def void(self) -> tuple[Range, ...]:
        return self._ledger.void()

    def batch(self, seq: int) -> StoredBatch | None:
        return self._batches.get(seq)

    def meta(self, name: str) -> bytes | None:
        return self._metas.get(name)

    def newest_ms(self) -> int | None:
        last = sorted(self._batches)[-LAST_BATCHES:]
        return max((self._batches[seq].last_ms for seq in last), default=None)

    def stats(self) -> OutboxStats:
        open_batches = [self._batches[seq] for seq in self.unsettled(newest_first=False)]
        return OutboxStats(
            next_seq=self._next_seq,
            upto=self._ledger.upto(),
            depth_batches=len(open_batches),
            depth_readings=sum(batch.readings for batch in open_batches),
            depth_bytes=sum(len(batch.blocks_json) for batch in open_batches),
            oldest_ms=min((batch.first_ms for batch in open_batches), default=None),
            held_bytes=self._held_bytes(),
            limit_bytes=self._max_bytes,
            horizon_s=None,
            dropped_readings=self._ledger.dropped_readings,
            thinned_readings=0,
            lost_batches=0,
            timeless_readings=sum(map(len, self._held.values())),
        )

    def close(self) -> None:
        self._pending.clear()
