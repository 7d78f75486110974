"""Debian's influxd with the configuration that is shipped, in folders and on ports of a test."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulators.demo.processes import free_port
from tests.brokers import wait_for_port
from tests.influx import find_influxd
from tests.secure_broker import DEPLOY

SECRETS = ("admin", "nenghao", "grafana")


class DebianInflux:
    """Users and database are those that `influx-users` made."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.http, self.rpc = folder, free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        text = (DEPLOY / "debian" / "influxdb.conf").read_text("utf-8")
        changes = {
            "/var/lib/influxdb": str(folder),
            "127.0.0.1:8088": f"127.0.0.1:{self.rpc}",
            "127.0.0.1:8086": f"127.0.0.1:{self.http}",
        }
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        self.conf = folder / "influxdb.conf"
        self.conf.write_text(text, "utf-8")
        self.secrets = folder / "secrets"
        self.secrets.mkdir(exist_ok=True)
        for name in SECRETS:
            (self.secrets / f"influxdb-{name}").write_text(f"secret-of-{name}\n")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_influxd(), "-config", str(self.conf)], stderr=log, stdout=log
            )
        wait_for_port(self.http, self._process)

    def kill(self, how: int = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        self._process.wait(20)

    def users(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [DEPLOY / "debian" / "influx-users", self.url, self.secrets],
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip

    def password(self, user: str) -> str:
        return (self.secrets / f"influxdb-{user}").read_text().strip()


@contextmanager
def debian_influx(folder: Path) -> Iterator[DebianInflux]:
    server = DebianInflux(folder)
    server.start()
    try:
        done = server.users()
        assert done.returncode == 0, done.stderr
        yield server
    finally:
        server.kill()
