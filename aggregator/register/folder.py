"""The register as a folder of plain files: a CSV file per table (UTF-8), and TOML documents.

sites.csv and meters.csv make a register; the other files of `aggregator.register.tables` may stand
beside them. TOML documents (factors/, tariffs/ ...) are kept as they are, one folder deep.

Reading tells every problem of all files at once, each with file, line and column, so that a
spreadsheet is mended in one go. Writing gives the normal form: rows by key, columns in their order,
one spelling per value, no column of `extra` kind that is empty throughout.
"""

import csv
import io
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregator.register.build import build_register
from aggregator.register.checks import check
from aggregator.register.dated import Line
from aggregator.register.model import Register
from aggregator.register.problems import Problem, RegisterError
from aggregator.register.tables import REQUIRED, TABLES, Row, Table

__all__ = [
    "Contents",
    "Problem",
    "RegisterError",
    "load_folder",
    "read_folder",
    "read_row",
    "write_folder",
]

_DOCUMENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}\.toml")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds, cell by cell in order, rows not yet compared with each other."""

    tables: Mapping[str, Sequence[Line]]
    """By name; a table whose file is absent is absent here."""
    documents: Mapping[str, Mapping[str, str]]
    """Folder -> path (factors/own.toml) -> text; a folder that is absent is absent here."""

    @property
    def texts(self) -> dict[str, str]:
        """All documents, path -> text."""
        return {path: text for files in self.documents.values() for path, text in files.items()}


Judge = Callable[[Mapping[str, Sequence[Line]], Mapping[str, str]], Sequence[Problem]]
"""Says what is wrong with good tables beside documents, path -> text."""


def load_folder(folder: Path, judge: Judge | None = None) -> Register:
    """Return the register of a folder; RegisterError lists everything wrong with it."""
    contents, problems = read_folder(folder)
    missing = [name for name in REQUIRED if not (folder / TABLES[name].file).exists()]
    problems += [Problem(TABLES[name].file, 0, "", "missing") for name in missing]
    problems += check(contents.tables)
    if judge is not None and not problems:
        problems += judge(contents.tables, contents.texts)
    if problems:
        raise RegisterError(problems)
    return build_register(
        {name: [line.row for line in lines] for name, lines in contents.tables.items()}
    )


def read_folder(folder: Path) -> tuple[Contents, list[Problem]]:
    """Return what a folder holds and what is wrong inside its files; OSError as it comes."""
    problems: list[Problem] = []
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    known = [table.file for table in TABLES.values()]
    problems += [
        Problem(name, 0, "", f"unknown file; known: {', '.join(known)}")
        for name in names
        if name.endswith(".csv") and name not in known
    ]
    tables = {
        table.name: list(_lines(folder / table.file, table, problems))
        for table in TABLES.values()
        if table.file in names
    }
    return Contents(tables, _documents(folder, problems)), problems


def write_folder(
    folder: Path, tables: Mapping[str, Iterable[Row]], documents: Mapping[str, str]
) -> None:
    """Write a register into a folder, over what stands there.

    No file is removed: a table without rows leaves a file with its header where there is one, and
    a document of the folder that the register does not hold is a RegisterError, before anything is
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {path: text.encode() for path, text in documents.items()}
    directories = {path.partition("/")[0] for path in documents}
    strange = [
        Problem(path, 0, "", "is not in the register; move it away")
        for directory in sorted(directories)
        for path in _document_paths(folder, directory)
        if path not in documents
    ]
    if strange:
        raise RegisterError(strange)
    for table in TABLES.values():
        rows = sorted(tables.get(table.name, ()), key=table.key_of)
        if rows or table.name in REQUIRED or (folder / table.file).exists():
            files[table.file] = _csv_text(table, rows).encode()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)


def _csv_text(table: Table, rows: Sequence[Row]) -> str:
    texts = [table.texts(row) for row in rows]
    names = [c.name for c in table.columns if not c.extra or any(row[c.name] for row in texts)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in texts)
    return text.getvalue()


def _document_paths(folder: Path, directory: str) -> list[str]:
    return sorted(f"{directory}/{path.name}" for path in (folder / directory).glob("*.toml"))


def _documents(folder: Path, problems: list[Problem]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    if not folder.is_dir():
        return found
    directories = [path.name for path in folder.iterdir() if path.is_dir()]
    for directory in sorted(directories):
        found[directory] = {}
        for path in _document_paths(folder, directory):
            if not _DOCUMENT.fullmatch(path):
                problems.append(Problem(path, 0, "", "name other than a-z, 0-9, '.', '_' and '-'"))
                continue
            try:
                text = (folder / path).read_bytes().decode()
                tomllib.loads(text)
            except UnicodeDecodeError as error:
                problems.append(Problem(path, 0, "", f"not UTF-8 at byte {error.start}"))
            except tomllib.TOMLDecodeError as error:
                problems.append(Problem(path, 0, "", str(error)))
            else:
                found[directory][path] = text
    return found


def _lines(path: Path, table: Table, problems: list[Problem]) -> Iterator[Line]:
    try:
        text = path.read_text("utf-8-sig")  # spreadsheets write the mark
    except UnicodeDecodeError as error:
        problems.append(Problem(table.file, 0, "", f"not UTF-8 at byte {error.start}"))
        return
    if "\0" in text:  # SQLite would keep it, PostgreSQL would not
        number = text.count("\n", 0, text.index("\0")) + 1
        problems.append(Problem(table.file, number, "", "holds a NUL character"))
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if wrong := _wrong_header(header, table):
            problems.extend(Problem(table.file, 1, column, reason) for column, reason in wrong)
            return
        number = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) == len(header):
                    named = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
                    yield Line(table.file, number, read_row(table, number, named, problems))
                else:
                    reason = f"{len(cells)} cells where the header has {len(header)}"
                    problems.append(Problem(table.file, number, "", reason))
            number = reader.line_num + 1  # a cell may hold line breaks
    except csv.Error as error:
        problems.append(Problem(table.file, reader.line_num, "", str(error)))


def _wrong_header(header: Sequence[str], table: Table) -> list[tuple[str, str]]:
    names = [column.name for column in table.columns]
    wanted = [column.name for column in table.columns if not column.extra]
    wrong = [(name, "missing column") for name in wanted if name not in header]
    wrong += [(name, "unknown column") for name in header if name not in names]
    wrong += [(name, "column stands twice") for name in names if header.count(name) > 1]
    return wrong


def read_row(table: Table, number: int, cells: Mapping[str, str], problems: list[Problem]) -> Row:
    """Return a row of its cells by column; what is wrong with one is added to the problems."""
    row = {}
    for column in table.columns:
        try:
            row[column.stored_as] = column.cell.read(cells.get(column.name, ""))
        except ValueError as error:
            problems.append(Problem(table.file, number, column.name, str(error)))
    return row
