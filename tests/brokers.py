"""Real brokers for tests, each on a free port: Debian's mosquitto and iotcore from its wheel."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from simulators.demo.processes import free_port
from tests.conftest import require_server

START_S = 10.0

MOSQUITTO_CONF = """\
listener {port} 127.0.0.1
persistence false
max_inflight_messages 2000
max_queued_messages 0
max_queued_bytes 268435456
set_tcp_nodelay true
log_type error
"""


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once something listens; AssertionError when nothing does in time."""
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process is None or process.poll() is None, "the broker ended at once"
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.02)  # a port gives no event to wait for


def _open_to_all(extra: str) -> str:
    return extra if "allow_anonymous" in extra else f"allow_anonymous true\n{extra}"


class Mosquitto:
    """One mosquitto process with a configuration of ours; may be killed and started again."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.port = free_port()
        self._program = require_server("mosquitto")
        self._conf = folder / "mosquitto.conf"
        self._conf.write_text(MOSQUITTO_CONF.format(port=self.port) + _open_to_all(extra))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._conf)], stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        """SIGKILL: sessions, queue and retained messages are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def mosquitto_broker(folder: Path, extra: str = "") -> Iterator[Mosquitto]:
    """Debian's mosquitto, running; `extra` is added to its configuration."""
    broker = Mosquitto(folder, extra)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@contextlib.contextmanager
def iotcore_broker() -> Iterator[tuple[str, int]]:
    """The demo's embedded broker; yields host and port."""
    import iotcore

    port = free_port()
    with iotcore.Broker(port=port, listen="127.0.0.1"):
        wait_for_port(port)
        yield "127.0.0.1", port
