"""The register's database: opened, closed, one transaction, and what its failure means."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from aggregator.register.engine import make_engine, migrate
from aggregator.register.schema import REVISION
from aggregator.store.base import StoreRefused, StoreRetriable

_LASTING = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""SQLite calls these operational too: no such table, a damaged file, a file of something else."""


class Database:
    """What the parts that keep their tables in the register's database have in common.

    url: an SQLAlchemy address, `sqlite:///<path>` for a file.
    """

    def __init__(self, url: URL | str) -> None:
        self._engine = make_engine(url)

    def open(self) -> None:
        """Bring the database to the newest version; DatabaseError when it cannot be used."""
        migrate(self._engine)

    def close(self) -> None:
        """Close all connections; idempotent."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin a transaction; all or nothing.

        Raises:
            StoreRetriable: the database is away, locked or full; the same call may succeed later.
            StoreRefused: it will fail again until a person acts: a damaged file, a missing table.
        """
        try:
            with self._engine.begin() as db:
                yield db
        except (SQLAlchemyError, sqlite3.Error) as error:  # the latter while connecting
            cause = getattr(error, "orig", None) or error
            kind = StoreRetriable if _passes(error, cause) else StoreRefused
            raise kind(f"{self._engine.url!r}: {cause}") from error


def lock_writing(db: Connection) -> None:
    """Let one transaction at a time read and then write: a row's write lock, on either database."""
    db.execute(update(REVISION).values(number=REVISION.c.number))


def _passes(error: Exception, cause: object) -> bool:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return isinstance(cause, sqlite3.OperationalError) and code not in _LASTING
    if getattr(error, "connection_invalidated", False):
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)
