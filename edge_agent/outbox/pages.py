"""Reads the rows of an SQLite file without SQLite: what is intact of a damaged one. No writing.

SQLite walks from the root; one bad page there hides every good one behind it, and a bad frame in
the write-ahead log silently ends the log. Here each page is looked at by itself: a leaf says what
rows it holds, an overflow chain is followed from its row. Which row is of which table is told by
its shape, which is for the caller to know; whether a long value is whole, by its own checksum.

Formats: sqlite.org/fileformat2.html, sections 1.3 (header), 1.5 (free pages), 1.6 (b-trees),
2.1 (records), 4.1 and 4.2 (log and its checksum).
"""

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

Value = int | float | str | bytes | None
Row = tuple[int | None, tuple[Value, ...]]
"""(rowid, columns) of a table; rowid None for an entry of a table WITHOUT ROWID."""

_MAGIC = b"SQLite format 3\0"
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 13, 10, 2
_WAL_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_WAL_HEADER, _FRAME_HEADER = 32, 24
_INT_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_LONGEST = 1 << 20
"""No row of ours is longer [bytes]."""


class Damaged(ValueError):  # noqa: N818 - says what the bytes are
    """These bytes are no page, row or value."""


class Pages:
    """The pages of a file and its log as they are now. Use as a context manager."""

    def __init__(self, path: Path, wal: Path, page_bytes: int) -> None:
        """`page_bytes` is used where the file's own header cannot be read."""
        self._file = path.open("rb")
        size = path.stat().st_size
        self._main: mmap.mmap | bytes = (
            mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        )
        log = Log(wal.read_bytes() if wal.exists() else b"")
        if log.page_bytes:
            page_bytes = log.page_bytes
        elif self._main[:16] == _MAGIC:
            page_bytes = _page_bytes(self._main[:18]) or page_bytes
        self._page_bytes = page_bytes
        self._newer = log.pages()
        self.count = max([size // page_bytes, *self._newer])
        self.unread_frames = log.hidden

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._main, mmap.mmap):
            self._main.close()
        self._file.close()

    def page(self, number: int) -> bytes:
        """One page, from 1; Damaged when there is none."""
        page = self._newer.get(number) or self._main_page(number)
        if page is None:
            raise Damaged(f"no page {number}")
        return page

    def _main_page(self, number: int) -> bytes | None:
        at = (number - 1) * self._page_bytes
        page = self._main[at : at + self._page_bytes] if number > 0 else b""
        return page if len(page) == self._page_bytes else None

    def rows(self, *, older: bool = False) -> Iterator[Row]:
        """Every row that can be read, of whatever table, in order of pages.

        `older`: also from versions of pages that the log replaces. A transaction of which only a
        part is there may have moved rows into a page that is not.
        """
        free = self._free_pages()
        for number in range(1, self.count + 1):
            if number in free:
                continue
            versions = [self._newer.get(number)]
            if older or versions[0] is None:
                versions.append(self._main_page(number))
            for page in versions:
                start = 100 if number == 1 else 0
                if page and page[start] in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
                    yield from self._rows_of(page, start)

    @property
    def used_bytes(self) -> int:
        """Bytes of the pages in use."""
        try:
            count = int.from_bytes(self.page(1)[28:32], "big")
        except Damaged:
            count = self.count
        return max(0, count - len(self._free_pages())) * self._page_bytes

    def user_version(self) -> int:
        """The number an application keeps in the header; 0 when it cannot be read."""
        try:
            return int.from_bytes(self.page(1)[60:64], "big")
        except Damaged:
            return 0

    def _free_pages(self) -> set[int]:
        """Pages that were given back: what they hold is old."""
        free: set[int] = set()
        try:
            trunk = int.from_bytes(self.page(1)[32:36], "big")
            while trunk and trunk not in free and trunk <= self.count:
                free.add(trunk)
                page = self.page(trunk)
                count = int.from_bytes(page[4:8], "big")
                if count > self._page_bytes // 4 - 2:
                    break
                free.update(struct.unpack_from(f">{count}I", page, 8))
                trunk = int.from_bytes(page[:4], "big")
        except Damaged:
            pass
        return free

    def _rows_of(self, page: bytes, start: int) -> Iterator[Row]:
        kind = page[start]
        header = start + (12 if kind == _INDEX_INTERIOR else 8)
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        if header + 2 * cells > len(page):
            return
        for (at,) in struct.iter_unpack(">H", page[header : header + 2 * cells]):
            try:
                yield self._row(page, at, kind)
            except (Damaged, IndexError, struct.error, UnicodeDecodeError):
                continue

    def _row(self, page: bytes, at: int, kind: int) -> Row:
        if kind == _INDEX_INTERIOR:
            at += 4
        length, at = _varint(page, at)
        rowid = None
        if kind == _TABLE_LEAF:
            rowid, at = _varint(page, at)
        if length > _LONGEST:
            raise Damaged("row too long")
        usable = self._page_bytes
        most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (usable - 4)
            local = local if local <= most else least
        parts = [page[at : at + local]]
        if local < length:
            following = int.from_bytes(page[at + local : at + local + 4], "big")
            left = length - local
            while left > 0:
                overflow = self.page(following)
                parts.append(overflow[4 : 4 + left])
                left -= usable - 4
                following = int.from_bytes(overflow[:4], "big")
        payload = b"".join(parts)
        if len(payload) != length:
            raise Damaged("row cut short")
        return rowid, _columns(payload)


class Log:
    """A write-ahead log. Each frame is checked against the checksum of the one before it, so that
    a bad frame does not take those behind it along.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._order = ""
        self.page_bytes = 0
        self.hidden = 0
        """Good frames behind a bad one: SQLite does not see them. Known after `pages`."""
        if len(raw) >= _WAL_HEADER:
            magic, _, size = struct.unpack_from(">3I", raw)
            if magic in _WAL_MAGIC and 512 <= size <= 65536 and not size & (size - 1):
                self._order, self.page_bytes = _WAL_MAGIC[magic], size

    def pages(self) -> Mapping[int, bytes]:
        """The last committed version of each page in the log."""
        committed: dict[int, bytes] = {}
        pending: dict[int, bytes] = {}
        broken = False
        for number, commits, page in self._frames():
            if page is None:
                broken = True
                continue
            self.hidden += broken
            pending[number] = page
            if commits:
                committed |= pending
                pending.clear()
        return committed

    def _frames(self) -> Iterator[tuple[int, bool, bytes | None]]:
        """(page number, ends a commit, page or None when the frame is bad)."""
        if not self.page_bytes:
            return
        raw, step = self._raw, _FRAME_HEADER + self.page_bytes
        salts = raw[16:24]
        before = struct.unpack_from(">2I", raw, 24)
        for at in range(_WAL_HEADER, len(raw) - step + 1, step):
            number, size, *_ = struct.unpack_from(">2I", raw, at)
            stored = struct.unpack_from(">2I", raw, at + 16)
            good = False
            if raw[at + 8 : at + 16] == salts:
                covered = raw[at : at + 8] + raw[at + _FRAME_HEADER : at + step]
                good = self._checksum(covered, before) == stored
            yield number, size > 0, raw[at + _FRAME_HEADER : at + step] if good else None
            before = stored

    def _checksum(self, data: bytes, before: Sequence[int]) -> tuple[int, int]:
        low, high = before
        words = struct.unpack(f"{self._order}{len(data) // 4}I", data)
        for i in range(0, len(words), 2):
            low = (low + words[i] + high) & 0xFFFFFFFF
            high = (high + words[i + 1] + low) & 0xFFFFFFFF
        return low, high


def _page_bytes(header: bytes) -> int:
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    return size if 512 <= size <= 65536 and not size & (size - 1) else 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    raise Damaged("varint")  # pragma: no cover - the loop returns


def _columns(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    data = end
    values: list[Value] = []
    while at < end:
        kind, at = _varint(payload, at)
        value, size = _value(payload, data, kind)
        values.append(value)
        data += size
    if at != end or data != len(payload):
        raise Damaged("columns do not fill the row")
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, 0
    if kind in _INT_BYTES:
        size = _INT_BYTES[kind]
        return int.from_bytes(payload[at : at + size], "big", signed=True), size
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], 8
    if kind in (8, 9):
        return kind - 8, 0
    if kind < 12:
        raise Damaged(f"value of kind {kind}")
    size = (kind - 12) // 2
    raw = payload[at : at + size]
    return (raw if kind % 2 == 0 else raw.decode("utf-8")), size
