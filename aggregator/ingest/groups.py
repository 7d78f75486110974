"""Batches that wait to be committed together: the live ones, and the late ones of each site."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aggregator.config import PaceSection
from aggregator.ingest.assemble import Arrival
from contract.topics import Address


@dataclass(slots=True)
class _Group:
    since: float = 0.0
    """Monotonic time of the first one [s]."""
    latest: float = 0.0
    """Monotonic time of the last one [s]."""
    readings: int = 0
    arrivals: list[Arrival] = field(default_factory=list)

    def add(self, arrival: Arrival, now: float) -> None:
        if not self.arrivals:
            self.since = now
        self.latest = now
        self.arrivals.append(arrival)
        self.readings += len(arrival)


class Groups:
    """Owned by the pipeline's thread. Times are monotonic [s] and arguments."""

    def __init__(self, pace: PaceSection) -> None:
        self._pace = pace
        self._prompt = _Group()
        self._late: dict[tuple[str, str], _Group] = {}
        self._due = _Group()
        """Late batches of sites that need wait no longer."""
        self._waiting: set[tuple[int, int]] = set()
        """(source, seq) of batches that are in a group, or were taken out and not forgotten."""

    def __contains__(self, batch: tuple[int, int]) -> bool:
        return batch in self._waiting

    def add(self, address: Address, arrival: Arrival, now: float, *, late: bool) -> None:
        """Let a batch wait for its commit."""
        self._waiting.add((arrival.source, arrival.seq))
        site = (address.region, address.site)
        group = self._late.setdefault(site, _Group()) if late else self._prompt
        group.add(arrival, now)

    def forget(self, arrival: Arrival) -> None:
        """A batch has been committed."""
        self._waiting.discard((arrival.source, arrival.seq))

    @property
    def empty(self) -> bool:
        """Whether no batch waits."""
        return not (self._prompt.arrivals or self._due.arrivals or self._late)

    def waited_s(self, now: float) -> float:
        """Return how long the first of the live batches has waited [s]."""
        return now - self._prompt.since if self._prompt.arrivals else 0.0

    def prompt(self, now: float) -> Sequence[Arrival]:
        """Take out the live batches if they are due."""
        if not self._is_due(self._prompt, now):
            return ()
        group, self._prompt = self._prompt, _Group()
        return group.arrivals

    def late(self, now: float) -> Sequence[Arrival]:
        """Take out late batches that are due.

        Those of a site are when no more come, or have come for long enough. They are committed with
        those of other sites, as live ones are.
        """
        pace = self._pace
        for site, group in list(self._late.items()):
            if self._due.readings >= pace.commit_readings:
                break
            if (
                now - group.since >= pace.late_debounce_s
                or now - group.latest >= pace.late_quiet_s
                or group.readings >= pace.commit_readings
            ):
                del self._late[site]
                for arrival in group.arrivals:
                    self._due.add(arrival, now)
        if not self._is_due(self._due, now):
            return ()
        group, self._due = self._due, _Group()
        return group.arrivals

    def _is_due(self, group: _Group, now: float) -> bool:
        pace = self._pace
        waited = now - group.since >= pace.commit_ms / 1_000
        return bool(group.arrivals) and (waited or group.readings >= pace.commit_readings)

    def rest(self) -> Iterator[Sequence[Arrival]]:
        """Take out all that waits, due or not."""
        groups = [self._prompt, self._due, *self._late.values()]
        self._prompt, self._due, self._late = _Group(), _Group(), {}
        for group in groups:
            if group.arrivals:
                yield group.arrivals
