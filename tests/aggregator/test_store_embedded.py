"""The embedded store: the suite, the lock, and what a kill leaves behind."""

import subprocess
import sys

import duckdb
import numpy as np
import pytest

from aggregator.directory import Source
from aggregator.store.base import DirtyDay, StoreOwned, StoreRefused, StoreRetriable
from aggregator.store.embedded import EmbeddedStore
from contract.stored import Level
from tests.suites.store_suite import (
    GRID_MS,
    SITE,
    T0,
    R,
    StoreKit,
    StoreSuite,
    commit_of,
    figures,
    read,
)


class TestEmbeddedStore(StoreSuite):
    @pytest.fixture
    def kit(self, tmp_path):
        kit = StoreKit(lambda grid_ms: EmbeddedStore(tmp_path / "store.duckdb", grid_ms))
        yield kit
        kit.close()


def test_a_second_owner_is_refused_and_told_whom_to_ask(tmp_path):
    first = EmbeddedStore(tmp_path / "store.duckdb", GRID_MS)
    first.open()
    first.announce("http://127.0.0.1:8080")
    second = EmbeddedStore(tmp_path / "store.duckdb", GRID_MS)
    with pytest.raises(StoreOwned, match="ask that one") as refusal:
        second.open()
    assert refusal.value.owner.endswith("http://127.0.0.1:8080")
    first.close()
    second.open()
    second.close()


def test_a_file_that_is_no_store_is_refused_with_its_name(tmp_path):
    path = tmp_path / "store.duckdb"
    path.write_bytes(b"not a database" * 1000)
    store = EmbeddedStore(path, GRID_MS)
    with pytest.raises(StoreRefused, match=r"store\.duckdb"):
        store.open()
    assert not store.health().ok


_VICTIM = """
import sys
from pathlib import Path
from aggregator.store.embedded import EmbeddedStore
from tests.suites.store_suite import R, SITE, T0, DirtyDay, Source, commit_of, figures

store = EmbeddedStore(Path(sys.argv[1]), 900_000)
store.open()
source = Source(*SITE, "gw1", "00000000000000aa")
seq = max((hi for ((_, hi),) in store.receipts().values()), default=0)
while True:
    seq += 1
    rows = [R(seq * 1000, i, meter=f"m{i}", seq=seq) for i in range(300)]
    store.commit(commit_of(
        store, rows, [R(seq * 1000, 0.5, channel="power", seq=seq)],
        figures(store, [seq * 900_000], amount=seq), {source: ((1, seq),)},
        frozenset({DirtyDay(*SITE, seq)}),
    ))
    print(seq, flush=True)
"""


def test_a_killed_writer_leaves_whole_commits_only(tmp_path):
    path = tmp_path / "store.duckdb"
    for kill in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _VICTIM, str(path)], stdout=subprocess.PIPE, text=True
        ) as victim:
            assert victim.stdout is not None
            for _ in range(5 + 3 * kill):
                victim.stdout.readline()
            victim.kill()  # without waiting: in the middle of whatever it does
            lines = victim.stdout.read().split("\n")
        store = EmbeddedStore(path, GRID_MS)
        store.open()
        ((_, settled),) = next(iter(store.receipts().values()))
        acknowledged = [int(line) for line in lines[:-1] if line]
        assert settled >= max(acknowledged, default=5)
        series = np.arange(len(store.directory.series), dtype=np.int32)
        found = store.readings(series, T0, T0 + 10_000_000)
        assert len(found) == 300 * settled
        assert np.unique(found.seq).tolist() == list(range(1, settled + 1))
        assert len(store.instant(series, T0, T0 + 10_000_000).value) == settled
        amounts = store.intervals(Level.INTERVAL, series, T0, T0 + (settled + 9) * GRID_MS).amount
        assert amounts.tolist() == list(range(1, settled + 1))
        assert {day.day_ms for day in store.dirty_days()} == set(range(1, settled + 1))
        store.close()


class _DiskFullOnce(EmbeddedStore):
    """Fails once, at the last statement of a commit."""

    failing = True

    def _insert(self, statement, rows):
        super()._insert(statement, rows)
        if self.failing and "INTO dirty" in statement:
            self.failing = False
            raise duckdb.IOException("no space left on device")


def test_a_commit_that_fails_half_way_leaves_nothing_and_may_be_repeated(tmp_path):
    store = _DiskFullOnce(tmp_path / "store.duckdb", GRID_MS)
    store.open()
    source, day = Source(*SITE, "gw1", "00000000000000aa"), DirtyDay(*SITE, T0)
    commit = commit_of(
        store,
        [R(0, 1)],
        intervals=figures(store, [0]),
        receipts={source: ((1, 1),)},
        dirty=frozenset({day}),
    )
    with pytest.raises(StoreRetriable, match="no space left"):
        store.commit(commit)
    assert read(store, store) == []
    assert (store.receipts(), store.dirty_days()) == ({}, frozenset())
    store.commit(commit)
    store.close()
    again = EmbeddedStore(tmp_path / "store.duckdb", GRID_MS)
    again.open()
    assert read(again, again) == [(0, 1)]
    assert again.receipts() == {source: ((1, 1),)}
    assert again.dirty_days() == {day}
    again.close()


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from aggregator.store.base import StoreRetriable
from aggregator.store.embedded import EmbeddedStore
from tests.suites.store_suite import R, SITE, Source, commit_of

path, readings = Path(sys.argv[1]), int(sys.argv[2])
store = EmbeddedStore(path, 900_000)
store.open()
source = Source(*SITE, "gw1", "00000000000000aa")

def commit(seq):
    rows = [R(seq * 1000 + i, i, meter=f"m{i % 50}", seq=seq) for i in range(readings)]
    store.commit(commit_of(store, rows, receipts={source: ((1, seq),)}))

commit(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
most = max(file.stat().st_size for file in path.parent.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (most + 100, hard))
for _ in range(3):
    try:
        commit(2)
    except StoreRetriable as error:
        print(error)
    else:
        sys.exit("the disk was not full")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
commit(2)
store.close()
"""


@pytest.mark.parametrize("readings", [500, 130_000])
def test_a_full_disk_is_retriable_and_the_repeat_succeeds_when_there_is_room(tmp_path, readings):
    """Small commits go to the write-ahead log, large ones straight into the file."""
    path = tmp_path / "store.duckdb"
    ended = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path), str(readings)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    store = EmbeddedStore(path, GRID_MS)
    store.open()
    assert list(store.receipts().values()) == [((1, 2),)]
    store.close()


def test_a_store_that_is_not_open_gives_no_reader(tmp_path):
    store = EmbeddedStore(tmp_path / "ledger.duckdb", GRID_MS)
    with pytest.raises(StoreRefused, match="not open"):
        store.reader()
    store.open()
    store.reader().close()
    store.close()
    with pytest.raises(StoreRefused, match="not open"):
        store.reader()
