"""Loaded sites: their stored figures are kept in line with what is declared of their meters.

A site is loaded when its first readings come, or when someone asks for its figures. What differs
then, or is declared later, is made anew a piece at a time: between two pieces the pipeline commits
what came meanwhile. Owned by the pipeline's thread.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial

from aggregator.amendments import Amendments
from aggregator.batch import IntervalColumns, ReadingColumns
from aggregator.book import Book
from aggregator.directory import SeriesKey
from aggregator.events import AmendmentFailed, ChannelRefused, Counter, Events
from aggregator.releases import Releases
from aggregator.rollups import Rollups
from aggregator.store.base import Commit, StoreError
from aggregator.writer import Stopped, Writer

_REPAIR_S = 3_600.0
"""Between two tries to make a refused channel's figures."""


@dataclass(slots=True)
class _Amendment:
    """Figures of a site that are brought in line with what is declared."""

    region: str
    site: str
    pieces: Iterator[int]
    """Does a piece each time; how many intervals that changed."""
    done: Future[int]
    changed: int = 0
    before: "_Amendment | None" = None
    """What the same job began first."""


class Sites:
    """The sites in memory, and what of them is under way."""

    def __init__(
        self,
        *,
        writer: Writer,
        book: Book,
        amendments: Amendments,
        rollups: Rollups,
        releases: Releases,
        events: Events,
        time_ms: Callable[[], int],
    ) -> None:
        self._writer = writer
        self._book = book
        self._amendments = amendments
        self._rollups = rollups
        self._releases = releases
        self._events = events
        self._time_ms = time_ms
        self._loaded: set[tuple[str, str]] = set()
        """(region, site) whose heads are loaded and whose figures follow what is declared, or will
        when what is under way is done."""
        self._under_way: deque[_Amendment] = deque()
        self._repairs: dict[tuple[str, str], float] = {}
        """(region, site) with channels to be repaired -> when that is tried next [monotonic s]."""
        self._tried: dict[tuple[str, str], float] = {}
        """(region, site) -> when repairing was tried last [monotonic s]."""
        self._doubtful: set[SeriesKey] = set()
        """Channels told to be refused."""

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._loaded

    @property
    def busy(self) -> bool:
        """Whether figures are being made anew."""
        return bool(self._under_way)

    def load(self, region: str, site: str) -> "_Amendment | None":
        """Load a site's heads once, write what the store lacks, and begin to amend what differs.

        Returns that amendment; None: the site is loaded already.
        """
        if (region, site) in self._loaded:
            return None
        lacking = self._writer.insist(lambda: self._book.load_site(region, site))
        self.write(lacking, lambda: self._amendments.restate_loaded(region, site, lacking))
        found = self._writer.insist(
            lambda: self._book.integration.lacking(region, site, self._time_ms())
        )
        self.write(found, lambda: self._amendments.restate_loaded(region, site, found))
        self._rollups.made_sure(region, site)
        self.note_doubtful()
        amendment = self._amendment(region, site, Future())
        if not self._go_on(amendment):
            self._under_way.append(amendment)
        self._writer.insist(self._amendments.note_new)  # what the next event is compared with
        self._loaded.add((region, site))
        return amendment

    def amend(self, region: str, site: str, done: Future[int]) -> None:
        """Begin to bring a site's figures in line with its events; `done`: intervals changed.

        A long one takes its turns with readings. Cancelled when the pipeline ends first: the next
        start does it.
        """
        before = self.load(region, site)  # notes what figures follow until now
        amendment = self._amendment(region, site, done)
        amendment.before = before
        self._under_way.append(amendment)

    def work(self, now_s: float) -> None:
        """Begin what is due at a monotonic time, and do one piece of what is under way."""
        for place in self._releases.due():
            pieces = self._releases.of(*place)
            self._under_way.append(_Amendment(*place, pieces, Future()))
        for place in [place for place, due_s in self._repairs.items() if due_s <= now_s]:
            del self._repairs[place]
            self._tried[place] = now_s
            self._under_way.append(self._amendment(*place, Future()))
        if self._under_way and self._go_on(self._under_way[0]):
            self._under_way.popleft()

    def cancel(self) -> None:
        """Tell whoever waits that no more is done."""
        while self._under_way:
            done = self._under_way.popleft().done
            if not done.done():
                done.set_exception(CancelledError("the pipeline has ended"))

    def write(
        self, figures: IntervalColumns, restate: Callable[[], IntervalColumns] | None = None
    ) -> None:
        """Write intervals that come from readings in the store, and the verdicts there."""
        nothing = ReadingColumns.empty(cumulative=True)
        verdicts = self._writer.insist(lambda: self._book.verdicts(nothing))
        if len(figures) or verdicts:
            self._writer.commit(Commit.without_readings(figures, verdicts=verdicts), restate)

    def note_doubtful(self) -> None:
        """Put channels that the kernel refused on the list to be repaired; name each once."""
        for key, reason in self._writer.insist(self._amendments.doubtful):
            self._events.count(Counter.UNMADE)
            place = (key.region, key.site)
            again_s = self._tried.get(place, -_REPAIR_S) + _REPAIR_S
            self._repairs.setdefault(place, again_s)
            if key not in self._doubtful:
                self._doubtful.add(key)
                self._events.emit(ChannelRefused(*key, reason))

    def _amendment(self, region: str, site: str, done: Future[int]) -> _Amendment:
        return _Amendment(region, site, self._amended(region, site), done)

    def _amended(self, region: str, site: str) -> Iterator[int]:
        """Bring a site's figures in line with what is declared, a piece each time.

        Yields how many intervals a piece has changed. Between two pieces other readings, of these
        channels too, may be committed. When the store was away, it begins again: what is right by
        then is not written.
        """
        for figures in self._writer.each(partial(self._amendments.amend, region, site)):
            self.write(figures)
            self.note_doubtful()
            yield len(figures)
        yield from self._releases.of(region, site)

    def _go_on(self, amendment: _Amendment) -> bool:
        """Do one piece of an amendment; tell whether that was the last."""
        try:
            changed = next(amendment.pieces, None)
        except (Stopped, StoreError) as error:
            amendment.done.set_exception(error)
            raise
        except Exception as error:  # noqa: BLE001 - of one site: the others go on
            amendment.done.set_exception(error)
            reason = f"{type(error).__name__}: {error}"
            self._events.count(Counter.FAILED)
            self._events.emit(AmendmentFailed(amendment.region, amendment.site, reason))
            return True
        if changed is None:
            before = amendment.before.changed if amendment.before else 0
            amendment.done.set_result(before + amendment.changed)
            return True
        amendment.changed += changed
        return False
