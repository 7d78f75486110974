"""What changed in settled figures, from what, to what, why and when: one table of the records.

SQLAlchemy Core over SQLite (default) or PostgreSQL; times are UTC ms and arguments. A day's figure
is *settled* at 06:00 of the next Beijing day; before that it changes freely and leaves no record.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, tuple_, update

from aggregator.databases import Database
from aggregator.details import joined
from aggregator.register.schema import CLOSING, RESTATEMENT
from contract.interval import DAY_MS, HOUR_MS, month_start

SETTLED_AFTER_MS = DAY_MS + 6 * HOUR_MS
"""After the start of a Beijing day [ms]."""

Place = tuple[str, str]
"""Region and site."""
_PAGE = 10_000
"""Records read at once."""
_COLUMNS = [column for column in RESTATEMENT.c if column.name != "id"]


@dataclass(frozen=True, slots=True)
class Restatement:
    """One settled day's figure of one channel that changed."""

    region: str
    site: str
    meter: str
    channel: str
    day_ms: int
    """Start of the Beijing day."""
    measure: str
    """Stored field: amount, amount_estimated, amount_held [unit], measured_ms, kgce_*, co2_kg [kg],
    cost_cny [CNY]."""
    from_value: float | None
    """None: was not determined."""
    to_value: float | None
    cause: str
    """What changed it: `factors demo`, `event 7`, `event 7 undone`, `register change 12`, `meta
    3607b0...`, `late readings`, `newer readings`, `recovery`, `replay`."""
    why: str
    """What the person who did it gave as reason."""
    found_ms: int
    details: str = ""
    """Batches or rows of tables that the cause consists of; see `aggregator.details`."""


def is_settled(day_ms: int, now_ms: int) -> bool:
    """Tell whether the figures of a Beijing day are settled."""
    return now_ms >= day_ms + SETTLED_AFTER_MS


class Restatements(Database):
    """The table, in the database of the records (`sqlite:///<path>` for a file)."""

    def add(self, restatements: Iterable[Restatement]) -> int:
        """Keep records in one transaction, before the figures they speak of are written.

        Changes of one figure that follow each other for the same cause and reason are one record,
        from the first to the last, with the batches of all; so a write that did not happen may be
        announced again. A record from before the day's month was closed is never continued. Returns
        how many are new.
        StoreRetriable when the database does not take them now.
        """
        given = list(restatements)
        if not given:
            return 0
        with self._transaction() as db:
            return _add(db, given)

    def find(self, region: str, site: str, from_ms: int, to_ms: int) -> Sequence[Restatement]:
        """Return all records of a site's days that start in [from_ms, to_ms), oldest first.

        StoreRetriable when the database does not answer now.
        """
        return list(self.numbered(region, site, from_ms, to_ms).values())

    def numbered(
        self, region: str, site: str, from_ms: int, to_ms: int
    ) -> Mapping[int, Restatement]:
        """Return the same by their ids."""
        found: dict[int, Restatement] = {}
        while page := self.page([(region, site)], from_ms, to_ms, max(found, default=0), _PAGE):
            found.update(page)
        return found

    def page(
        self, places: Collection[Place], from_ms: int, to_ms: int, after: int, limit: int
    ) -> Mapping[int, Restatement]:
        """Return the oldest records of some sites with an id above `after`, so many at most.

        StoreRetriable when the database does not answer now.
        """
        id_, day = RESTATEMENT.c.id, RESTATEMENT.c.day_ms
        where = tuple_(RESTATEMENT.c.region, RESTATEMENT.c.site).in_(sorted(places))
        query = select(RESTATEMENT).where(where, id_ > after, day >= from_ms, day < to_ms)
        with self._transaction() as db:
            rows = db.execute(query.order_by(id_).limit(limit)).mappings()
            return {row["id"]: Restatement(**_without_id(row)) for row in rows}


def known_or_none(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return None if math.isnan(value) else value


def _without_id(row: RowMapping) -> dict[str, Any]:
    return {column.name: row[column.name] for column in _COLUMNS}


_Key = tuple[str, str, str, str, int, str]


def _key(one: Restatement) -> _Key:
    return one.region, one.site, one.meter, one.channel, one.day_ms, one.measure


def _add(db: Connection, given: Sequence[Restatement]) -> int:
    last, closed = _last(db, given), _closed(db, given)
    fresh: list[dict[str, object]] = []
    for one in given:
        id_, before = last.get(_key(one), (0, None))
        reported = id_ <= closed.get((one.region, month_start(one.day_ms)), 0)
        same = before is not None and (before.cause, before.why) == (one.cause, one.why)
        if before is not None and same and not reported:
            details = joined(before.details, one.details)
            if (before.to_value, before.details) != (one.to_value, details):
                goes_on = {"to_value": one.to_value, "found_ms": one.found_ms, "details": details}
                db.execute(update(RESTATEMENT).filter_by(id=id_).values(**goes_on))
        else:
            fresh.append({column.name: getattr(one, column.name) for column in _COLUMNS})
    if fresh:
        db.execute(insert(RESTATEMENT), fresh)
    return len(fresh)


def _closed(db: Connection, given: Sequence[Restatement]) -> dict[tuple[str, int], int]:
    """Return by region and month the id of the last record that went into what was reported."""
    regions = {one.region for one in given}
    query = select(CLOSING).where(CLOSING.c.region.in_(regions))
    return {(row.region, row.month_ms): row.restatements_upto for row in db.execute(query)}


def _last(db: Connection, given: Sequence[Restatement]) -> dict[_Key, tuple[int, Restatement]]:
    """Return the last record of each figure, with its id, of the sites and days of those given."""
    found: dict[_Key, tuple[int, Restatement]] = {}
    for region, site in sorted({(one.region, one.site) for one in given}):
        days = [one.day_ms for one in given if (one.region, one.site) == (region, site)]
        table = RESTATEMENT.c
        query = (
            select(RESTATEMENT)
            .filter_by(region=region, site=site)
            .where(table.day_ms >= min(days), table.day_ms <= max(days))
            .order_by(table.id)
        )
        for row in db.execute(query).mappings():
            one = Restatement(**_without_id(row))
            found[_key(one)] = row["id"], one
    return found
