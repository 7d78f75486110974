"""What every outbox must do. Subclass and give `make`; `reopen` where it survives a restart."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from contract.data import Batch, decode_data, encode_envelope, readings_of
from contract.meta import meta_hash
from contract.reading import Quality, Reading
from contract.wire import MAX_DATA_BYTES
from edge_agent.errors import OutboxError
from edge_agent.outbox.base import DAY_MS, Outbox

META = b'{"meters":[],"v":1}'
NOW = 1_790_000_000_000
Evictions = list[tuple[int, int, int]]
Make = Callable[..., Outbox]


def some(n: int, start: int = 0, meter: str = "em-01") -> list[Reading]:
    return [Reading(meter, "power", NOW + (start + i) * 1000, (start + i) / 7) for i in range(n)]


def registers(n: int, start: int = 0) -> list[Reading]:
    """Of a cumulative channel: nothing thins them."""
    return [
        Reading(
            "em-01",
            "energy_import",
            NOW + (start + i) * 1000,
            (start + i + 1) * 848_123_456_789 % 10**12,
        )
        for i in range(n)
    ]


def sent(outbox: Outbox, seq: int) -> Batch:
    stored = outbox.batch(seq)
    assert stored is not None
    void = outbox.void()
    payload = encode_envelope(outbox.id, seq, stored.meta, outbox.floor, void, stored.blocks_json)
    assert len(payload) <= MAX_DATA_BYTES
    return decode_data(payload)


class OutboxSuite:
    max_bytes = 1 << 20

    @pytest.fixture
    def evictions(self) -> Evictions:
        return []

    @pytest.fixture
    def make(self) -> Iterator[Make]:
        raise NotImplementedError

    @pytest.fixture
    def outbox(self, make: Make) -> Outbox:
        outbox = make()
        outbox.use_meta(META)
        return outbox

    def test_commit_numbers_from_one_without_gaps(self, outbox):
        for i in range(3):
            outbox.append(some(5, 5 * i))
            assert list(outbox.commit(NOW)) == [i + 1]
        assert outbox.next_seq == 4
        assert outbox.floor == 1
        read = [r for seq in (1, 2, 3) for r in readings_of(sent(outbox, seq))]
        assert read == some(15)

    def test_newest_reading_though_a_late_one_came_last(self, outbox):
        assert outbox.newest_ms() is None
        outbox.append(some(3, 10))
        assert outbox.newest_ms() is None  # not committed
        outbox.commit(NOW)
        outbox.append(some(1))
        outbox.commit(NOW)
        assert outbox.newest_ms() == NOW + 12_000
        assert outbox.acknowledge(2)
        assert outbox.newest_ms() == NOW + 12_000

    def test_an_empty_commit_writes_nothing(self, outbox):
        assert list(outbox.commit(NOW)) == []
        assert outbox.next_seq == 1

    def test_commit_needs_a_meta(self, make):
        outbox = make()
        outbox.append(some(1))
        with pytest.raises(OutboxError, match="use_meta"):
            outbox.commit(NOW)
        assert outbox.pending == 1

    def test_a_large_commit_is_cut_into_batches_that_fit_the_wire(self, outbox):
        readings = [r for m in range(40) for r in some(300, meter=f"em-{m}")]
        outbox.append(readings)
        seqs = outbox.commit(NOW)
        assert len(seqs) > 1
        read = [r for seq in seqs for r in readings_of(sent(outbox, seq))]
        assert sorted(read, key=repr) == sorted(readings, key=repr)

    def test_each_batch_names_the_meta_it_was_read_under(self, outbox):
        outbox.append(some(1))
        outbox.commit(NOW)
        other = b'{"meters":[],"v":1,"x":1}'
        assert outbox.use_meta(other) == outbox.meta_in_use == meta_hash(other)
        outbox.append(some(1))
        outbox.commit(NOW)
        assert [outbox.meta(sent(outbox, seq).meta) for seq in (1, 2)] == [META, other]
        assert outbox.meta("0" * 64) is None

    def test_acks_are_unioned_and_never_taken_back(self, outbox):
        for i in range(9):
            outbox.append(some(1, i))
            outbox.commit(NOW)
        assert outbox.acknowledge(2, [(5, 6)])
        assert outbox.acknowledge(1)
        assert outbox.acknowledge(0, [(8, 8)])
        assert list(outbox.unsettled(newest_first=False)) == [3, 4, 7, 9]
        assert list(outbox.unsettled(newest_first=True)) == [9, 7, 4, 3]
        stats = outbox.stats()
        assert (stats.depth_batches, stats.depth_readings, stats.upto) == (4, 4, 2)
        assert stats.oldest_ms == NOW + 2000
        assert outbox.batch(1) is not None, "acked is not deleted"

    @pytest.mark.parametrize("ack", [(1000, []), (1, [(3, 2**53 - 1)])])
    def test_an_ack_of_what_was_never_written_settles_nothing_and_brings_a_new_id(
        self, outbox, ack
    ):
        for i in range(2):
            outbox.append(some(1, i))
            outbox.commit(NOW)
        outbox.acknowledge(1)
        before = outbox.id
        assert not outbox.acknowledge(*ack)
        outbox.append(some(1))
        assert list(outbox.commit(NOW)) == [3]
        assert outbox.id != before
        assert list(outbox.unsettled(newest_first=False)) == [2, 3]
        assert outbox.void() == ((1, 1),), "nobody will send it under the new id"
        assert outbox.stats().depth_batches == 2
        assert outbox.stats().dropped_readings == 0
        assert outbox.acknowledge(3)
        assert outbox.void() == ()

    def test_a_batch_given_up_is_void_and_kept(self, outbox):
        for i in range(3):
            outbox.append(some(4, i))
            outbox.commit(NOW)
        assert outbox.give_up(2) == 4
        assert outbox.give_up(2) == 0
        assert outbox.void() == ((2, 2),)
        assert list(outbox.unsettled(newest_first=False)) == [1, 3]
        assert outbox.batch(2) is not None
        assert outbox.stats().dropped_readings == 4
        outbox.acknowledge(2)
        assert outbox.void() == (), "the aggregator has passed it"

    def fill(self, outbox: Outbox, batches: int, first: int = 0) -> None:
        for i in range(first, first + batches):
            outbox.append(registers(1500, 1500 * i))
            outbox.commit(NOW)

    def test_when_full_acked_batches_go_first_and_oldest_first(self, make, evictions):
        outbox = make(max_bytes=self.max_bytes // 4)
        outbox.use_meta(META)
        self.fill(outbox, 3)
        outbox.acknowledge(0, [(2, 3)])
        while outbox.batch(2) is not None:
            self.fill(outbox, 1, outbox.next_seq)
            assert outbox.batch(1) is not None
            assert outbox.batch(outbox.next_seq - 1) is not None
        assert outbox.batch(3) is not None or outbox.next_seq > 4
        assert outbox.floor == 1
        assert evictions == []
        assert outbox.stats().held_bytes <= self.max_bytes // 4

    def test_when_full_of_unacked_the_oldest_go_counted_and_void(self, make, evictions):
        outbox = make(max_bytes=self.max_bytes // 4)
        outbox.use_meta(META)
        while not evictions:
            self.fill(outbox, 1, outbox.next_seq)
        assert outbox.floor > 1
        lost = sum(readings for _, _, readings in evictions)
        assert outbox.stats().dropped_readings == lost > 0
        assert outbox.void() == ((1, outbox.floor - 1),)
        assert next(outbox.unsettled(newest_first=False)) == outbox.floor
        held = range(outbox.floor, outbox.next_seq)
        stats = outbox.stats()
        assert stats.depth_batches == len(held)
        assert stats.depth_readings == sum(
            batch.readings for seq in held if (batch := outbox.batch(seq))
        )

    def test_acked_batches_past_the_age_limit_go_and_unacked_stay(self, make):
        outbox = make(max_days=1)
        outbox.use_meta(META)
        for i in range(4):
            outbox.append(some(1, i))
            outbox.commit(NOW)
        outbox.acknowledge(0, [(1, 1), (3, 3)])
        outbox.commit(NOW + 2 * DAY_MS)
        assert [outbox.batch(seq) is None for seq in (1, 2, 3, 4)] == [True, False, True, False]
        assert outbox.floor == 2

    def test_acked_batches_of_a_range_can_be_sent_again(self, outbox):
        for i in range(4):
            outbox.append(some(10, 10 * i))
            outbox.commit(NOW)
        outbox.acknowledge(3)
        outbox.give_up(4)
        assert outbox.reopen(NOW + 15_000, NOW + 29_000) == (2, 20)
        assert list(outbox.unsettled(newest_first=False)) == [2, 3]
        assert outbox.stats().depth_readings == 20
        assert outbox.reopen(0, 2 * NOW) == (1, 10), "what is open or given up is left alone"
        outbox.acknowledge(3)
        assert list(outbox.unsettled(newest_first=False)) == []
        assert outbox.stats().depth_bytes == 0

    def test_held_readings_get_numbers_when_their_time_is_known(self, outbox):
        early = [replace(reading, time_ms=reading.time_ms - NOW) for reading in some(3)]
        outbox.hold(early[:2], "boot-a", 5_000)
        assert list(outbox.commit(0)) == []
        outbox.hold(early[2:], "boot-a", 5_000)
        assert outbox.stats().timeless_readings == 3
        assert outbox.held_boots() == ("boot-a",)
        assert outbox.release("boot-b", NOW) == 0
        while outbox.release("boot-a", NOW):
            pass
        outbox.commit(NOW)
        read = [r for seq in range(1, outbox.next_seq) for r in readings_of(sent(outbox, seq))]
        assert sorted(read, key=lambda r: r.time_ms) == some(3)
        assert outbox.stats().timeless_readings == 0
        assert outbox.stats().depth_readings == 3

    def test_readings_of_a_boot_that_never_knew_the_time_are_marked(self, outbox):
        early = [replace(reading, time_ms=reading.time_ms - NOW) for reading in some(3)]
        outbox.hold(early, "boot-a", 5_000)
        outbox.commit(0)
        assert outbox.release("boot-a", None) == 3
        marked = list(readings_of(sent(outbox, 1)))
        assert [(r.time_ms, r.quality) for r in marked] == [
            (5_000 + i * 1000, Quality.CLOCK) for i in range(3)
        ]

    def test_pending_can_be_bounded(self, outbox):
        outbox.append(some(10))
        assert outbox.drop_pending(4) == 6
        outbox.commit(NOW)
        assert list(readings_of(sent(outbox, 1))) == some(10)[6:]
        assert outbox.stats().dropped_readings == 6
