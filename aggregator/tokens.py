"""Keeps who may use the API and what they wrote, in the register's database.

Of a token only its SHA-256 is kept: it is 256 random bits, so nobody finds it from there, and no
slow hash is needed. Each check asks the database: what is revoked is refused from then on.
SQLAlchemy Core over SQLite (default) or PostgreSQL. Methods may be called from any thread; each is
one transaction. Errors: StoreRetriable when the database does not do what it is asked now,
StoreRefused when it never will.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, insert, select, update

from aggregator.access import Access, TokenRole, granted
from aggregator.databases import Database
from aggregator.register.schema import TOKEN, WRITTEN

PREFIX = "nenghao-"
"""Tokens begin with it, so that one that leaked is recognised for what it is."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token as it is kept: to whom it was given and for what."""

    id: int
    name: str
    role: TokenRole
    access: Access
    made_ms: int
    made_by: str
    expires_ms: int | None
    revoked_ms: int | None
    revoked_by: str

    def holds(self, now_ms: int) -> bool:
        """Tell whether it may be used: neither revoked nor expired."""
        expired = self.expires_ms is not None and self.expires_ms <= now_ms
        return self.revoked_ms is None and not expired


@dataclass(frozen=True, slots=True)
class Written:
    """What somebody sent to be written; `status` None: the answer is not known (yet)."""

    id: int
    time_ms: int
    token: int
    name: str
    role: str
    method: str
    path: str
    body: str
    status: int | None


def new_secret() -> str:
    """Return a token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


class Tokens(Database):
    """The tables of tokens and of what was written with them."""

    def add(
        self,
        secret: str,
        name: str,
        role: TokenRole,
        *,
        regions: tuple[str, ...] = (),
        sites: tuple[str, ...] = (),
        everything: bool = False,
        author: str,
        now_ms: int,
        expires_ms: int | None = None,
    ) -> Grant:
        """Keep a new token's hash; AccessError when role and scope do not go together."""
        granted(role, regions, sites, everything=everything)
        row = {
            "name": name,
            "role": str(role),
            "regions": " ".join(regions),
            "sites": " ".join(sites),
            "everything": everything,
            "hash": _hash(secret),
            "made_ms": now_ms,
            "made_by": author,
            "expires_ms": expires_ms,
            "revoked_ms": None,
            "revoked_by": "",
        }
        with self._transaction() as db:
            key = db.execute(insert(TOKEN).values(**row)).inserted_primary_key or (0,)
            found = db.execute(select(TOKEN).filter_by(id=key[0])).mappings().one()
        return _grant(found)

    def revoke(self, id_: int, author: str, now_ms: int) -> Grant | None:
        """Let a token hold no longer; None when there is no such token. Idempotent."""
        with self._transaction() as db:
            db.execute(
                update(TOKEN)
                .filter_by(id=id_, revoked_ms=None)
                .values(revoked_ms=now_ms, revoked_by=author)
            )
            row = db.execute(select(TOKEN).filter_by(id=id_)).mappings().first()
        return None if row is None else _grant(row)

    def grants(self) -> Sequence[Grant]:
        """Return every token that was ever made, oldest first."""
        with self._transaction() as db:
            return tuple(map(_grant, db.execute(select(TOKEN).order_by(TOKEN.c.id)).mappings()))

    def ever_made(self) -> bool:
        """Tell whether a token was ever made: revoking the last one opens nothing."""
        with self._transaction() as db:
            return db.execute(select(TOKEN.c.id).limit(1)).first() is not None

    def find(self, secret: str) -> Grant | None:
        """Return whose token this is, whether it holds or not; None when nobody's."""
        with self._transaction() as db:
            row = db.execute(select(TOKEN).filter_by(hash=_hash(secret))).mappings().first()
        return None if row is None else _grant(row)

    def begin(self, grant: Grant, method: str, path: str, body: bytes, now_ms: int) -> int:
        """Note that something is about to be written; return the note's id."""
        row = {
            "time_ms": now_ms,
            "token": grant.id,
            "method": method,
            "path": _storable(path),
            "body": _storable(body.decode("utf-8", "replace")),
        }
        with self._transaction() as db:
            key = db.execute(insert(WRITTEN).values(status=None, **row)).inserted_primary_key
        return int((key or (0,))[0])

    def end(self, id_: int, status: int) -> None:
        """Note how it was answered."""
        with self._transaction() as db:
            db.execute(update(WRITTEN).filter_by(id=id_).values(status=status))

    def written(self, limit: int) -> Sequence[Written]:
        """Return the newest notes, oldest first."""
        query = (
            select(*WRITTEN.c, TOKEN.c.name, TOKEN.c.role)
            .join_from(WRITTEN, TOKEN, WRITTEN.c.token == TOKEN.c.id)
            .order_by(WRITTEN.c.id.desc())
            .limit(limit)
        )
        with self._transaction() as db:
            return tuple(Written(**row) for row in db.execute(query).mappings())[::-1]


def _storable(text: str) -> str:
    """Return a text without what PostgreSQL does not keep."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _grant(row: RowMapping) -> Grant:
    role = TokenRole(row["role"])
    regions, sites = tuple(row["regions"].split()), tuple(row["sites"].split())
    access = granted(role, regions, sites, everything=row["everything"])
    plain = ("id", "name", "made_ms", "made_by", "expires_ms", "revoked_ms", "revoked_by")
    return Grant(role=role, access=access, **{name: row[name] for name in plain})
