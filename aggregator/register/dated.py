"""Rows as they stand in files, and what holds when among dated ones."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aggregator.register.cells import SINCE_EVER_MS
from aggregator.register.tables import TABLES, Row


@dataclass(frozen=True, slots=True)
class Line:
    """One row and where it stands: a line of a file, or 0 for a row of the database."""

    file: str
    number: int
    row: Row


Refuse = Callable[[Line, str, str], None]
"""(line, column, reason)"""


class Dated:
    """Rows of a tree of dated rows, to be asked what holds when."""

    def __init__(self, name: str, lines: Iterable[Line]) -> None:
        self.name = name.removesuffix("s").replace("_", " ")
        self._id = TABLES[name].id
        self._rows: dict[tuple[str, str], list[Row]] = {}
        for line in lines:
            identity = (line.row.get("site", ""), line.row.get(self._id, ""))
            self._rows.setdefault(identity, []).append(line.row)
        for rows in self._rows.values():
            rows.sort(key=since)

    def at(self, site: str, id_: str, time_ms: int) -> Row | None:
        """Return the row in force; None when there is none yet."""
        found = None
        for row in self._rows.get((site, id_), ()):
            if since(row) <= time_ms:
                found = row
        return found

    def newest(self, site: str, id_: str) -> Row | None:
        """Return the last row, whenever it holds; None when there is none at all."""
        rows = self._rows.get((site, id_))
        return rows[-1] if rows else None

    def has(self, site: str, id_: str) -> bool:
        """Tell whether there is such a row at any time."""
        return (site, id_) in self._rows

    def why_not(self, site: str, id_: str) -> str:
        """Say why `at` found nothing."""
        if (site, id_) in self._rows:
            return f"{id_} is not yet valid then"
        return f"{id_} is no {self.name} of {site}"

    def cycle(self, row: Row) -> list[str]:
        """Return the way from a row up to itself when it takes effect; [] when there is none.

        Enough for all times: a cycle begins when the last of its rows takes effect.
        """
        site, time_ms = row.get("site", ""), since(row)
        start = row.get(self._id, "")
        way, current = [start], self.at(site, start, time_ms)
        while current is not None and (parent := current.get("parent")):
            if parent in way[1:]:
                return []
            way.append(parent)
            if parent == start:
                return way
            current = self.at(site, parent, time_ms)
        return []


def check_carriers(lines: Iterable[Line], refuse: Refuse) -> None:
    """Refuse rows of a meter with another carrier than its first row's."""
    first: dict[tuple[str, str], str] = {}
    for line in sorted(lines, key=lambda line: since(line.row)):
        row = line.row
        if row.get("site") and {"meter", "carrier"} <= row.keys():
            carrier = first.setdefault((row["site"], row["meter"]), row["carrier"])
            if carrier != row["carrier"]:
                reason = f"{row['meter']} counts {carrier}; what counts another is another meter"
                refuse(line, "carrier", reason)


def since(row: Row) -> int:
    """Return the time from which a row holds [ms UTC]."""
    return int(row.get("valid_from_ms", SINCE_EVER_MS))


def way_text(ids: Iterable[object]) -> str:
    """Return ids as a way: a > b > a."""
    return " > ".join(str(id_) for id_ in ids)
