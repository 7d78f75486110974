"""What people say of meters, as the API takes it, and how it reaches the figures.

`LedgerWriter` may be called from any thread.
"""

import concurrent.futures
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from aggregator.facts import Facts, ToldEvent
from aggregator.ledger.meter_events import MeterEvent
from aggregator.restatements import Place, Restatement, Restatements

WAIT_S = 30.0
"""How long an answer waits for the figures to follow [s]."""

Amend = Callable[[str, str], Future[int]]
"""(region, site) -> how many intervals that changed: `Pipeline.amend`."""


@dataclass(frozen=True, slots=True)
class Said:
    """A word that is kept, and what the figures have made of it."""

    event: ToldEvent
    changed: int | None
    """Intervals that got other figures; None while that is under way."""


class LedgerWriter(Protocol):
    """Events and restatements. Errors: StoreError while the database is away."""

    def events(self, region: str, site: str) -> Sequence[ToldEvent]:
        """Return a site's events, the oldest word first, undone ones too."""
        ...

    def events_of(self, regions: Collection[str]) -> Sequence[ToldEvent]:
        """Return the events of all sites of some regions, the oldest word first."""
        ...

    def find(self, id_: int) -> ToldEvent | None:
        """Return an event, undone or not; None when there is no such event."""
        ...

    def restatements(
        self, places: Collection[Place], from_ms: int, to_ms: int, after: int, limit: int
    ) -> Mapping[int, Restatement]:
        """Return records of days that start in [from_ms, to_ms), by id: `Restatements.page`."""
        ...

    def tell(self, event: MeterEvent) -> Said:
        """Keep a checked event and let the figures follow it."""
        ...

    def undo(self, id_: int, author: str, why: str) -> Said | None:
        """Let an event stand no longer; None when there is no such event."""
        ...


class PipelineLedgerWriter:
    """LedgerWriter on the facts' database; the pipeline's thread brings the figures in line."""

    def __init__(
        self,
        facts: Facts,
        restatements: Restatements,
        amend: Amend,
        now_ms: Callable[[], int],
        wait_s: float = WAIT_S,
    ) -> None:
        self.events = facts.events
        self.events_of = facts.events_of
        self.find = facts.find
        self.restatements = restatements.page
        self._facts = facts
        self._amend = amend
        self._now_ms = now_ms
        self._wait_s = wait_s

    def tell(self, event: MeterEvent) -> Said:
        told = self._facts.tell(event, self._now_ms())
        return self._follow(told)

    def undo(self, id_: int, author: str, why: str) -> Said | None:
        told = self._facts.undo(id_, author, why, self._now_ms())
        return None if told is None else self._follow(told)

    def _follow(self, told: ToldEvent) -> Said:
        """Wait for the figures; what is not done in time, or before the end, is done later."""
        done = self._amend(told.event.region, told.event.site)
        try:
            failed = done.exception(self._wait_s)
        except (TimeoutError, concurrent.futures.CancelledError):
            return Said(told, None)
        return Said(told, None if failed else done.result())
