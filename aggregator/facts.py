"""Keeps what people say of meters, and what of it the stored figures already follow.

SQLAlchemy Core over SQLite (default) or PostgreSQL. Methods may be called from any thread; each is
one transaction. Errors: StoreRetriable when the database does not do what it is asked now.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from aggregator.basis import Basis, outdated
from aggregator.databases import Database, lock_writing
from aggregator.directory import SeriesKey
from aggregator.ledger.meter_events import EventKind, MeterEvent
from aggregator.ledger.registers import Registers, from_text, to_text
from aggregator.register.schema import APPLIED, AUDIT, BASIS, METER_EVENT
from aggregator.register_changes import FOLLOWED, RegisterChange

_SAID = [METER_EVENT.c[field.name] for field in fields(MeterEvent)]


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event as it stands in the book of events."""

    id: int
    event: MeterEvent
    told_ms: int
    undone_ms: int | None
    undone_by: str
    undone_why: str
    followed: bool
    """The stored figures count it."""


class Facts(Database):
    """The events and what is applied of them, in the register's database."""

    def tell(self, event: MeterEvent, now_ms: int) -> ToldEvent:
        """Keep a checked event; the same one again while it stands changes nothing.

        One word at a time is looked up and kept, so that of two that come together one is kept.
        """
        said = {column.name: getattr(event, column.name) for column in _SAID}
        with self._transaction() as db:
            lock_writing(db)
            same = select(METER_EVENT).filter_by(undone_ms=None, **said)
            if (row := db.execute(same).mappings().first()) is None:
                undone = {"undone_ms": None, "undone_by": "", "undone_why": ""}
                added = db.execute(insert(METER_EVENT).values(told_ms=now_ms, **said, **undone))
                key = added.inserted_primary_key or (0,)
                row = db.execute(select(METER_EVENT).filter_by(id=key[0])).mappings().one()
        return _told(row)

    def undo(self, id_: int, author: str, why: str, now_ms: int) -> ToldEvent | None:
        """Let an event stand no longer; None when there is no such event. Idempotent."""
        with self._transaction() as db:
            db.execute(
                update(METER_EVENT)
                .filter_by(id=id_, undone_ms=None)
                .values(undone_ms=now_ms, undone_by=author, undone_why=why)
            )
            row = db.execute(select(METER_EVENT).filter_by(id=id_)).mappings().first()
        return None if row is None else _told(row)

    def events(self, region: str, site: str) -> Sequence[ToldEvent]:
        """Return a site's events, the oldest word first, undone ones too."""
        query = select(METER_EVENT).filter_by(region=region, site=site).order_by(METER_EVENT.c.id)
        with self._transaction() as db:
            return tuple(_told(row) for row in db.execute(query).mappings())

    def events_of(self, regions: Collection[str]) -> Sequence[ToldEvent]:
        """Return the events of all sites of some regions, the oldest word first."""
        table = METER_EVENT.c
        query = select(METER_EVENT).where(table.region.in_(sorted(regions))).order_by(table.id)
        with self._transaction() as db:
            return tuple(_told(row) for row in db.execute(query).mappings())

    def standing(self) -> Sequence[ToldEvent]:
        """Return all events that stand, the oldest word first."""
        query = select(METER_EVENT).filter_by(undone_ms=None).order_by(METER_EVENT.c.id)
        with self._transaction() as db:
            return tuple(_told(row) for row in db.execute(query).mappings())

    def declared(self, region: str, site: str) -> Sequence[MeterEvent]:
        """Return the events that a site's figures follow, the oldest word first.

        Those that stand, where it is not noted what the figures follow.
        """
        noted = bool(self.applied(region, site))
        told = self.events(region, site)
        return tuple(t.event for t in told if (t.followed if noted else t.undone_ms is None))

    def find(self, id_: int) -> ToldEvent | None:
        """Return an event, undone or not; None when there is no such event."""
        with self._transaction() as db:
            row = db.execute(select(METER_EVENT).filter_by(id=id_)).mappings().first()
        return None if row is None else _told(row)

    def sites(self) -> Sequence[tuple[str, str]]:
        """Return the (region, site) pairs of which something stands or is followed."""
        table = METER_EVENT.c
        query = select(table.region, table.site).where(
            or_(table.undone_ms.is_(None), table.followed)
        )
        with self._transaction() as db:
            return tuple((row.region, row.site) for row in db.execute(query.distinct()))

    def applied(self, region: str, site: str) -> Mapping[tuple[str, str], Registers]:
        """Return by (meter, channel) what a site's stored figures follow."""
        query = select(APPLIED).filter_by(region=region, site=site)
        with self._transaction() as db:
            return {(row.meter, row.channel): from_text(row.registers) for row in db.execute(query)}

    def put_applied(
        self,
        region: str,
        site: str,
        registers: Mapping[tuple[str, str], Registers],
        followed: Collection[int] | None = None,
    ) -> None:
        """Note what the stored figures of some channels, and of the site's events, follow now.

        followed: None leaves the events as they are.
        """
        with self._transaction() as db:
            if followed is not None:
                _follow(db, region, site, followed)
            for (meter, channel), declared in registers.items():
                key = {"region": region, "site": site, "meter": meter, "channel": channel}
                db.execute(delete(APPLIED).filter_by(**key))
                db.execute(insert(APPLIED).values(registers=to_text(declared), **key))

    def follow(self, region: str, site: str, followed: Collection[int]) -> None:
        """Note which events a site's figures follow."""
        with self._transaction() as db:
            _follow(db, region, site, followed)

    def register_changes(self, site: str) -> Sequence[RegisterChange]:
        """Return all that was ever changed of a site's rows that figures follow, oldest first."""
        query = (
            select(AUDIT)
            .where(AUDIT.c.table_name.in_(FOLLOWED))
            .where(AUDIT.c.row_key["site"].as_string() == site)
            .order_by(AUDIT.c.id)
        )
        with self._transaction() as db:
            return tuple(
                RegisterChange(row.id, row.author, row.note, row.table_name, row.row_key, row.after)
                for row in db.execute(query)
            )

    def share(self, registers: Mapping[SeriesKey, Registers]) -> None:
        """Note that figures follow who goes before whom, of channels that others will read too."""
        with self._transaction() as db:
            for key, declared in registers.items():
                row = db.execute(select(APPLIED.c.registers).filter_by(**key._asdict())).first()
                if row is not None:
                    said = to_text(replace(from_text(row.registers), edges=declared.edges))
                    db.execute(update(APPLIED).filter_by(**key._asdict()).values(registers=said))

    def bases(self) -> Mapping[str, Basis]:
        """Return by site what its stored measures were made with, where that is noted."""
        with self._transaction() as db:
            return {
                row.site: Basis(row.factor_set, row.digest) for row in db.execute(select(BASIS))
            }

    def begin_bases(self, now: Mapping[str, Basis], known: Collection[str]) -> Collection[str]:
        """Note what measures of sites are made with that have none, or of which it is not noted.

        known: sites with data. Returns those whose stored measures were made with something else.
        """
        noted = self.bases()
        empty = {one for one in now if one not in known and noted.get(one) != now[one]}
        self.put_bases({one: now[one] for one in now if one in empty or one not in noted})
        return outdated(noted, now, known)

    def put_bases(self, bases: Mapping[str, Basis]) -> None:
        """Note what the stored measures of some sites were made with."""
        rows = [{"site": site, **basis._asdict()} for site, basis in bases.items()]
        if not rows:
            return
        with self._transaction() as db:
            before = delete(BASIS).where(BASIS.c.site == bindparam("noted"))
            db.execute(before, [{"noted": row["site"]} for row in rows])
            db.execute(insert(BASIS), rows)

    def add_applied(self, registers: Mapping[SeriesKey, Registers]) -> None:
        """Note what the figures of new channels follow; one that is noted stays as it is."""
        rows = [
            key._asdict() | {"registers": to_text(declared)} for key, declared in registers.items()
        ]
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        with self._transaction() as db:
            db.execute(dialect.insert(APPLIED).on_conflict_do_nothing(), rows)


def _follow(db: Connection, region: str, site: str, followed: Collection[int]) -> None:
    table = METER_EVENT.c
    db.execute(
        update(METER_EVENT)
        .filter_by(region=region, site=site)
        .values(followed=table.id.in_(sorted(followed)))
    )


def _told(row: RowMapping) -> ToldEvent:
    said = {column.name: row[column.name] for column in _SAID}
    said["kind"] = EventKind(said["kind"])
    names = ("id", "told_ms", "undone_ms", "undone_by", "undone_why", "followed")
    stands = {name: row[name] for name in names}
    return ToldEvent(event=MeterEvent(**said), **stands)
