"""Starts and stops the demo's processes: own sessions, logs in files, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

KILL_AFTER_S = 5.0
LOG_TAIL_BYTES = 2000
LISTENING_PORTS = range(10_000, 32_768)
OnLine = Callable[[str], None]
"""Gets each line that a child writes to stdout."""


class ProcessFailedError(RuntimeError):
    """A part of the demo ended or did not become ready; the message shows the end of its log."""


@dataclass(slots=True)
class Child:
    """One running part. on_line: gets what it writes to stdout; else that goes to the log."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    reader: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def log_tail(self) -> str:
        """The last lines of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()


class Processes:
    """All children of one run.

    Each child has its own session, so that Ctrl-C in the terminal reaches the conductor alone,
    which then ends the children in order; and each ends with its parent (`child.py`).
    """

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._children: list[Child] = []

    async def start(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        on_line: OnLine | None = None,
    ) -> Child:
        """Start `python -m module arguments`; its log is <name>.log in the log folder.

        With "--" for a module the first argument is the path of another program.
        """
        self._log_folder.mkdir(parents=True, exist_ok=True)
        log = self._log_folder / f"{name}.log"
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "simulators.demo.child",
                str(os.getpid()),
                module,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if on_line else file,
                stderr=file,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        if on_line is not None and process.stdout is not None:
            child.reader = asyncio.create_task(_read_lines(process.stdout, on_line))
        return child

    async def finish(self, child: Child) -> None:
        """Wait until a child has done its work; ProcessFailedError when it did not end well."""
        code = await child.process.wait()
        if child.reader is not None:
            await child.reader
        if code != 0:
            raise ProcessFailedError(f"{child.name} ended with {code}:\n{child.log_tail()}")

    async def until_ready(
        self, child: Child, is_ready: Callable[[], Awaitable[bool]], timeout_s: float
    ) -> None:
        """Wait until a child is ready; ProcessFailedError when it ends first or takes too long."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not await is_ready():
            if not child.running:
                raise ProcessFailedError(f"{child.name} ended:\n{child.log_tail()}")
            if asyncio.get_running_loop().time() > deadline:
                raise ProcessFailedError(
                    f"{child.name} is not ready after {timeout_s:g} s:\n{child.log_tail()}"
                )
            await asyncio.sleep(0.05)

    def check_running(self, children: Sequence[Child]) -> None:
        """ProcessFailedError when one of them has ended."""
        for child in children:
            if not child.running:
                code = child.process.returncode
                raise ProcessFailedError(f"{child.name} ended with {code}:\n{child.log_tail()}")

    async def stop(self, children: Sequence[Child], timeout_s: float) -> None:
        """SIGTERM to all of them at once; what still runs after the timeout is killed."""
        for child in children:
            _signal(child, signal.SIGTERM)
        await _wait_all(children, timeout_s)
        for child in children:
            _signal(child, signal.SIGKILL)
        await _wait_all(children, KILL_AFTER_S)

    async def stop_all(self, timeout_s: float = KILL_AFTER_S) -> None:
        """Stop everything that still runs, in no order: whoever needed order has stopped before."""
        await self.stop(list(reversed(self._children)), timeout_s)


async def _read_lines(stream: asyncio.StreamReader, on_line: OnLine) -> None:
    while line := await stream.readline():
        on_line(line.decode(errors="replace").rstrip())


def _signal(child: Child, number: signal.Signals) -> None:
    if child.running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.process.pid, number)


async def _wait_all(children: Sequence[Child], timeout_s: float) -> None:
    waits = [asyncio.ensure_future(child.process.wait()) for child in children if child.running]
    if waits:
        _, pending = await asyncio.wait(waits, timeout=timeout_s)
        for wait in pending:
            wait.cancel()


def free_port() -> int:
    """A TCP port on the loopback that nobody listens on just now.

    It lies below the range from which systems take the ports of outgoing connections (from 32768
    on Linux, from 49152 elsewhere): what listens there later finds it free still, however many
    connections were opened between.
    """
    # The system's own generator: a program that seeds the shared one must not repeat the ports.
    for port in random.SystemRandom().sample(LISTENING_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("a hundred ports between 10000 and 32767 are all taken on the loopback")


async def listens(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
