"""On which line of a TOML text a key stands: for messages that lead to it. Pure.

Only for texts a TOML parser has accepted. What is inside an inline table or array has its line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edge_agent.errors import Problem

_PART = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*\[\s*({_NAME})\s*\]\s*(?:#.*)?$")
_ARRAY = re.compile(rf"\s*\[\[\s*({_NAME})\s*\]\]\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_NAME})\s*=")
_LONG = re.compile(r"\"\"\"|'''")


def placed(text: str, problems: Iterable[Problem]) -> list[Problem]:
    """The problems with the lines of their keys."""
    lines = key_lines(text)
    return [replace(problem, line=_line_of(problem.key, lines)) for problem in problems]


def key_lines(text: str) -> Mapping[str, int]:
    """Line of each key and table, by path: ``bus[0].meter[2].unit``."""
    lines: dict[str, int] = {}
    rows: dict[str, int] = {}
    table = ""
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not inside:
            if found := _ARRAY.match(line):
                path = _path(found[1], rows)
                rows[path] = rows.get(path, -1) + 1
                lines.setdefault(path, number)
                table = f"{path}[{rows[path]}]"
                lines[table] = number
            elif found := _TABLE.match(line):
                table = _path(found[1], rows)
                lines[table] = number
            elif found := _KEY.match(line):
                lines[".".join(filter(None, (table, *_parts(found[1]))))] = number
        if len(_LONG.findall(line)) % 2:
            inside = not inside
    return lines


def _parts(name: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, name)]


def _path(name: str, rows: Mapping[str, int]) -> str:
    """A header's name, with the number of the row each array of tables is at."""
    *outer, last = _parts(name)
    path = ""
    for part in outer:
        path = f"{path}.{part}" if path else part
        if path in rows:
            path = f"{path}[{rows[path]}]"
    return f"{path}.{last}" if path else last


def _line_of(key: str, lines: Mapping[str, int]) -> int:
    """The key's line, else that of the nearest table around it; 0 = the file as a whole."""
    while key and key not in lines:
        shorter = re.sub(r"\[[0-9]+\]$", "", key)
        key = shorter if shorter != key else key.rpartition(".")[0]
    return lines.get(key, 0)
