"""What backup.sh saves of running servers, restore.sh puts back."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from aggregator.access import TokenRole
from aggregator.register.database import RegisterDatabase
from aggregator.register.engine import sqlite_file
from aggregator.store.embedded import EmbeddedStore
from aggregator.store.influx1 import Influx1Store
from aggregator.tokens import Tokens
from contract.stored import Level
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, QUARTER_MS, build
from tests.debian_influx import DebianInflux, debian_influx
from tests.postgres import postgres_server
from tests.register_example import example, write_folder
from tests.secure_broker import DEPLOY

__all__ = ["postgres_server"]


def run(
    script: str, *arguments: object, **environment: object
) -> "subprocess.CompletedProcess[str]":
    postgres = ":".join(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))
    return subprocess.run(
        [DEPLOY / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=90,
        env=os.environ
        | {"PATH": f"{os.environ['PATH']}:{postgres}", "NENGHAO_STORE": "none", "NENGHAO_ETC": ""}
        | {name: str(value) for name, value in environment.items()},
    )


def saved(folder: Path, **environment: object) -> Path:
    done = run("backup.sh", folder, **environment)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.strip())
    assert made.is_dir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == [made.name]  # nothing half-made beside it
    return made


def restored(backup: Path, **environment: object) -> None:
    done = run("restore.sh", backup, "--yes", **environment)
    assert done.returncode == 0, done.stderr


def registered(url: URL, folder: Path) -> dict[str, str]:
    """The register as it would be exported."""
    shutil.rmtree(folder, ignore_errors=True)
    with RegisterDatabase(url) as database:
        database.open()
        database.export_folder(folder)
    return {str(one.relative_to(folder)): one.read_text("utf-8") for one in folder.rglob("*.*")}


def fill(url: URL, folder: Path) -> None:
    with RegisterDatabase(url) as database:
        database.open()
        database.import_folder(write_folder(folder, example()), author="a", now_ms=1)
    tokens = Tokens(url)
    tokens.add("s", "kept", TokenRole.MACHINE, everything=True, author="a", now_ms=1)
    tokens.close()


def empty(url: URL) -> None:
    tokens = Tokens(url)
    with tokens._engine.begin() as db:
        for table in ("meters", "sites", "token"):
            db.exec_driver_sql(f"DELETE FROM {table}")
    tokens.close()


def names(url: URL) -> list[str]:
    tokens = Tokens(url)
    try:
        return [one.name for one in tokens.grants()]
    finally:
        tokens.close()


def test_a_register_in_sqlite_is_saved_while_it_is_written_and_comes_back(tmp_path: Path) -> None:
    url = sqlite_file(tmp_path / "data" / "records.sqlite")
    (tmp_path / "data").mkdir()
    fill(url, tmp_path / "folder")
    before = registered(url, tmp_path / "export")
    with sqlite3.connect(tmp_path / "data" / "records.sqlite") as writer:
        writer.execute("INSERT INTO documents VALUES ('x.toml', 'not committed')")
        backup = saved(tmp_path / "backups", NENGHAO_DATA=tmp_path / "data")
        writer.rollback()
    writer.close()
    empty(url)
    assert registered(url, tmp_path / "export") != before
    restored(backup, NENGHAO_DATA=tmp_path / "data")
    assert registered(url, tmp_path / "export") == before
    assert names(url) == ["kept"]


@pytest.mark.postgres
def test_a_register_in_postgresql_comes_back(tmp_path: Path, postgres_server) -> None:
    url = postgres_server.url(postgres_server.new_database())
    fill(url, tmp_path / "folder")
    before = registered(url, tmp_path / "export")
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {"NENGHAO_DATA": tmp_path, "NENGHAO_DATABASE": plain}
    backup = saved(tmp_path / "backups", **settings)
    assert not (backup / "records.sqlite").exists()
    empty(url)
    assert names(url) == []
    restored(backup, **settings)
    assert registered(url, tmp_path / "export") == before
    assert names(url) == ["kept"]


@pytest.fixture
def server(tmp_path) -> Iterator[DebianInflux]:
    with debian_influx(tmp_path / "influxdb") as server:
        yield server


@pytest.mark.influxdb
def test_a_ledger_in_influxdb_comes_back_beside_register_and_secrets(
    tmp_path: Path, server: DebianInflux
) -> None:
    def points(statement: str) -> object:
        store = Influx1Store(
            server.url, "nenghao", QUARTER_MS, user="nenghao", password=server.password("nenghao")
        )
        store.open()
        try:
            return list(store._select(statement))
        finally:
            store.close()

    store = Influx1Store(
        server.url, "nenghao", QUARTER_MS, user="nenghao", password=server.password("nenghao")
    )
    store.open()
    lines = "\n".join(f"interval,site=a amount={n}i {n * 900_000}" for n in range(5000))
    store._write(lines.encode(), "ms")
    store.close()
    url = sqlite_file(tmp_path / "data" / "records.sqlite")
    (tmp_path / "data").mkdir()
    fill(url, tmp_path / "folder")
    etc = tmp_path / "etc"
    shutil.copytree(server.secrets, etc / "secrets")
    (etc / "aggregator.toml").write_text("[aggregator]\n")

    settings = {
        "NENGHAO_STORE": "influx1", "NENGHAO_RPC": f"127.0.0.1:{server.rpc}",
        "NENGHAO_INFLUX": server.url, "NENGHAO_DATA": tmp_path / "data", "NENGHAO_ETC": etc,
    }  # fmt: skip
    before = points('SELECT sum("amount") AS s, count("amount") AS n FROM "interval"')
    backup = saved(tmp_path / "backups", **settings)
    more = Influx1Store(
        server.url, "nenghao", QUARTER_MS, user="nenghao", password=server.password("nenghao")
    )
    more._write(b"interval,site=a amount=7i 1", "ms")
    more.close()
    (etc / "aggregator.toml").write_text("lost")
    empty(url)
    restored(backup, **settings)
    assert server.users().returncode == 0
    assert points('SELECT sum("amount") AS s, count("amount") AS n FROM "interval"') == before
    assert (etc / "aggregator.toml").read_text() == "[aggregator]\n"
    assert names(url) == ["kept"]


def test_an_embedded_store_is_saved_when_nobody_owns_it_and_comes_back(tmp_path: Path) -> None:
    ledger = build(tmp_path / "first")
    data = tmp_path / "first"
    (data / "store.duckdb").rename(data / "ledger.duckdb")
    (data / "store.duckdb.lock").rename(data / "ledger.duckdb.lock")
    fill(sqlite_file(data / "records.sqlite"), tmp_path / "folder")
    settings = {"NENGHAO_STORE": "embedded", "NENGHAO_DATA": data}
    refused = run("backup.sh", tmp_path / "backups", **settings)
    assert refused.returncode == 1
    assert list((tmp_path / "backups").iterdir()) == []
    ledger.store.close()
    wal = data / "store.duckdb.wal"
    if wal.exists():
        wal.rename(data / "ledger.duckdb.wal")

    def figures() -> int:
        store = EmbeddedStore(data / "ledger.duckdb", QUARTER_MS)
        store.open()
        try:
            reader = store.reader()
            series = list(range(len(store.directory.series)))
            import numpy as np

            found = reader.intervals(
                Level.INTERVAL, np.array(series, np.int32), MIDNIGHT_MS, NOON_MS
            )
            reader.close()
            return int(found.amount.sum())
        finally:
            store.close()

    before = figures()
    assert before > 0
    backup = saved(tmp_path / "backups", **settings)
    (data / "ledger.duckdb").write_bytes(b"broken")
    restored(backup, **settings)
    assert figures() == before
    owner = EmbeddedStore(data / "ledger.duckdb", QUARTER_MS)
    owner.open()
    refused = run("restore.sh", backup, "--yes", **settings)
    owner.close()
    assert (refused.returncode, "stop it first" in refused.stderr) == (1, True)


def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    url = sqlite_file(tmp_path / "data" / "records.sqlite")
    fill(url, tmp_path / "folder")
    backup = saved(tmp_path / "backups", NENGHAO_DATA=tmp_path / "data")
    with (backup / "records.sqlite").open("r+b") as file:
        file.seek(5000)
        file.write(b"xxxx")
    empty(url)
    refused = run("restore.sh", backup, "--yes", NENGHAO_DATA=tmp_path / "data")
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert names(url) == []
    for arguments in ([backup], [tmp_path, "--yes"], [backup, "yes"]):
        assert run("restore.sh", *arguments, NENGHAO_DATA=tmp_path / "data").returncode != 0


def test_what_cannot_be_saved_leaves_nothing_that_looks_like_a_backup(tmp_path: Path) -> None:
    for settings in (
        {"NENGHAO_DATA": tmp_path / "nowhere"},
        {"NENGHAO_STORE": "influx1", "NENGHAO_RPC": "127.0.0.1:1"},
        {"NENGHAO_STORE": "other"},
    ):
        refused = run("backup.sh", tmp_path / "backups", **settings)
        assert refused.returncode == 1, settings
        assert refused.stderr
        assert list((tmp_path / "backups").iterdir()) == []
