"""Opens the register's database, SQLite or PostgreSQL, and brings it to the newest version."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6E656E67
"""PostgreSQL's advisory lock of whoever migrates: 'neng'."""


class DatabaseError(Exception):
    """The database cannot be used as it is; permanent until a person acts."""


def sqlite_file(path: Path) -> URL:
    """Return the address of a file, whatever marks its path holds."""
    return URL.create("sqlite", database=str(path))


def database_url(address: str, password_file: str = "") -> URL:
    """Return a database's address, its password read from a file; DatabaseError when it is none.

    Args:
        address: sqlite:///<path> or postgresql+psycopg://<user>@<host>:<port>/<database>
        password_file: holds the password; "" for none.
    """
    try:
        url = make_url(address)
    except ArgumentError:
        raise DatabaseError(f"{address!r} is no database address") from None
    if url.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise DatabaseError(
            f"{url.drivername}: the register is kept in sqlite or postgresql+psycopg"
        )
    if url.password is not None:
        raise DatabaseError("the address holds a password; put it into a file and name that")
    if password_file and url.drivername == "sqlite":
        raise DatabaseError("sqlite takes no password")
    if password_file:
        url = url.set(password=Path(password_file).read_text("utf-8").strip())
    return url


def make_engine(url: URL | str) -> Engine:
    """Return an engine; nothing is connected yet."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def migrate(engine: Engine) -> None:
    """Bring the database to the newest version, or make it; idempotent, safe beside others.

    Raises:
        DatabaseError: it cannot be reached, is no database, or a newer nenghao has made it.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    try:
        with engine.begin() as db:
            _lock(db)
            config.attributes["connection"] = db
            command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseError(f"{engine.url!r}: {error}; made by a newer version?") from None
    except DBAPIError as error:
        raise DatabaseError(f"{engine.url!r}: {error.orig}") from None


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Give a connection whose reads all see one moment, whatever others commit meanwhile."""
    with engine.connect() as db:
        if db.dialect.name == "sqlite":
            db.exec_driver_sql("BEGIN")
        else:
            db = db.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
        yield db


def _lock(db: Connection) -> None:
    """Let one process at a time migrate; the lock ends with the transaction."""
    if db.dialect.name == "sqlite":
        db.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        db.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers go on while one writes, and writers wait for each other."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    # The switch does not wait for a lock; who holds it is switching too, and the file remembers.
    with suppress(OperationalError):
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()
