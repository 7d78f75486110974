"""Closed months: what was reported of a region, frozen, in the register's database.

SQLAlchemy Core over SQLite (default) or PostgreSQL. Methods may be called from any thread; each is
one transaction. A closing is only ever added: what turns out later is a correction, which is never
stored but is the difference between what is known now and what was reported. Errors:
StoreRetriable when the database does not do what it is asked now, StoreRefused when it never will.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from aggregator.databases import Database
from aggregator.ledger.rows import date_of
from aggregator.periods import month_text
from aggregator.register.schema import AUDIT, CLOSING, METER_EVENT, REPORTED, RESTATEMENT
from aggregator.restatements import Restatement, is_settled
from aggregator.store.base import StoreRefused
from contract.interval import DAY_MS, next_month


class ClosingError(Exception):
    """A month cannot be closed; permanent for what was asked at that time."""


@dataclass(frozen=True, slots=True)
class Closing:
    """One month of one region that was reported."""

    region: str
    month_ms: int
    """Start of the Beijing month."""
    author: str
    reason: str
    closed_ms: int
    factor_set: str
    """Set that the aggregator made its measures with."""
    restatements_upto: int
    """Id of the last restatement that is in the reported figures."""

    @property
    def end_ms(self) -> int:
        """Start of the next month."""
        return next_month(self.month_ms)

    @property
    def month(self) -> str:
        """`2026-10`."""
        return month_text(self.month_ms)


@dataclass(frozen=True, slots=True)
class Part:
    """What one channel gave in a month, or in the part of it in which its meter had one role.

    Amounts in micro-units, durations in ms, measures in kg and CNY (None: not determined): stored
    as in `contract.stored`.
    """

    site: str
    meter: str
    channel: str
    """"": the register has the meter, and nothing is known of it; all time is missing."""
    from_ms: int
    """Start of the month, or where the role begins."""
    carrier: str
    role: str
    """"": in no account, for the register did not have the meter then."""
    counted: bool
    """Whether the factor set counts the carrier in converted totals."""
    amount: int
    amount_estimated: int
    amount_held: int
    measured_ms: int
    estimated_ms: int
    missing_ms: int
    received: int
    expected: int
    flags: int
    kgce_calorific: float | None
    kgce_equivalent: float | None
    co2_kg: float | None
    cost_cny: float | None
    open_amount: int = 0
    """Part of `amount_estimated` for the time after the register's last reading."""
    open_ms: int = 0
    """That time, part of `estimated_ms`."""


_PART = [REPORTED.c[field.name] for field in fields(Part)]
_CLOSING = [CLOSING.c[field.name] for field in fields(Closing)]
_RESTATEMENT = [RESTATEMENT.c[field.name] for field in fields(Restatement)]
_AT_ONCE = 10_000
_EVENT = re.compile(r"event ([0-9]{1,18})( undone)?")
"""Cause of a restatement that follows what a person told."""
_CHANGE = re.compile(r"register changes? ([0-9]{1,18}(?: [0-9]{1,18})*)")
"""Cause of one that follows a row of the register: the id of its audit record."""


class Closings(Database):
    """The tables."""

    def check(self, region: str, month_ms: int, now_ms: int) -> None:
        """Raise ClosingError when a month may not be closed now: not settled, or closed before."""
        if not is_settled(next_month(month_ms) - DAY_MS, now_ms):
            raise ClosingError(
                f"{month_text(month_ms)} is not settled before 06:00 of "
                f"{date_of(next_month(month_ms)).isoformat()}, Beijing time"
            )
        before = self.find(region, month_ms)
        if before is not None:
            raise ClosingError(_said_before(before))

    def add(
        self,
        region: str,
        month_ms: int,
        parts: Iterable[Part],
        *,
        author: str,
        reason: str,
        factor_set: str,
        now_ms: int,
    ) -> Closing:
        """Freeze a month, all or nothing; ClosingError as `check`, or for want of figures.

        Whoever calls owns the store, so that no figure or restatement comes in between.
        """
        self.check(region, month_ms, now_ms)
        given = list(parts)
        if not any(part.channel for part in given):
            raise ClosingError(f"there are no figures of {region} in {month_text(month_ms)}")
        newest = select(func.coalesce(func.max(RESTATEMENT.c.id), 0))
        try:
            with self._transaction() as db:
                upto = int(db.execute(newest).scalar_one())
                closing = Closing(region, month_ms, author, reason, now_ms, factor_set, upto)
                db.execute(insert(CLOSING).values(**asdict(closing)))
                for first in range(0, len(given), _AT_ONCE):
                    rows = [
                        {"region": region, "month_ms": month_ms, **asdict(part)}
                        for part in given[first : first + _AT_ONCE]
                    ]
                    db.execute(insert(REPORTED), rows)
        except StoreRefused as error:
            before = self.find(region, month_ms)
            if isinstance(error.__cause__, IntegrityError) and before is not None:
                raise ClosingError(_said_before(before)) from None
            raise
        return closing

    def closings(self, region: str | None = None) -> Sequence[Closing]:
        """Return the closings of one region, or all, by region and month."""
        query = select(*_CLOSING).order_by(CLOSING.c.region, CLOSING.c.month_ms)
        if region is not None:
            query = query.filter_by(region=region)
        with self._transaction() as db:
            return tuple(Closing(**row) for row in db.execute(query).mappings())

    def find(self, region: str, month_ms: int) -> Closing | None:
        """Return the closing of a month; None while it is not closed."""
        query = select(*_CLOSING).filter_by(region=region, month_ms=month_ms)
        with self._transaction() as db:
            row = db.execute(query).mappings().first()
        return None if row is None else Closing(**row)

    def sites(self, closing: Closing) -> Sequence[str]:
        """Return the sites of which something was reported, ascending."""
        key = {"region": closing.region, "month_ms": closing.month_ms}
        query = select(REPORTED.c.site).filter_by(**key).distinct().order_by(REPORTED.c.site)
        with self._transaction() as db:
            return tuple(db.execute(query).scalars())

    def reported(self, closing: Closing, site: str) -> Sequence[Part]:
        """Return what was reported of a site, by meter, channel and time."""
        table = REPORTED.c
        query = (
            select(*_PART)
            .filter_by(region=closing.region, month_ms=closing.month_ms, site=site)
            .order_by(table.meter, table.channel, table.from_ms)
        )
        with self._transaction() as db:
            return tuple(Part(**row) for row in db.execute(query).mappings())

    def restated(self, closing: Closing, site: str) -> Sequence[Restatement]:
        """Return what was restated of a site's days of a month after it was closed, oldest first.

        Read them before the figures: they are written before them.
        """
        table = RESTATEMENT.c
        query = (
            select(*_RESTATEMENT)
            .filter_by(region=closing.region, site=site)
            .where(table.day_ms >= closing.month_ms, table.day_ms < closing.end_ms)
            .where(table.id > closing.restatements_upto)
            .order_by(table.id)
        )
        with self._transaction() as db:
            return tuple(Restatement(**row) for row in db.execute(query).mappings())

    def authors(self, restated: Collection[Restatement]) -> Mapping[str, str]:
        """Return by cause who told or undid the event behind it, or changed the register's rows."""
        causes = {record.cause: _EVENT.fullmatch(record.cause) for record in restated}
        events = {cause: (int(m[1]), bool(m[2])) for cause, m in causes.items() if m}
        ids = {id_ for id_, _ in events.values()}
        table = METER_EVENT.c
        query = select(table.id, table.author, table.undone_by).where(table.id.in_(ids))
        of_change = {record.cause: _CHANGE.fullmatch(record.cause) for record in restated}
        changes = {c: [int(id_) for id_ in m[1].split()] for c, m in of_change.items() if m}
        named = {id_ for ids in changes.values() for id_ in ids}
        audited = select(AUDIT.c.id, AUDIT.c.author).where(AUDIT.c.id.in_(named))
        with self._transaction() as db:
            said = {row.id: (row.author, row.undone_by) for row in db.execute(query)}
            wrote = {row.id: row.author for row in db.execute(audited)}
        told = {cause: said[id_][undone] for cause, (id_, undone) in events.items() if id_ in said}
        for cause, of_rows in changes.items():
            if who := ", ".join(dict.fromkeys(wrote[id_] for id_ in of_rows if id_ in wrote)):
                told[cause] = who
        return told


def _said_before(closing: Closing) -> str:
    return (
        f"{closing.region} {closing.month} was closed on {date_of(closing.closed_ms).isoformat()} "
        f"by {closing.author}; what is found afterwards is a correction"
    )
