"""Tells a batch that comes again from other content under its number, which is kept aside.

Receipts know numbers only. What a batch said is remembered of those that came last, which is enough
for what an edge sends again in the ordinary way. Of others, as after a start of the aggregator, the
store is asked whether it has their register readings, whatever number brought them: of all that
came together in one query a day. Samples say nothing then: the store drops them after some weeks.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.batch import ReadingColumns, keys_of
from aggregator.events import Counter, Events, NumberReused
from aggregator.ingest.answers import Answers
from aggregator.ingest.assemble import Arrival, Assembler
from aggregator.ingest.decode import DecodedBatch
from aggregator.ingest.subscriber import Message
from aggregator.recorder import Recorder
from aggregator.records import OTHER_CONTENT
from aggregator.store.base import Store
from contract.interval import day_start
from contract.topics import Address

_REMEMBERED = 32_768
"""Batches, of 300 bytes each: what 4 000 edges have in flight."""


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """A batch whose number is settled, and of which nothing is remembered."""

    message: Message
    batch: DecodedBatch
    arrival: Arrival


class Repeats:
    """Owned by the pipeline's thread."""

    def __init__(
        self,
        store: Store,
        assembler: Assembler,
        answers: Answers,
        records: Recorder,
        events: Events,
        time_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._assembler = assembler
        self._answers = answers
        self._records = records
        self._events = events
        self._time_ms = time_ms
        self._contents: dict[tuple[int, int], int] = {}
        """(source, seq) -> what the batch said, the oldest first."""
        self._doubtful: list[_Doubtful] = []
        self._said: set[str] = set()
        """Topics that brought other content."""

    def note(self, source: int, batch: DecodedBatch) -> None:
        """Remember what a batch says."""
        self._contents[source, batch.seq] = _content(batch)
        if len(self._contents) > _REMEMBERED:
            del self._contents[next(iter(self._contents))]

    def receive(
        self, address: Address, message: Message, batch: DecodedBatch, *, settled: bool
    ) -> None:
        """Answer a batch whose number is settled or waits for its commit, now or in `examine`."""
        source = self._assembler.source(address, batch.outbox)
        said = self._contents.get((source, batch.seq))
        if said is None and settled:
            arrival = self._assembler.assemble(address, batch, self._time_ms())
            self._doubtful.append(_Doubtful(message, batch, arrival))
            return
        same = said is None or said == _content(batch)
        self._answer(address, source, message, same=same, settled=settled)

    def examine(self) -> None:
        """Answer the batches that nothing is remembered of. StoreRetriable: call again."""
        by_day: dict[int, list[_Doubtful]] = defaultdict(list)
        for one in self._doubtful:
            times = one.arrival.cumulative.time_ms
            by_day[day_start(int(times[0])) if len(times) else 0].append(one)
        found: list[tuple[_Doubtful, bool]] = []
        for together in by_day.values():
            parts = [one.arrival.cumulative for one in together]
            stored = self._stored(ReadingColumns.concatenate(parts))
            of_each = np.split(stored, np.cumsum([len(part) for part in parts])[:-1])
            found += [(one, bool(of.all())) for one, of in zip(together, of_each, strict=True)]
        self._doubtful.clear()
        for one, same in found:
            arrival = one.arrival
            if same:
                self.note(arrival.source, one.batch)
            self._answer(arrival.address, arrival.source, one.message, same=same, settled=True)

    def _stored(self, came: ReadingColumns) -> NDArray[np.bool_]:
        """Tell which register readings the store has."""
        if len(came) == 0:
            return np.zeros(0, np.bool_)
        span = int(came.time_ms.min()), int(came.time_ms.max())
        there = self._store.versions(np.unique(came.series), *span)
        same = ("series", "time_ms", "value")
        return np.isin(keys_of(came, *same), keys_of(there, *same))

    def _answer(
        self, address: Address, source: int, message: Message, *, same: bool, settled: bool
    ) -> None:
        """Count it, keep what is other content, and let the edge go on if its number is settled."""
        self._events.count(Counter.DUPLICATES if same else Counter.OTHER_CONTENT)
        if not same and not self._keep(message):
            return
        if settled:
            self._answers.owe(address, source)

    def _keep(self, message: Message) -> bool:
        topic = message.topic
        if topic not in self._said:
            self._said.add(topic)
            self._events.emit(NumberReused(topic))
        return self._records.keep(message.payload, topic, OTHER_CONTENT, self._time_ms())


def _content(batch: DecodedBatch) -> int:
    """Return a hash of what a batch says was read; only good within this process.

    Not of the payload: what its edge has given up differs each time it is sent.
    """
    cells = batch.cumulative, batch.instantaneous
    columns = ((of.block, of.channel, of.time_ms, of.value, of.quality) for of in cells)
    return hash((batch.meters, *(column.tobytes() for of in columns for column in of)))
