"""What is settled of each outbox, and the acks that tell edges so."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from aggregator.directory import Directory, Source
from aggregator.events import Counter, Events
from aggregator.ingest.assemble import Arrival
from aggregator.ingest.receipts import Settled
from aggregator.ingest.subscriber import Publish
from aggregator.store.base import Ranges
from contract.ack import MAX_NEED_META, MAX_OUTBOXES, Ack, OutboxAck, encode_ack
from contract.topics import Address, MessageKind, topic
from contract.wire import MAX_ACK_BYTES

_FRAME_BYTES = 128 + 70 * MAX_NEED_META
"""What an ack without outboxes takes at most [bytes]: a name of 64 digits, quotes and a comma."""
_OUTBOX_BYTES, _RANGE_BYTES = 80, 36
"""What an outbox, and each of its ranges, takes at most [bytes]: a seq has up to 16 digits."""


@dataclass(slots=True)
class _Answer:
    """What the next ack to one edge has to say."""

    sources: set[int] = field(default_factory=set)
    need_meta: set[str] = field(default_factory=set)


class Answers:
    """Owned by the pipeline's thread. A batch is settled before its commit, owed an ack after."""

    def __init__(
        self,
        directory: Directory,
        receipts: Mapping[Source, Ranges],
        publish: Publish,
        events: Events,
        time_ms: Callable[[], int],
    ) -> None:
        self._sources = directory.sources
        self._publish = publish
        self._events = events
        self._time_ms = time_ms
        self._settled = {
            directory.sources.add(source): Settled(ranges) for source, ranges in receipts.items()
        }
        self._owed: dict[Address, _Answer] = {}

    def is_settled(self, source: int, seq: int) -> bool:
        """Tell whether a batch is committed, or given up by its edge."""
        return source in self._settled and seq in self._settled[source]

    def settle(self, arrivals: Iterable[Arrival]) -> dict[Source, Ranges]:
        """Take batches that are about to be committed as settled; return their outboxes' receipts.

        What their edge has given up is settled with them.
        """
        receipts = {}
        for arrival in arrivals:
            settled = self._settled.setdefault(arrival.source, Settled())
            for low, high in arrival.given_up:
                self._events.count(Counter.VOIDED, settled.add(low, high))
            settled.add(arrival.seq, arrival.seq)
            receipts[arrival.source] = settled
        return {self._sources.key(source): its.ranges() for source, its in receipts.items()}

    def owe(self, address: Address, source: int) -> None:
        """Tell an edge what is settled of an outbox with the next ack."""
        self._answer(address).sources.add(source)

    def owe_time(self, address: Address) -> None:
        """Send an edge an ack that tells the time, whatever else it says."""
        self._answer(address)

    def ask(self, address: Address, meta: str) -> None:
        """Ask an edge for a meta."""
        self._answer(address).need_meta.add(meta)

    def _answer(self, address: Address) -> _Answer:
        return self._owed.setdefault(address, _Answer())

    def send(self) -> None:
        """Tell each edge what is settled of what it sent since the last ack, and what is unknown.

        Metas beyond the limit are asked for when their data come again.
        """
        owed, self._owed = self._owed, {}
        now_ms = self._time_ms()
        for address, answer in owed.items():
            outboxes: dict[str, OutboxAck] = {}
            for source in answer.sources:
                settled = self._settled.get(source, Settled())
                outbox = self._sources.key(source).outbox
                outboxes[outbox] = OutboxAck(settled.upto, settled.above())
            need_meta = tuple(sorted(answer.need_meta)[:MAX_NEED_META])
            for portion in _portions(outboxes):
                ack = encode_ack(Ack(now_ms, portion, need_meta))
                self._publish(topic(address, MessageKind.ACK), ack)
                self._events.count(Counter.ACKS)
                need_meta = ()


def _portions(outboxes: Mapping[str, OutboxAck]) -> Iterator[dict[str, OutboxAck]]:
    """Yield the outboxes as many at once as an ack may hold: one portion at least."""
    portion: dict[str, OutboxAck] = {}
    size = _FRAME_BYTES
    for outbox, settled in outboxes.items():
        its_size = _OUTBOX_BYTES + _RANGE_BYTES * len(settled.ranges)
        if portion and (len(portion) == MAX_OUTBOXES or size + its_size > MAX_ACK_BYTES):
            yield portion
            portion, size = {}, _FRAME_BYTES
        portion[outbox] = settled
        size += its_size
    yield portion
