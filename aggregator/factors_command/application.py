"""What `nenghao factors apply` does: opens what an aggregator is made of, and restates.

The command owns the store for the time it runs (`aggregator.owned`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aggregator import offline
from aggregator.basis import Basis
from aggregator.changes import Change
from aggregator.config import Config
from aggregator.events import Events
from aggregator.facts import Facts
from aggregator.refusals import NothingThereError
from aggregator.restate import Restater
from aggregator.restatements import Restatements
from aggregator.rollups import Rollups

_OWNER = "nenghao factors apply"


@dataclass(frozen=True, slots=True)
class Application:
    """A store that is ours for now, and the set that is to be applied to it."""

    restater: Restater
    restatements: Restatements
    rollups: Rollups
    set_name: str
    facts: Facts
    bases: Mapping[str, Basis]
    """By site what the set's measures are made with."""
    behind: set[str] = field(default_factory=set)
    """Sites that `apply` found to have other measures outside what it was asked for."""

    def sites(self, site: str | None) -> Sequence[tuple[str, str]]:
        """Return the (region, site) pairs asked for; NothingThereError when there is none."""
        found = [pair for pair in self.restater.sites() if site in (None, pair[1])]
        if not found:
            what = f"no figures of site {site}" if site else "the store holds no figures"
            raise NothingThereError(what)
        return found

    def plan(self, site: str | None, from_ms: int, to_ms: int, now_ms: int) -> Iterator[Change]:
        """Say what would change."""
        return self.restater.plan(self.sites(site), from_ms, to_ms, now_ms)

    def apply(
        self, site: str | None, from_ms: int, to_ms: int, now_ms: int, why: str
    ) -> Iterator[Change]:
        """Change it; then note the sites all of whose measures are the set's now."""
        chosen = self.sites(site)
        yield from self.restater.apply(
            chosen,
            from_ms,
            to_ms,
            now_ms,
            restatements=self.restatements,
            rollups=self.rollups,
            cause=f"factors {self.set_name}",
            why=why,
        )
        low_ms, high_ms = self.restater.extent(chosen)
        for outside in ((low_ms, min(from_ms, high_ms)), (max(to_ms, low_ms), high_ms)):
            self.behind.update(one.site for one in self.restater.plan(chosen, *outside, now_ms))
        done = {pair[1] for pair in chosen} - self.behind
        self.facts.put_bases({one: self.bases[one] for one in sorted(done & self.bases.keys())})


@contextmanager
def opened(
    config: Config, set_name: str, events: Events, *, read_only: bool
) -> Iterator[Application]:
    """Open the store of a configuration for one run; StoreOwned while an aggregator has it."""
    with offline.opened(config, _OWNER, events, set_name, read_only=read_only) as parts:
        restater = Restater(parts.store, parts.measures)
        yield Application(
            restater, parts.restatements, parts.rollups, set_name, parts.facts, parts.bases
        )


@dataclass(slots=True)
class Total:
    """All that changes in one measure of one site."""

    channels: set[tuple[str, str]] = field(default_factory=set)
    days: set[int] = field(default_factory=set)
    settled: int = 0
    """Days of channels that leave a restatement record."""
    intervals: int = 0
    before: float = 0.0
    """Over the changed days that were determined."""
    after: float = 0.0
    undetermined_before: int = 0
    undetermined_after: int = 0

    def add(self, change: Change) -> None:
        """Take one channel's day."""
        self.channels.add((change.meter, change.channel))
        self.days.add(change.day_ms)
        self.settled += change.settled
        self.intervals += change.intervals
        self.before += change.from_value or 0.0
        self.after += change.to_value or 0.0
        self.undetermined_before += change.from_value is None
        self.undetermined_after += change.to_value is None


def totals(changes: Iterable[Change]) -> dict[tuple[str, str], Total]:
    """Sum changes by (site, measure)."""
    found: dict[tuple[str, str], Total] = defaultdict(Total)
    for change in changes:
        found[change.site, change.measure].add(change)
    return dict(sorted(found.items()))
