"""The register in a database: loaded as a whole, changed by importing a folder, every change kept.

Importing is one transaction: rows are compared with the folder's, what differs is written, and each
changed row leaves one audit record with who, when, before and after. A file that is there replaces
its table; a table whose file is absent stays as it is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from aggregator.register.build import build_register
from aggregator.register.checks import check
from aggregator.register.dated import Line
from aggregator.register.engine import make_engine, migrate, snapshot
from aggregator.register.folder import Contents, Judge, read_folder, read_row, write_folder
from aggregator.register.model import Register
from aggregator.register.problems import Problem, RegisterError
from aggregator.register.schema import AUDIT, DOCUMENTS, REVISION, ROWS
from aggregator.register.tables import TABLES, Row

_DOCUMENTS = DOCUMENTS.name

Texts = Mapping[str, str]
"""A row as its file says it: column -> cell."""


@dataclass(frozen=True, slots=True)
class Change:
    """One changed row."""

    table: str
    key: Texts
    before: Texts | None
    """None: the row was added."""
    after: Texts | None
    """None: the row was removed."""

    def __str__(self) -> str:
        key = " ".join(text for text in self.key.values() if text)
        before, after = self.before, self.after
        if before is None:
            return f"{self.table}: {key}: added"
        if after is None:
            return f"{self.table}: {key}: removed"
        altered = [name for name in after if before.get(name, "") != after[name]]
        if self.table == _DOCUMENTS:
            return f"{self.table}: {key}: altered"
        cells = (f"{name} {before.get(name, '')!r} -> {after[name]!r}" for name in altered)
        return f"{self.table}: {key}: {', '.join(cells)}"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One changed row, and who changed it when and why."""

    time_ms: int
    author: str
    note: str
    change: Change


def summary(changes: Sequence[Change]) -> str:
    """Say how many rows of which table changed."""
    counts = Counter(change.table for change in changes)
    return ", ".join(f"{table} {count}" for table, count in sorted(counts.items())) or "nothing"


class RegisterDatabase:
    """The register in one database. Methods may be called from any thread."""

    def __init__(self, url: URL | str, judge: Judge | None = None) -> None:
        """With `judge`, an import is refused that would stop an aggregator's next start."""
        self._engine = make_engine(url)
        self._judge = judge

    def open(self) -> None:
        """Bring the database to the newest version; DatabaseError when it cannot be used."""
        migrate(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; idempotent."""
        self._engine.dispose()

    def register(self) -> Register:
        """Return the register as it stands."""
        with snapshot(self._engine) as db:
            return build_register(_rows(db))

    def documents(self) -> dict[str, str]:
        """Return the TOML documents, path -> text."""
        with snapshot(self._engine) as db:
            return _documents(db)

    def with_folder(self, folder: Path) -> tuple[Register, dict[str, str]]:
        """Return register and documents as they would be after an import; writes nothing.

        RegisterError: as `import_folder`.
        """
        contents, problems = _read(folder)
        with snapshot(self._engine) as db:
            rows, kept = _rows(db), _documents(db)
        merged, texts = self._judged(rows, kept, contents, problems)
        register = build_register(
            {name: [line.row for line in lines] for name, lines in merged.items()}
        )
        return register, texts

    def import_folder(
        self, folder: Path, *, author: str, now_ms: int, note: str = "", write: bool = True
    ) -> tuple[Change, ...]:
        """Make the register what a folder says; return what changed. All or nothing.

        write: False only tells what would change.

        Raises:
            RegisterError: everything wrong with the folder, or between it and tables it has not.
        """
        contents, problems = _read(folder)
        with self._engine.begin() as db:
            _lock(db)
            return self._put(db, _rows(db), contents, problems, author, note, now_ms, write=write)

    def put_row(
        self, name: str, cells: Texts, *, author: str, now_ms: int, note: str = ""
    ) -> tuple[Change, ...]:
        """Put one row into a table, in place of one of the same key; audited, as an import.

        RegisterError: it cannot be beside the others.
        """
        table, problems = TABLES[name], list[Problem]()
        row = read_row(table, 0, cells, problems)
        if problems:
            raise RegisterError(problems)
        with self._engine.begin() as db:
            _lock(db)
            rows = _rows(db)
            others = [one for one in rows[name] if table.key_of(one) != table.key_of(row)]
            lines = [Line(table.file, 0, one) for one in (*others, row)]
            contents = Contents({name: lines}, {})
            return self._put(db, rows, contents, [], author, note, now_ms, write=True)

    def _put(
        self,
        db: Connection,
        rows: Mapping[str, Sequence[Row]],
        contents: Contents,
        problems: list[Problem],
        author: str,
        note: str,
        now_ms: int,
        *,
        write: bool,
    ) -> tuple[Change, ...]:
        self._judged(rows, _documents(db), contents, problems)
        changes = tuple(_apply(db, rows, contents, write=write))
        if changes and write:
            db.execute(update(REVISION).values(number=REVISION.c.number + 1))
            db.execute(insert(AUDIT), [_record(c, author, note, now_ms) for c in changes])
        return changes

    def _judged(
        self,
        rows: Mapping[str, Sequence[Row]],
        documents: Mapping[str, str],
        contents: Contents,
        problems: Sequence[Problem],
    ) -> tuple[dict[str, Sequence[Line]], dict[str, str]]:
        """Return tables and documents as they will be; RegisterError where they cannot be so."""
        merged, texts = _merged(rows, contents), _merged_texts(documents, contents)
        found = [*problems, *check(merged)]
        if self._judge is not None and not found:
            found += self._judge(merged, texts)
        if found:
            raise RegisterError(found)
        return merged, texts

    def export_folder(self, folder: Path) -> None:
        """Write the register's normal form into a folder; see `write_folder`."""
        with snapshot(self._engine) as db:
            rows, documents = _rows(db), _documents(db)
        write_folder(folder, rows, documents)

    def audit(
        self, *, table: str = "", since_ms: int = 0, limit: int = 1_000_000
    ) -> tuple[AuditRecord, ...]:
        """Return the newest changes, oldest of them first."""
        query = select(AUDIT).where(AUDIT.c.time_ms >= since_ms)
        if table:
            query = query.where(AUDIT.c.table_name == table)
        with self._engine.connect() as db:
            found = db.execute(query.order_by(AUDIT.c.id.desc()).limit(limit)).all()
        return tuple(
            AuditRecord(
                row.time_ms,
                row.author,
                row.note,
                Change(row.table_name, row.row_key, row.before, row.after),
            )
            for row in reversed(found)
        )


def _read(folder: Path) -> tuple[Contents, list[Problem]]:
    contents, problems = read_folder(folder)
    if not contents.tables and not any(contents.documents.values()):
        problems.append(Problem(str(folder), 0, "", "holds no file of a register"))
    return contents, problems


def _lock(db: Connection) -> None:
    """Let one importer at a time read and write: the row's write lock, on either database."""
    db.execute(update(REVISION).values(number=REVISION.c.number))


def _rows(db: Connection) -> dict[str, list[Row]]:
    return {
        name: [dict(row) for row in db.execute(select(table)).mappings()]
        for name, table in ROWS.items()
    }


def _documents(db: Connection) -> dict[str, str]:
    return {row.path: row.text for row in db.execute(select(DOCUMENTS))}


def _merged(rows: Mapping[str, Sequence[Row]], contents: Contents) -> dict[str, Sequence[Line]]:
    """Return the tables as they will be: the folder's, else the database's."""
    return {
        name: contents.tables[name]
        if name in contents.tables
        else [Line(f"{name}.csv (in the database)", 0, row) for row in rows[name]]
        for name in TABLES
    }


def _merged_texts(kept: Mapping[str, str], contents: Contents) -> dict[str, str]:
    """Return the documents as they will be, path -> text."""
    others = {
        path: text
        for path, text in kept.items()
        if path.partition("/")[0] not in contents.documents
    }
    return others | contents.texts


def _apply(
    db: Connection, rows: Mapping[str, Sequence[Row]], contents: Contents, *, write: bool
) -> Iterator[Change]:
    """Make the database equal to what the folder says, yielding each change."""
    for name, lines in contents.tables.items():
        table = TABLES[name]
        old = {table.key_of(row): row for row in rows[name]}
        new = {table.key_of(line.row): line.row for line in lines}
        changed = _changed(old, new)
        if write:
            columns = [table.column(column).stored_as for column in table.key]
            _replace(db, ROWS[name], columns, old, new, changed)
        for key in changed:
            before, after = (
                None if r is None else table.texts(r) for r in (old.get(key), new.get(key))
            )
            texts = after or before or {}
            yield Change(name, {column: texts[column] for column in table.key}, before, after)
    kept = _documents(db)
    told = contents.texts
    old_texts = {
        (path,): {"path": path, "text": text}
        for path, text in kept.items()
        if path.partition("/")[0] in contents.documents
    }
    new_texts = {(path,): {"path": path, "text": text} for path, text in told.items()}
    changed = _changed(old_texts, new_texts)
    if write:
        _replace(db, DOCUMENTS, ["path"], old_texts, new_texts, changed)
    for key in changed:
        yield Change(_DOCUMENTS, {"path": key[0]}, old_texts.get(key), new_texts.get(key))


Key = tuple[Any, ...]


def _changed(old: Mapping[Key, Row], new: Mapping[Key, Row]) -> list[Key]:
    """Return the keys of rows added, altered or removed, in order."""
    return sorted(
        key
        for key in old.keys() | new.keys()
        if key not in old or key not in new or old[key] != new[key]
    )


def _replace(
    db: Connection,
    table: Table,
    key_columns: Sequence[str],
    old: Mapping[Key, Row],
    new: Mapping[Key, Row],
    changed: Iterable[Key],
) -> None:
    keys = list(changed)
    gone = [
        {f"key_{column}": value for column, value in zip(key_columns, key, strict=True)}
        for key in keys
        if key in old
    ]
    come = [dict(new[key]) for key in keys if key in new]
    if gone:
        matches = (table.c[column] == bindparam(f"key_{column}") for column in key_columns)
        db.execute(delete(table).where(*matches), gone)
    if come:
        db.execute(insert(table), come)


def _record(change: Change, author: str, note: str, now_ms: int) -> dict[str, object]:
    return {
        "time_ms": now_ms,
        "author": author,
        "note": note,
        "table_name": change.table,
        "row_key": change.key,
        "before": change.before,
        "after": change.after,
    }
