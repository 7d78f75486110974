import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from edge_agent.__main__ import main
from edge_agent.errors import OutboxError, OutboxLockedError
from edge_agent.outbox.file import PAGE_BYTES
from edge_agent.outbox.inspection import inspect
from edge_agent.outbox.sqlite import ACK_COMMITS, SqliteOutbox
from tests.suites.outbox_suite import META, NOW, OutboxSuite, registers, some


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "outbox.sqlite"


class TestSqliteOutbox(OutboxSuite):
    @pytest.fixture
    def make(self, path, evictions):
        made = []

        def make(max_bytes=self.max_bytes, max_days=190.0):
            outbox = SqliteOutbox(path, max_bytes, max_days, lambda *e: evictions.append(e))
            made.append(outbox)
            return outbox

        yield make
        for outbox in made:
            outbox.close()


def opened(path, **limits):
    outbox = SqliteOutbox(path, limits.get("max_bytes", 1 << 24), 190)
    outbox.use_meta(META)
    return outbox


def test_everything_is_there_after_reopening(path):
    outbox = opened(path)
    for i in range(5):
        outbox.append(some(3, 3 * i))
        outbox.commit(NOW)
    outbox.acknowledge(1, [(3, 3)])
    outbox.give_up(4)
    before = (outbox.id, outbox.stats(), outbox.void(), outbox.floor, outbox.batch(5))
    outbox.close()
    again = opened(path)
    after = (again.id, again.stats(), again.void(), again.floor, again.batch(5))
    assert (after[0], after[2:]) == (before[0], before[2:])
    assert after[1].depth_readings == before[1].depth_readings == 6
    assert after[1].dropped_readings == 3
    again.append(some(1))
    assert list(again.commit(NOW)) == [6]
    again.close()


def test_numbers_are_never_used_twice_though_all_batches_are_gone(path):
    outbox = SqliteOutbox(path, 1 << 20, 1)
    outbox.use_meta(META)
    outbox.append(some(1))
    outbox.commit(NOW)
    outbox.acknowledge(1)
    outbox.commit(NOW + 10**9)
    assert outbox.floor == outbox.next_seq == 2
    outbox.close()
    outbox = opened(path)
    assert outbox.next_seq == 2
    outbox.close()


def test_a_second_process_is_refused_and_told_who_holds_it(path):
    outbox = opened(path)
    with pytest.raises(OutboxLockedError, match=rf"in use by process {os.getpid()}"):
        SqliteOutbox(path, 1 << 20, 190)
    outbox.close()
    opened(path).close()


def test_a_power_cut_before_the_tables_were_made_leaves_a_file_that_opens(path):
    path.parent.mkdir()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    assert path.stat().st_size == PAGE_BYTES
    outbox = opened(path)
    outbox.append(some(1))
    assert list(outbox.commit(NOW)) == [1]
    outbox.close()


def test_a_commit_the_disk_refuses_changes_nothing(path):
    outbox = opened(path)
    outbox.append(some(3))
    outbox.commit(NOW)
    outbox.acknowledge(1)
    outbox.append(some(3000, 3))
    outbox._db.execute(f"PRAGMA max_page_count = {outbox._used_bytes() // PAGE_BYTES + 1}")
    with pytest.raises(OutboxError, match="full"):
        outbox.commit(NOW)
    assert (outbox.pending, outbox.next_seq) == (3000, 2)
    assert outbox.is_settled(1)
    outbox._db.execute("PRAGMA max_page_count = 1000000")
    assert outbox.commit(NOW).start == 2
    assert outbox.stats().depth_readings == 3000
    outbox.close()


def test_on_a_full_disk_acked_batches_make_room_and_unacked_stay(path):
    outbox = opened(path)
    for i in range(20):
        outbox.append(registers(1000, 1000 * i))
        outbox.commit(NOW)
    outbox.acknowledge(0, [(3, 12)])
    outbox._db.execute("PRAGMA max_page_count = 1")  # no page more than there are
    for i in range(20, 26):
        outbox.append(registers(1000, 1000 * i))
        assert list(outbox.commit(NOW)) == [i + 1]
    unacked = [1, 2, *range(13, 27)]
    assert list(outbox.unsettled(newest_first=False)) == unacked
    assert all(outbox.batch(seq) for seq in unacked)
    held = [seq for seq in range(3, 13) if outbox.batch(seq)]
    assert held == list(range(held[0], 13)), "oldest first"
    assert 8 < held[0] <= 12, "no more than was needed"

    def fill() -> None:
        while True:
            outbox.append(registers(1000))
            outbox.commit(NOW)

    with pytest.raises(OutboxError, match="full"):
        fill()
    pending = outbox.pending
    lost = [seq for seq in outbox.unsettled(newest_first=False) if outbox.batch(seq) is None]
    assert (lost, outbox.stats().dropped_readings) == ([], 0)
    outbox.acknowledge(2)
    assert len(outbox.commit(NOW)) == 1
    assert (pending, outbox.pending) == (1000, 0)
    outbox.close()


# A process whose files cannot grow beyond a limit: the file, as on a disk that is full.
LIMITED = """
import resource, sys
from pathlib import Path
from edge_agent.outbox.sqlite import SqliteOutbox
from tests.suites.outbox_suite import META, NOW, registers
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
outbox = SqliteOutbox(Path(sys.argv[1]), 1 << 30, 190)
outbox.use_meta(META)
while outbox.floor < 20:
    outbox.append(registers(4000, 4000 * outbox.next_seq))
    outbox.commit(NOW)
    outbox.acknowledge(max(outbox.next_seq - 10, 1))
    assert outbox.stats().held_bytes < limit
print(outbox.next_seq)
outbox.close()
"""


def test_a_file_that_cannot_grow_goes_on_in_the_room_of_acked_batches(path):
    limit = 3 << 20  # more than the WAL takes
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(limit)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size <= limit
    outbox = opened(path)
    assert outbox.next_seq == int(done.stdout)
    unacked = list(outbox.unsettled(newest_first=False))
    assert len(unacked) >= 9
    for seq in unacked:
        stored = outbox.batch(seq)
        assert stored is not None
        assert stored.readings > 1000
    assert outbox.stats().dropped_readings == 0
    outbox.close()


def test_late_acks_may_be_lost_in_a_crash_and_only_cause_resending(path, tmp_path):
    outbox = opened(path)
    outbox.append(some(1))
    outbox.commit(NOW)
    outbox.acknowledge(1)
    copy = tmp_path / "copy"
    shutil.copytree(path.parent, copy)
    crashed = opened(copy / path.name)
    assert list(crashed.unsettled(newest_first=False)) == [1]
    crashed.close()
    outbox.close()


def test_what_was_evicted_after_a_late_ack_does_not_come_back_in_a_crash(path, tmp_path):
    outbox = opened(path, max_bytes=1 << 15)
    evicting = 0
    while outbox.floor == 1:
        outbox.append(registers(1400, 1400 * evicting))
        outbox.commit(NOW)
        outbox.acknowledge(outbox.next_seq - 1)  # in memory only, but for every tenth commit
        evicting += 1
    assert evicting < ACK_COMMITS
    crashed_folder = tmp_path / "copy"
    shutil.copytree(path.parent, crashed_folder)
    outbox.close()
    crashed = opened(crashed_folder / path.name)
    unsettled = list(crashed.unsettled(newest_first=False))
    assert [seq for seq in unsettled if crashed.batch(seq) is None] == []
    assert crashed.stats().upto >= crashed.floor - 1
    crashed.close()


def test_restored_from_an_older_image_its_numbers_are_not_taken_for_settled_ones(path, tmp_path):
    outbox = opened(path)
    for i in range(3):
        outbox.append(some(2, 2 * i))
        outbox.commit(NOW)
    outbox.acknowledge(1)
    outbox.close()
    image = tmp_path / "image"
    shutil.copytree(path.parent, image)
    restored = opened(image / path.name)
    first_id = restored.id
    restored.append(some(2, 100))
    assert list(restored.commit(NOW)) == [4]  # the aggregator has another batch 4, and up to 10
    assert not restored.acknowledge(10)
    assert restored.id != first_id
    restored.append(some(2, 102))
    restored.commit(NOW)
    after = (restored.id, list(restored.unsettled(newest_first=False)), restored.void())
    assert after[1:] == ([2, 3, 4, 5], ((1, 1),))
    crashed = tmp_path / "crashed"
    shutil.copytree(image, crashed)
    restored.close()
    again = opened(crashed / path.name)
    assert (again.id, list(again.unsettled(newest_first=False)), again.void()) == after
    again.close()


def test_show_outbox_reads_while_the_agent_has_it_open(path, capsys):
    outbox = opened(path)
    for i in range(4):
        outbox.append(some(2, i))
        outbox.commit(NOW)
    outbox.acknowledge(2)
    for _ in range(ACK_COMMITS):
        outbox.commit(NOW)
    outbox.append(some(2, 9))
    outbox.commit(NOW)
    assert main(["show-outbox", "--file", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["id"] == outbox.id
    assert (shown["floor"], shown["next_seq"], shown["acked"]) == (1, 6, [[1, 2]])
    assert (shown["unacked_batches"], shown["unacked_readings"]) == (3, 6)
    assert shown["unacked_oldest_ms"] == NOW + 2000
    assert main(["show-outbox", "--file", str(path)]) == 0
    assert outbox.id in capsys.readouterr().out
    outbox.close()
    assert inspect(path).unacked_readings == 6
    assert main(["show-outbox", "--file", str(path.parent / "none")]) == 1
