"""A power cut as the proof makes it: nothing that a commit returned for is gone from an outbox."""

import os
import random
import signal

import duckdb
import pytest

from edge_agent.outbox.body import readings_in
from edge_agent.outbox.sqlite import SqliteOutbox
from simulators.chaos.power import confirmed_bytes, cut_power
from tests.suites.outbox_suite import META, NOW, registers


def outbox_of(folder) -> SqliteOutbox:
    outbox = SqliteOutbox(
        folder / "outbox.sqlite", 1 << 24, 190, on_salvaged=lambda saved: pytest.fail(str(saved))
    )
    outbox.use_meta(META)
    return outbox


@pytest.mark.parametrize("commits", [1, 7, 60])
def test_what_was_committed_survives_every_torn_end(tmp_path, commits):
    live = tmp_path / "live"
    live.mkdir()
    outbox = outbox_of(live)
    for i in range(commits):
        outbox.append(registers(60, 60 * i))
        outbox.commit(NOW)
    (live / "clock.json").write_text("{}")
    files = {path.name: path.read_bytes() for path in live.iterdir()}
    outbox.close()
    log = files["outbox.sqlite-wal"]
    assert confirmed_bytes(log) > 1000
    ends = set()
    for seed in range(25):
        cut = tmp_path / f"cut-{seed}"
        cut.mkdir()
        for name, content in files.items():
            (cut / name).write_bytes(content)
        cut_power(cut, random.Random(seed))
        confirmed = confirmed_bytes(log)
        ends.add((cut / "outbox.sqlite-wal").stat().st_size - confirmed)
        assert (cut / "clock.json").read_bytes() == b""
        again = outbox_of(cut)
        assert again.next_seq == commits + 1
        for seq in range(1, commits + 1):
            stored = again.batch(seq)
            assert stored is not None
            assert list(readings_in(stored.blocks_json)) == registers(60, 60 * (seq - 1))
        again.close()
    assert len(ends) > 15, "the torn ends differ"
    assert min(ends) >= 0


def test_the_end_of_an_unfinished_transaction_is_not_confirmed():
    frame = bytes([0, 0, 0, 1]) + bytes(4) + b"saltsalt" + bytes(8) + bytes(512)
    last = bytes([0, 0, 0, 1, 0, 0, 0, 9]) + b"saltsalt" + bytes(8) + bytes(512)
    old = bytes([0, 0, 0, 1, 0, 0, 0, 9]) + b"oldsalts" + bytes(8) + bytes(512)
    head = bytes(8) + (512).to_bytes(4, "big") + bytes(4) + b"saltsalt" + bytes(8)
    assert confirmed_bytes(head + frame + last + frame + old) == len(head + frame + last)
    assert confirmed_bytes(head + frame) == len(head)
    assert confirmed_bytes(head[:20]) == 0


def test_a_duckdb_opens_with_all_that_was_committed(tmp_path):
    live = tmp_path / "live"
    live.mkdir()
    pid = os.fork()
    if pid == 0:
        db = duckdb.connect(str(live / "ledger.duckdb"))
        db.execute("CREATE TABLE t(i INTEGER)")
        for i in range(20):
            db.execute("INSERT INTO t SELECT ? FROM range(100)", [i])
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    files = {path.name: path.read_bytes() for path in live.iterdir()}
    for seed in range(20):
        cut = tmp_path / f"cut-{seed}"
        cut.mkdir()
        for name, content in files.items():
            (cut / name).write_bytes(content)
        cut_power(cut, random.Random(seed))
        log = (cut / "ledger.duckdb.wal").read_bytes()
        assert log.startswith(files["ledger.duckdb.wal"])
        assert len(log) > len(files["ledger.duckdb.wal"])
        with duckdb.connect(str(cut / "ledger.duckdb")) as db:
            assert db.execute("SELECT count(*), sum(i) FROM t").fetchone() == (2000, 19000)
