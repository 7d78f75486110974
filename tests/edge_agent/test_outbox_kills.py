"""SIGKILL at random and at each named step of a commit: what a commit returned for is there."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.reading import Reading
from edge_agent.outbox.body import readings_in
from edge_agent.outbox.sqlite import SqliteOutbox
from tests.suites.outbox_suite import META, NOW, registers, some

MAX_BYTES = 3 << 14
ACKED_EACH = 9
STEPS = (
    "BEGIN",
    "SELECT id FROM meta",
    "PRAGMA page_count",
    "INSERT INTO batch",
    "DELETE FROM batch",
    "SELECT batch.seq, meta, readings, size, body FROM thinned",
    "INSERT INTO thinned",
    "DELETE FROM span",
    "INSERT INTO span",
    "UPDATE info",
    "COMMIT",
    "SELECT min(seq) FROM batch",
    "PRAGMA wal_checkpoint",
)
"""Statements of a commit: the process dies before the named one is carried out."""


def content(seq: int) -> list[Reading]:
    return [*registers(1 + seq % 7 * 20, seq), *some(1 + seq % 5 * 40, seq)]


def opened(path: Path) -> SqliteOutbox:
    outbox = SqliteOutbox(path, MAX_BYTES, 190)
    outbox.use_meta(META)
    return outbox


def run_child(
    path: Path, report: int, prepare: Callable[[SqliteOutbox], None], *, acking: bool
) -> None:
    """Commit for ever, saying each number once its commit has returned."""
    outbox = opened(path)
    prepare(outbox)
    while True:
        seq = outbox.next_seq
        outbox.append(content(seq))
        written = outbox.commit(NOW)
        os.write(report, f"{written.stop - 1} {seq}\n".encode())
        # The others stay: there is something to thin and to evict.
        if acking and seq % ACKED_EACH == 0:
            outbox.acknowledge(0, [(written.stop - 1, written.stop - 1)])
        if seq % 5 == 0:
            outbox._db.execute("PRAGMA wal_checkpoint(PASSIVE)")


def killed(
    path: Path, kill: Callable[[int], None], prepare: Callable[..., None], *, acking: bool = True
) -> dict[int, int]:
    """Run a child until it is dead; returns number -> content of what it reported."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            run_child(path, writer, prepare, acking=acking)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        first = lines.readline()
        kill(pid)
        rest = lines.readlines()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    assert os.WTERMSIG(status) == signal.SIGKILL
    said = [line.split() for line in [first, *rest] if line.endswith(b"\n")]
    return {int(number): int(key) for number, key in said}


def check(path: Path, said: dict[int, int]) -> None:
    outbox = opened(path)
    kept = {
        reading
        for seq in range(outbox.floor, outbox.next_seq)
        if (stored := outbox.batch(seq)) is not None
        for reading in readings_in(stored.blocks_json)
    }
    unsettled = list(outbox.unsettled(newest_first=False))
    assert all(outbox.batch(seq) for seq in unsettled)
    for seq, key in said.items():
        assert seq < outbox.next_seq
        if not outbox.is_settled(seq):
            stored = outbox.batch(seq)
            assert stored is not None
            assert set(readings_in(stored.blocks_json)) == set(content(key))
    if said and said[max(said)] % ACKED_EACH:  # an acked one may have made room
        # Its samples may be thinned: by a commit that was durable, and killed before it said so.
        newest = {r for r in content(said[max(said)]) if r.channel == "energy_import"}
        assert newest <= kept, "registers are never thinned, and the newest batch is not let go"
    assert outbox.stats().lost_batches == 0
    assert not path.with_name(path.name + ".damaged").exists()
    outbox.close()


@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.timeout(300)
def test_killed_at_random_every_commit_that_returned_is_there(tmp_path, kills):
    path = tmp_path / "outbox.sqlite"
    chance = random.Random(kills)
    outbox = opened(path)
    outbox_id = outbox.id
    outbox.close()

    def kill(pid: int) -> None:
        time.sleep(chance.uniform(0, 0.05))  # the random moment is the point
        os.kill(pid, signal.SIGKILL)

    for _ in range(kills):
        said = killed(path, kill, lambda _: None)
        check(path, said)
    outbox = opened(path)
    assert outbox.id == outbox_id
    assert outbox.stats().thinned_readings > 0, "no commit was killed that thins"
    outbox.close()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step_of_a_commit(tmp_path, step):
    """Each step at its first to fourth time after some commits have been made."""
    path = tmp_path / "outbox.sqlite"

    for times in range(1, 5):

        def prepare(outbox: SqliteOutbox, left: int = times) -> None:
            remaining = [left]

            def watch(statement: str) -> None:
                if outbox.next_seq > 30 and statement.startswith(step):
                    remaining[0] -= 1
                    if remaining[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            outbox._db.set_trace_callback(watch)

        acking = "thinned" not in step  # what is acked goes before anything is thinned
        check(path, killed(path, lambda _: None, prepare, acking=acking))
