"""Readings entered by hand, from a CSV file; see `codecs.manual` for its form.

The file is read again whenever it changed. Each line is handed out once; after a restart all are
handed out once more, which does no harm: the store takes the same reading twice as one.
"""

import asyncio
from pathlib import Path

from edge_agent.codecs.manual import CheckEntries, Entry, ReadEntries, parse
from edge_agent.errors import LinkError, MeterError

MAX_FILE_BYTES = 1 << 20
SHOWN = 5
"""Wrong lines named in one error."""


class ManualLink:
    """One file with the entries of one or more meters; see `MeterLink`."""

    def __init__(self, file: Path) -> None:
        """Keep the path; nothing is read yet."""
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._entries: list[Entry] = []
        self._wrong: list[str] = []
        self._given: set[Entry] = set()

    @property
    def is_open(self) -> bool:
        return self._seen is not None

    async def open(self) -> None:
        await asyncio.to_thread(self._load)

    async def read(self, question: ReadEntries | CheckEntries) -> tuple[Entry, ...]:
        await self.open()
        if isinstance(question, CheckEntries):
            if self._wrong:
                more = len(self._wrong) - SHOWN
                tail = f" and {more} more" if more > 0 else ""
                raise MeterError(str(self._file), "; ".join(self._wrong[:SHOWN]) + tail)
            return ()
        new = tuple(
            entry
            for entry in self._entries
            if entry.meter == question.meter and entry not in self._given
        )
        self._given.update(new)
        return new

    async def close(self) -> None:
        self._seen = None

    def _load(self) -> None:
        try:
            state = self._file.stat()
            seen = (state.st_mtime_ns, state.st_size)
            if seen == self._seen:
                return
            if state.st_size > MAX_FILE_BYTES:
                raise LinkError(str(self._file), f"larger than {MAX_FILE_BYTES} bytes")
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self._seen = None
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise LinkError(str(self._file), f"cannot open: {reason}") from error
        found = list(parse(text))
        self._entries = [item for item in found if isinstance(item, Entry)]
        self._wrong = [item for item in found if isinstance(item, str)]
        self._given &= set(self._entries)
        self._seen = seen
