"""The durable outbox against a list, under any order of appends, acks, crashes and reopenings."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contract.channels import catalogue
from contract.reading import Reading
from edge_agent.outbox.body import readings_in
from edge_agent.outbox.sqlite import SqliteOutbox
from tests.suites.outbox_suite import META, NOW

MAX_BYTES = 16 * 1024  # some dozen batches: evictions are the rule


def registers(readings: list[Reading]) -> set[Reading]:
    """Those of cumulative channels."""
    return {reading for reading in readings if catalogue()[reading.channel].cumulative}


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.committed: dict[int, list[Reading]] = {}
        self.pending: list[Reading] = []
        self.told: set[int] = set()  # numbers an ack has named, however long ago
        self.gone: set[int] = set()  # thinned or evicted
        self.last = 0
        self.time = NOW
        self.given_up: set[int] = set()
        self.count = 0
        self.evictions = 0

    @initialize()
    def first(self) -> None:
        self.open()
        self.id = self.outbox.id

    def open(self) -> None:
        path = self.folder / str(self.generation) / "outbox.sqlite"
        self.outbox = SqliteOutbox(path, MAX_BYTES, 190, self.on_evicted)
        self.outbox.use_meta(META)

    def on_evicted(self, first: int, last: int, readings: int) -> None:
        assert first <= last
        self.evictions += readings

    @rule(n=st.integers(1, 150), step_ms=st.sampled_from([1, 60_000]))
    def append(self, n: int, step_ms: int) -> None:
        """Registers and, every other time, samples."""
        channel = ("energy_import", "power")[self.count // 3 % 2]
        readings = [
            Reading("m1", channel, self.time + i * step_ms, (self.count + i) * 7919)
            for i in range(n)
        ]
        self.count += n
        self.time += n * step_ms
        self.outbox.append(readings)
        self.pending += readings

    @rule()
    def commit(self) -> None:
        before = set(self.outbox.unsettled(newest_first=False))
        evictions, thinned = self.evictions, self.outbox.stats().thinned_readings
        written = self.outbox.commit(NOW)
        after = set(self.outbox.unsettled(newest_first=False))
        gone = before - after
        if self.pending:
            assert written.stop - 1 in after, "what is new is neither thinned nor let go"
            self.committed[written.stop - 1] = list(self.pending)
        made = {seq: self.stored(seq) for seq in after - before if seq not in self.committed}
        old = [reading for seq in gone for reading in self.committed[seq]]
        new = [reading for readings in made.values() for reading in readings]
        lost = self.evictions - evictions
        assert set(new) <= set(old)
        assert len(new) == len(set(new))
        if not lost:
            assert registers(new) == registers(old), "registers are never thinned"
        assert len(old) - len(new) == lost + self.outbox.stats().thinned_readings - thinned
        self.gone |= gone
        self.committed |= made
        self.last = max(self.last, written.stop - 1)
        self.pending = []

    def stored(self, seq: int) -> list[Reading]:
        stored = self.outbox.batch(seq)
        assert stored is not None
        return list(readings_in(stored.blocks_json))

    @rule(upto=st.integers(0, 40), low=st.integers(1, 60), length=st.integers(0, 9))
    def acknowledge(self, upto: int, low: int, length: int) -> None:
        last = self.outbox.next_seq - 1
        upto = min(upto, last)
        low = max(low, upto + 2)
        high = min(low + length, last)
        assert self.outbox.acknowledge(upto, [(low, high)] if low <= high else [])
        self.told |= {*range(1, upto + 1), *range(low, high + 1)}

    @rule(pick=st.integers(0, 5))
    def give_up(self, pick: int) -> None:
        for at, seq in enumerate(list(self.outbox.unsettled(newest_first=False))):
            if at == pick:
                assert self.outbox.give_up(seq) == len(self.committed[seq])
                self.given_up.add(seq)

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.pending = []
        self.open()

    @rule()
    def crash(self) -> None:
        """A copy of the files as they are, without closing, is what a crash leaves."""
        before = self.folder / str(self.generation)
        self.generation += 1
        shutil.copytree(before, self.folder / str(self.generation))
        settled = {seq for seq in self.committed if self.outbox.is_settled(seq)}
        self.outbox.close()
        self.pending = []
        self.open()
        forgotten = {seq for seq in settled if not self.outbox.is_settled(seq)}
        assert forgotten <= self.told | self.given_up
        self.told -= forgotten
        self.given_up -= forgotten
        assert not forgotten & self.gone

    @invariant()
    def agrees_with_the_list(self) -> None:
        outbox = self.outbox
        assert outbox.id == self.id
        assert outbox.next_seq == self.last + 1
        assert outbox.pending == len(self.pending)
        settled = self.told | self.given_up | self.gone
        open_seqs = [seq for seq in sorted(self.committed) if seq not in settled]
        assert list(outbox.unsettled(newest_first=False)) == open_seqs
        assert list(outbox.unsettled(newest_first=True)) == open_seqs[::-1]
        stats = outbox.stats()
        assert stats.depth_batches == len(open_seqs)
        assert stats.depth_readings == sum(len(self.committed[seq]) for seq in open_seqs)
        assert stats.held_bytes <= MAX_BYTES
        held = [seq for seq in self.committed if outbox.batch(seq) is not None]
        assert outbox.floor == min(held, default=outbox.next_seq)
        assert set(open_seqs) <= set(held)

    @invariant()
    def reads_back_what_was_written(self) -> None:
        for seq in list(self.committed)[-1:]:
            if self.outbox.batch(seq) is not None:
                assert set(self.stored(seq)) == set(self.committed[seq])

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.folder)


OutboxMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestOutboxModel = OutboxMachine.TestCase
