"""Torn, truncated, overwritten and decayed files: the outbox opens, with all that is whole."""

import contextlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from contract.reading import Reading
from edge_agent.errors import OutboxError, OutboxFullError
from edge_agent.outbox.body import readings_in
from edge_agent.outbox.file import PAGE_BYTES, Salvaged
from edge_agent.outbox.inspection import inspect
from edge_agent.outbox.pages import Log
from edge_agent.outbox.sqlite import SqliteOutbox
from tests.suites.outbox_suite import META, NOW, registers, some

BATCHES = 40


class Found(SqliteOutbox):
    """An outbox that keeps what it was told."""

    def __init__(self, path: Path, max_bytes: int = 1 << 24) -> None:
        self.salvaged: list[Salvaged] = []
        super().__init__(path, max_bytes, 190, on_salvaged=self.salvaged.append)
        self.use_meta(META)

    def content(self) -> dict[int, list[Reading]]:
        """Number -> readings of what can be read."""
        found = {}
        for seq in range(self.floor, self.next_seq):
            with contextlib.suppress(OutboxError):
                if (stored := self.batch(seq)) is not None:
                    found[seq] = list(readings_in(stored.blocks_json))
        return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


def filled(path: Path, batches: int = BATCHES) -> dict[int, list[Reading]]:
    """An outbox of some batches, closed, and what is in it."""
    outbox = Found(path)
    for i in range(batches):
        outbox.append(registers(150, 150 * i))
        outbox.commit(NOW)
    outbox.acknowledge(5)
    content = outbox.content()
    outbox.close()
    assert len(content) == batches
    return content


def live_copy(outbox: SqliteOutbox, to: Path) -> None:
    """The files as a power cut leaves them."""
    for name in (outbox._path.name, outbox._path.name + "-wal"):
        shutil.copy(
            outbox._path.with_name(name), to.with_name(to.name + name[len("outbox.sqlite") :])
        )


def works(outbox: Found) -> None:
    """It takes, keeps and gives as ever."""
    before = outbox.next_seq
    outbox.append(some(3, 10**6))
    assert list(outbox.commit(NOW)) == [before]
    assert outbox.acknowledge(before)
    outbox.close()


def test_a_file_cut_short_gives_back_what_is_before_the_cut(path):
    content = filled(path)
    whole = path.read_bytes()
    used = inspect(path).used_bytes
    saved = []
    for cut in (0, 100, 511, PAGE_BYTES, *range(PAGE_BYTES * 9, used - 1, used // 9)):
        path.write_bytes(whole[:cut])
        outbox = Found(path)
        kept = outbox.content()
        assert all(kept[seq] == content[seq] for seq in kept)
        saved.append(len(kept))
        if cut:
            (told,) = outbox.salvaged
            assert told.batches == len(kept)
            if cut > used // 2:
                assert told.batches + told.lost >= len(kept)
                assert told.damaged.read_bytes() == whole[:cut]
        works(outbox)
        outbox = Found(path)
        assert outbox.salvaged == [], "once is enough"
        outbox.close()
    assert saved == sorted(saved)
    assert saved[-1] > BATCHES * 0.7


@pytest.mark.parametrize("fill", [b"\0" * PAGE_BYTES, b"\xff" * PAGE_BYTES, None])
def test_each_page_may_decay_and_costs_its_own_batches_only(path, fill):
    content = filled(path)
    whole = path.read_bytes()
    pages = inspect(path).used_bytes // PAGE_BYTES
    chance = random.Random(7)
    for page in [*range(12), *chance.sample(range(12, pages), 12)]:
        noise = fill if fill is not None else chance.randbytes(PAGE_BYTES)
        at = page * PAGE_BYTES
        path.write_bytes(whole[:at] + noise + whole[at + PAGE_BYTES :])
        outbox = Found(path)
        kept = outbox.content()
        for seq in outbox.unsettled(newest_first=False):
            if seq not in kept:
                outbox.give_up(seq)
        assert all(kept[seq] == content[seq] for seq in kept), page
        assert len(kept) >= BATCHES - 8, f"page {page}: {len(kept)} of {BATCHES}"
        for told in outbox.salvaged:
            assert told.batches == len(kept)
        works(outbox)


def test_a_decayed_body_costs_one_batch(path):
    filled(path)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x01", 30 * PAGE_BYTES)
    raw[at + 20] ^= 0xFF
    path.write_bytes(bytes(raw))
    outbox = Found(path)
    unreadable = []
    for seq in list(outbox.unsettled(newest_first=False)):
        try:
            outbox.batch(seq)
        except OutboxError:
            unreadable.append(seq)
            assert outbox.give_up(seq) == 150
    assert len(unreadable) + len(outbox.salvaged) <= 1
    works(outbox)


def test_a_log_torn_at_any_byte_ends_before_the_commit_that_was_torn(path, tmp_path):
    outbox = Found(path)
    wal = path.with_name(path.name + "-wal")
    ends = []
    for i in range(6):
        outbox.append(registers(60, 60 * i))
        outbox.commit(NOW)
        log = Log(wal.read_bytes())
        ends.append(sum(1 for _, _, page in log._frames() if page is not None))
    content = outbox.content()
    copy = tmp_path / "cut" / path.name
    copy.parent.mkdir()
    live_copy(outbox, copy)
    outbox.close()
    raw = copy.with_name(copy.name + "-wal").read_bytes()
    main = copy.read_bytes()
    frame = 24 + PAGE_BYTES
    begin = 32 + ends[0] * frame
    for cut in range(begin, 32 + ends[-1] * frame, 331):
        copy.write_bytes(main)
        copy.with_name(copy.name + "-wal").write_bytes(raw[:cut])
        torn = Found(copy)
        whole = sum(end * frame + 32 <= cut for end in ends)
        assert torn.salvaged == [], "a torn end is no damage"
        assert torn.content() == {seq: content[seq] for seq in range(1, whole + 1)}
        works(torn)


def test_a_bad_page_in_the_log_does_not_take_the_commits_behind_it_along(path, tmp_path):
    outbox = Found(path)
    for i in range(10):
        outbox.append(registers(60, 60 * i))
        outbox.commit(NOW)
    content = outbox.content()
    copy = tmp_path / "bad" / path.name
    copy.parent.mkdir()
    live_copy(outbox, copy)
    outbox.close()
    wal = copy.with_name(copy.name + "-wal")
    raw, main = wal.read_bytes(), copy.read_bytes()
    frames = sum(1 for _, _, page in Log(raw)._frames() if page is not None)
    for bad in range(frames // 2, frames - 2, 5):
        at = 32 + bad * (24 + PAGE_BYTES) + 300
        copy.write_bytes(main)
        wal.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
        mended = Found(copy)
        kept = mended.content()
        assert all(kept[seq] == content[seq] for seq in kept)
        assert len(kept) >= len(content) - 2
        assert 10 in kept or 9 in kept, "behind the bad page"
        (told,) = mended.salvaged
        assert "behind a bad one" in told.reason
        works(mended)


def test_damage_found_by_a_commit_is_mended_without_a_restart(path):
    filled(path)
    raw = bytearray(path.read_bytes())
    outbox = Found(path)
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox._db.execute("PRAGMA cache_size = 0")
    (root,) = outbox._db.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'batch'"
    ).fetchone()
    raw[(root - 1) * PAGE_BYTES : root * PAGE_BYTES] = b"\xee" * PAGE_BYTES
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE_BYTES)
        file.write(b"\xee" * PAGE_BYTES)
    outbox._db.execute("PRAGMA shrink_memory")
    outbox.append(some(5))
    written = outbox.commit(NOW)
    assert len(written) == 1
    (told,) = outbox.salvaged
    assert told.batches == BATCHES, "the root of the tree holds no batch"
    works(outbox)


def test_after_damage_numbers_go_under_a_new_id_and_lost_ones_are_void(path):
    filled(path)
    before = inspect(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: before.used_bytes * 2 // 3])
    outbox = Found(path)
    assert outbox.id != before.id
    open_seqs = list(outbox.unsettled(newest_first=False))
    assert [seq for seq in open_seqs if outbox.batch(seq) is None] == []
    assert outbox.stats().lost_batches == outbox.salvaged[0].lost
    outbox.close()


@pytest.mark.parametrize("step", ["rename", "link", "replace", "unlink"])
def test_a_kill_while_a_damaged_file_is_replaced_loses_nothing(path, tmp_path, step):
    """The log has batches that the file has not, and a bad page; killed before each step."""
    outbox = Found(path)
    for i in range(10):
        outbox.append(registers(60, 60 * i))
        outbox.commit(NOW)
    copy = tmp_path / "bad" / path.name
    copy.parent.mkdir()
    live_copy(outbox, copy)
    outbox.close()
    wal = copy.with_name(copy.name + "-wal")
    raw = wal.read_bytes()
    frames = sum(1 for _, _, page in Log(raw)._frames() if page is not None)
    at = 32 + (frames - 12) * (24 + PAGE_BYTES) + 300
    wal.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :])
    untouched = tmp_path / "untouched" / path.name
    untouched.parent.mkdir()
    shutil.copy(copy, untouched)
    shutil.copy(wal, untouched.with_name(wal.name))

    pid = os.fork()
    if pid == 0:
        for holder, name in ((Path, "rename"), (os, "link"), (Path, "replace"), (Path, "unlink")):
            if name == step:
                real = getattr(holder, name)

                def die(*arguments, real=real, **named):
                    source = Path(arguments[0])
                    if step != "unlink" or ".log-" in source.name:
                        os._exit(77)
                    return real(*arguments, **named)

                setattr(holder, name, die)
        try:
            Found(copy)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 77, f"no {step}"

    expected, again = Found(untouched), Found(copy)
    assert again.content() == expected.content()
    assert len(again.content()) >= 8
    expected.close()
    works(again)
    assert not list(copy.parent.glob("*.log-*"))


def test_held_readings_and_metas_are_saved_too(path):
    outbox = Found(path)
    outbox.hold(some(50), "boot-a", 5)
    outbox.append(registers(100))
    outbox.commit(NOW)
    outbox.close()
    raw = bytearray(path.read_bytes())
    raw[:16] = b"\0" * 16
    path.write_bytes(bytes(raw))
    outbox = Found(path)
    assert outbox.stats().timeless_readings == 50
    assert outbox.release("boot-a", 1) == 50
    assert len(outbox.content()) == 2
    works(outbox)


# ------------------------------------------------------------------------ a real full disk


def mounted(folder: Path, size: str) -> bool:
    """Whether a small file system of its own could be mounted on the folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    if not mounted(folder, "8m"):
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=False, capture_output=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_then_goes_on_where_it_was(small_disk):
    path = small_disk / "outbox.sqlite"
    outbox = Found(path, 1 << 30)
    for i in range(5):
        outbox.append(registers(1500, 1500 * i))
        outbox.commit(NOW)
    ballast = small_disk / "ballast"

    def fill_disk() -> None:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    with pytest.raises(OSError, match="No space"):
        fill_disk()
    refused = 0
    for i in range(5, 600):
        outbox.append(registers(1500, 1500 * i))
        try:
            outbox.commit(NOW)
        except OutboxFullError:
            refused = i
            break
    assert refused, "the disk was never full"
    pending = outbox.pending
    content = outbox.content()
    outbox._db.close()  # killed: nothing more is written
    os.close(outbox._file)
    outbox._lock.close()
    again = Found(path, 1 << 30)
    assert again.salvaged == []
    assert again.content() == content
    again.append(registers(pending, 1500 * refused))
    ballast.unlink()
    assert len(again.commit(NOW)) >= 1
    again.close()


def test_a_disk_that_turns_read_only_refuses_and_comes_back(small_disk):
    path = small_disk / "outbox.sqlite"
    outbox = Found(path)
    outbox.append(registers(100))
    outbox.commit(NOW)
    content = outbox.content()
    outbox.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutboxError, match=r"Read-only|cannot make"):
        Found(path)
    assert inspect(path).held_batches == 1, "what is there can be looked at"
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    outbox = Found(path)
    assert outbox.content() == content
    works(outbox)
