"""What a replay has done so far: kept in a small file to resume by, shown as a bar."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from aggregator.replay import Made, Part

Asked = Mapping[str, str | int | None]
_BAR = 30


class Progress:
    """The file: one line that says what was asked for, then one per part that is durable."""

    def __init__(self, path: Path, asked: Asked, *, restart: bool = False) -> None:
        self._path = path
        self._asked = {key: asked[key] for key in sorted(asked)}
        self.done: dict[Part, Made] = {} if restart else dict(self._read())

    def __enter__(self) -> Self:
        """Begin, or go on, the file."""
        whole = [self._asked, *({"part": part, "made": _pair(m)} for part, m in self.done.items())]
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(line) + "\n" for line in whole), "utf-8")
        fresh.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep the file when the run was interrupted, else remove it."""
        self._file.close()
        if kind is None:
            self._path.unlink(missing_ok=True)

    def add(self, part: Part, made: Made) -> None:
        """Note a part that is durable."""
        self.done[part] = made
        self._file.write(json.dumps({"part": part, "made": _pair(made)}) + "\n")
        self._file.flush()

    def _read(self) -> Iterator[tuple[Part, Made]]:
        """Yield what an interrupted run for the same did; a torn last line is as if not there."""
        try:
            lines = self._path.read_text("utf-8").splitlines()
            if not lines or json.loads(lines[0]) != self._asked:
                return
            for line in lines[1:]:
                said = json.loads(line)
                yield Part(*said["part"]), Made(*said["made"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return


class Bar:
    """A line on a terminal that is written over; nothing anywhere else."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream
        self._total = total
        self._on = stream.isatty()

    def show(self, done: int, what: str) -> None:
        """Say how far it is and what is next."""
        if self._on:
            full = _BAR * done // max(1, self._total)
            bar = "#" * full + "." * (_BAR - full)
            self._stream.write(f"\r[{bar}] {done}/{self._total} {what}\x1b[K")
            self._stream.flush()

    def clear(self) -> None:
        """Leave an empty line."""
        if self._on:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _pair(made: Made) -> list[int]:
    return list(astuple(made))
