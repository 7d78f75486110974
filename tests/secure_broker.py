"""Debian's mosquitto with the configuration that is shipped, and the authority it trusts."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulators.demo.processes import free_port
from tests.brokers import wait_for_port
from tests.conftest import require_server

DEPLOY = Path(__file__).parent.parent / "deploy"


class Authority:
    """`deploy/ca` with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run("init", folder)

    def run(self, action: str, *arguments: object, fails: bool = False) -> str:
        done = subprocess.run(
            [DEPLOY / "ca", action, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout + done.stderr

    def edge(self, out: Path, name: str) -> Path:
        """Give an edge, region/site/edge, its certificate; return the folder."""
        self.run("edge", self.folder, out, *name.split("/"))
        return out

    def client(self, out: Path, name: str) -> Path:
        self.run("client", self.folder, out, name)
        return out

    def past(self, out: Path, name: str) -> Path:
        """Give an edge a certificate that ended in 2020."""
        self.edge(out, name)
        request = out / "request.pem"
        subprocess.run(
            ["openssl", "req", "-new", "-key", out / "key.pem", "-subj",
             "/CN=" + name.replace("/", "\\/"), "-out", request],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        subprocess.run(
            ["openssl", "ca", "-config", self.folder / "openssl.cnf", "-batch", "-notext",
             "-rand_serial", "-extensions", "client_ext", "-startdate", "20190101000000Z",
             "-enddate", "20200101000000Z", "-in", request, "-out", out / "cert.pem"],
            check=True, capture_output=True, timeout=60, env=os.environ | {"NAMES": ""},
        )  # fmt: skip
        return out


class SecureBroker:
    """One mosquitto, started as the stack starts it, but for port and user."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.port = folder, free_port()
        self._program = require_server("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(DEPLOY / "mosquitto", folder)
        (folder / "data").mkdir()
        conf = folder / "mosquitto.conf"
        text = conf.read_text("utf-8")
        assert text.count("listener 8883\n") == 1
        # root would become the user mosquitto, who may not read a test's folder
        changed = f"user root\nsys_interval 1\nlistener {self.port} 127.0.0.1\n"
        conf.write_text(text.replace("listener 8883\n", changed), "utf-8")
        authority.run("server", authority.folder, folder / "tls", "127.0.0.1", "localhost")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", "mosquitto.conf"], cwd=self.folder, stderr=log
            )
        wait_for_port(self.port, self._process)

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def wait_log(self, text: str) -> None:
        deadline = time.monotonic() + 10
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.log}"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@contextmanager
def secure_broker(folder: Path, authority: Authority) -> Iterator[SecureBroker]:
    broker = SecureBroker(folder, authority)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
