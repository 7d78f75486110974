"""One transaction of the register's database, and what its failure means."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from aggregator.store.base import StoreRefused, StoreRetriable

_LASTING = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""SQLite calls these operational too: no such table, a damaged file, a file of something else."""


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Begin a transaction; all or nothing.

    Raises:
        StoreRetriable: the database is away, locked or full; the same call may succeed later.
        StoreRefused: it will fail again until a person acts: a damaged file, a missing table.
    """
    try:
        with engine.begin() as db:
            yield db
    except (SQLAlchemyError, sqlite3.Error) as error:  # the latter while connecting
        cause = getattr(error, "orig", None) or error
        kind = StoreRetriable if _passes(error, cause) else StoreRefused
        raise kind(f"{engine.url!r}: {cause}") from error


def _passes(error: Exception, cause: object) -> bool:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return isinstance(cause, sqlite3.OperationalError) and code not in _LASTING
    if getattr(error, "connection_invalidated", False):
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)
