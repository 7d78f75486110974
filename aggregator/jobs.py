"""What other threads ask of the pipeline's: done between commits, the asker waits for a future."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from aggregator.points import Points


@dataclass(frozen=True, slots=True)
class AmendSite:
    """Bring a site's figures in line with what is declared; how many intervals that changed."""

    region: str
    site: str
    done: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class WritePoints:
    """Make and write points of a dashboard's measurement; how many."""

    make: Callable[[], Points]
    done: Future[int] = field(default_factory=Future)


Job = AmendSite | WritePoints


class Jobs:
    """Safe from any thread. After `end` whatever waits or comes is cancelled."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Take what wakes the thread that does them."""
        self._wake = wake
        self._waiting: SimpleQueue[Job] = SimpleQueue()
        self._ended = threading.Event()

    def ask(self, job: Job) -> Future[int]:
        """Let a job wait for its turn."""
        self._waiting.put(job)
        self._wake()
        if self._ended.is_set():
            self._cancel()
        return job.done

    def take(self) -> Iterator[Job]:
        """Yield what waits, until nothing does."""
        with contextlib.suppress(Empty):
            while True:
                yield self._waiting.get_nowait()

    def __bool__(self) -> bool:
        return not self._waiting.empty()

    def end(self) -> None:
        """Cancel what waits, and what comes from now on."""
        self._ended.set()
        self._cancel()

    def _cancel(self) -> None:
        for job in self.take():
            job.done.cancel()
