"""Debian's PostgreSQL for tests: a cluster of its own on a free port, gone afterwards.

PostgreSQL refuses to run as root; then the user `postgres` of Debian's package runs it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from simulators.demo.processes import free_port

START_S = 30.0
PASSWORD = "of one test run: ü%@/:"


class PostgresServer:
    """A cluster with one user, who needs a password."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = Path(program).resolve()
        self._folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None
        self.port = free_port()
        self.password_file = folder / "password"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.password_file.write_text(PASSWORD + "\n", "utf-8")
        if self._user:
            shutil.chown(self._folder, self._user)
            shutil.chown(self.password_file, self._user)
        subprocess.run(
            [
                self._program.with_name("initdb"),
                *("--pgdata", self._folder / "data", "--username", "nenghao", "--no-sync"),
                *("--auth", "scram-sha-256", "--pwfile", self.password_file),
                *("--encoding", "UTF8", "--locale", "C"),
            ],
            user=self._user,
            cwd=self._folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    *("-D", self._folder / "data"),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                user=self._user,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._connect().close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        log_text = (self._folder / "log").read_text(errors="replace")
        pytest.fail(f"postgres did not start: {log_text[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # ends sessions, then the server
            self._process.wait(30)
            self._process = None

    def address(self, database: str) -> str:
        """Address without the password, as a configuration holds it."""
        return f"postgresql+psycopg://nenghao@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its name."""
        name = f"test_{uuid.uuid4().hex}"
        with self._connect() as db:
            db.execute(f'CREATE DATABASE "{name}"')
        return name

    def url(self, database: str) -> URL:
        return URL.create(
            "postgresql+psycopg",
            username="nenghao",
            password=PASSWORD,
            host="127.0.0.1",
            port=self.port,
            database=database,
        )

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="nenghao",
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )


@pytest.fixture(scope="session")
def postgres_server(postgres_program) -> Iterator[PostgresServer]:
    """One server for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="nenghao-postgres-"))  # pytest's folders are root's alone
    server = PostgresServer(postgres_program, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
