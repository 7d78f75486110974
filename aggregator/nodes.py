"""Stored figures of nodes, sites and regions: made of channels' figures of the same level.

One kernel for every level and measure: the figures of all sites at once, each multiplied by the
signs of its site's allocation (`aggregator.allocation`) and summed by node and period. A period in
which a tree or a role changes is made of shorter figures, as far down as needed. Since every figure
is put and taken in whole micro-units, a site is exactly the sum of its parts at every level.

Which tree and roles the stored figures follow is stored with them (`node_plan`): after a change
of the register, the months it concerns are made again (`Backlog`), and points of nodes that count
no longer stay as zeros.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.allocation import Allocation, NodeKey
from aggregator.batch import Int32, Int64, IntervalColumns
from aggregator.kernels.rollup import rollup, runs
from aggregator.node_rows import SUMMED, Rows, Weights
from aggregator.periods import first_start, level_with_borders
from aggregator.points import Points, Tags
from aggregator.register.limits import limit_targets
from aggregator.register.model import Register, Site
from aggregator.store.base import Store
from aggregator.tree import Tree
from contract.interval import DAY_MS, HOUR_MS, day_start, hour_start, month_start, next_month
from contract.stored import (
    GENERATION,
    INTEGER_FIELDS,
    MEASURE_FIELDS,
    NODE_FIGURES,
    OUT,
    TOTAL,
    UNALLOCATED,
    Level,
)

Place = tuple[str, str]
"""Region and site."""

_ALL_TIME_MS = 2**62
OF_REGIONS = (TOTAL, UNALLOCATED, GENERATION, OUT)


@dataclass(frozen=True)
class _Compiled:
    """An allocation of a site as columns."""

    digest: str
    """Tells it from others."""
    weights: Weights
    totals: Weights
    """Of them, those of the site's totals."""
    key: Int64
    """Of every node."""
    behind: Int64
    """How many meters stand behind each."""
    behind_of: Mapping[NodeKey, int]
    """The same by name."""
    bought: Mapping[tuple[str, str], Int32]
    """Per (carrier, unit) the channels whose cost is the site's, ascending."""
    formulas: Allocation | None
    """The allocation itself where formulas must be reckoned with, else None: it takes room."""


class Span(NamedTuple):
    """A time in which one allocation holds for a site."""

    start_ms: int
    end_ms: int
    made: _Compiled


@dataclass
class SitePlan:
    """What the register says of a site over all time, and which channels it has."""

    place: Place
    series: Int32
    """The cumulative ones, ascending."""
    spans: Sequence[Span]
    limits: str

    @cached_property
    def steps(self) -> Sequence[tuple[int, str]]:
        """Since when which allocation holds, told apart by a digest."""
        found: list[tuple[int, str]] = []
        for span in self.spans:
            digest = span.made.digest + self.limits
            if not found or found[-1][1] != digest:
                found.append((span.start_ms, digest))
        return found

    def between(self, from_ms: int, to_ms: int) -> Sequence[Span]:
        """Return the spans that touch [from_ms, to_ms)."""
        return [span for span in self.spans if span.start_ms < to_ms and span.end_ms > from_ms]


class Nodes:
    """Makes node figures from channels' figures. Reads the store; writes nothing."""

    def __init__(self, store: Store, register: Register, counts: Callable[[str], bool]) -> None:
        """Take the register and which carriers enter comprehensive energy."""
        self._store = store
        self._register = register
        self._counts = counts
        self._plans: dict[Place, SitePlan] = {}
        self._known: dict[Place, int] = {}
        """How many series of a site its plan was made with."""
        self._keys: list[Tags] = []
        self._index: dict[Tags, int] = {}
        self._determined: list[bool] = []

    @property
    def register(self) -> Register:
        """Return the register that the figures follow."""
        return self._register

    def plan(self, place: Place) -> SitePlan:
        """Return a site's plan as it is now; a new object when it has gained a channel."""
        count = len(self._store.directory.series_of_site(*place))
        if self._known.get(place) != count:
            self._plans[place] = self._made(place)
            self._known[place] = count
        return self._plans[place]

    def _made(self, place: Place) -> SitePlan:
        series = self._store.directory.cumulative_of_site(*place)
        found = self._found(place)
        if found is None:  # data nobody has registered
            return SitePlan(place, series, (), "")
        numbers = self.channels(series)
        starts, allocations = zip(*self._allocations(place, series), strict=True)
        spans = [
            Span(start, end, self._compiled(place, numbers, allocation))
            for (start, end), allocation in zip(
                pairwise([*starts, _ALL_TIME_MS]), allocations, strict=True
            )
        ]
        limits = sha256(repr(limit_targets(self._register, found)).encode()).hexdigest()[:8]
        return SitePlan(place, series, spans, limits)

    def _found(self, place: Place) -> Site | None:
        region, site = place
        found = self._register.sites.get(site)
        return None if found is None or found.region != region else found

    def _allocations(self, place: Place, series: Int32) -> Iterator[tuple[int, Allocation]]:
        """Yield what holds for a site with some channels, and since when."""
        channels: dict[str, set[str]] = {}
        for meter, channel in self.channels(series):
            channels.setdefault(meter, set()).add(channel)
        # A tree holds for the figures that start while it does.
        changes = self._register.tree_borders(place[1], 0, _ALL_TIME_MS)
        grid_ms = self._store.grid_ms
        starts = {first_start(Level.INTERVAL, grid_ms, time_ms) for time_ms in changes}
        for start in (0, *sorted(starts)):
            tree = Tree.at(self._register, place[1], start)
            yield start, Allocation.of(tree, channels, self._counts)

    def only_gained(self, old: SitePlan, new: SitePlan) -> bool:
        """Tell whether a site's new plan only adds to its old one, of which no figure is wrong."""
        if self._found(new.place) is None or not old.spans:
            return len(old.spans) == len(new.spans)
        pairs = zip(
            self._allocations(new.place, old.series),
            self._allocations(new.place, new.series),
            strict=True,
        )
        return all(
            set(a.parts) <= set(b.parts) and a.behind.items() <= b.behind.items()
            for (_, a), (_, b) in pairs
        )

    def channels(self, series: Int32) -> Mapping[tuple[str, str], int]:
        """Return channels by (meter, channel)."""
        keys = self._store.directory.series
        return {keys.key(index)[2:]: index for index in series.tolist()}

    # ------------------------------------------------------------------ figures

    def figures(
        self,
        level: Level,
        places: Iterable[Place],
        rows: IntervalColumns,
        from_ms: int,
        to_ms: int,
    ) -> Points:
        """Return the figures of the nodes of sites, of one level that start in [from_ms, to_ms).

        rows: all figures of their cumulative channels of that level that start there, by series.
        Of base intervals only those of sites are made: the load curve.
        """
        totals = level is Level.INTERVAL
        whole: list[Weights] = []
        found: list[Rows] = []
        nodes: list[_Compiled] = []
        cut: dict[int, Sequence[Span]] = {}
        for place in places:
            plan = self.plan(place)
            spans = plan.between(from_ms, to_ms)
            made = [span.made for span in spans]
            if len(spans) == 1:
                nodes += made
            else:
                cut |= {key: spans for one in made for key in one.key.tolist()}
            if len(spans) == 1 and spans[0].made.formulas is None:
                whole.append(made[0].totals if totals else made[0].weights)
            else:
                found += self._apart(level, plan, spans, rows, from_ms, to_ms)
        if whole:
            found.append(Rows.of(rows, rows.start_ms).spread(Weights.joined(whole)))
        behind = np.zeros(len(self._keys), np.int64)
        for one in nodes:
            behind[one.key] = one.behind
        return self._summed(level, found, behind, cut)

    def _apart(
        self,
        level: Level,
        plan: SitePlan,
        spans: Sequence[Span],
        rows: IntervalColumns,
        from_ms: int,
        to_ms: int,
    ) -> Iterator[Rows]:
        """Yield rows of a site whose tree changes here, or that has formulas."""
        series = plan.series
        own = rows.take(np.isin(rows.series, series))
        atoms = [(own, own.start_ms)]
        borders = [span.start_ms for span in spans[1:]]
        for start_ms in sorted({self._period(level, border) for border in borders}):
            end_ms = start_ms + length_of(level, start_ms, self._store.grid_ms)
            inside = [border for border in borders if start_ms < border < end_ms]
            finer = level_with_borders(level, self._store.grid_ms, inside)
            if finer is not level and from_ms <= start_ms < to_ms:
                told, periods = atoms[0]
                kept = periods != start_ms
                atoms[0] = told.take(kept), periods[kept]
                parts = self._store.intervals(finer, series, start_ms, end_ms)
                atoms.append((parts, np.full(len(parts), start_ms)))
        for span in spans:
            made = span.made
            weights = made.totals if level is Level.INTERVAL else made.weights
            for figures, periods in atoms:
                chosen = (figures.start_ms >= span.start_ms) & (figures.start_ms < span.end_ms)
                part, its_periods = figures.take(chosen), periods[chosen]
                yield Rows.of(part, its_periods).spread(weights)
                if made.formulas is not None:
                    yield self._pieces(plan, made.formulas, part, its_periods).spread(weights)

    def _pieces(
        self, plan: SitePlan, formulas: Allocation, rows: IntervalColumns, periods: Int64
    ) -> Rows:
        """Return the rows of the pieces of formulas."""
        number = _pieces_of(formulas)
        made = list(formulas.piece_figures(rows, periods, self.channels(plan.series)))
        none = [0] * len(made)
        amounts = [
            [int(figures[name]) for _, _, figures in made]
            for name in ("amount", "amount_estimated", "amount_held")
        ]
        return Rows(
            np.array([number[source] for source, _, _ in made], np.int64),
            np.array([period_ms for _, period_ms, _ in made], np.int64),
            np.array([*amounts, none, none, none], np.int64),
            np.array(none, np.int64),
            np.array(
                [[figures[name] for _, _, figures in made] for name in MEASURE_FIELDS], np.float64
            ),
        )

    def _summed(
        self,
        level: Level,
        parts: Sequence[Rows],
        behind: Int64,
        cut: Mapping[int, Sequence[Span]],
    ) -> Points:
        """Sum rows by node and period."""
        of = NODE_FIGURES[level]
        parts = [part for part in parts if len(part.series)]
        if not parts:
            return Points.empty(of)
        key = np.concatenate([part.series for part in parts])
        period = np.concatenate([part.period_ms for part in parts])
        integers = np.concatenate([part.integers for part in parts], axis=1)
        measures = np.concatenate([part.measures for part in parts], axis=1)
        flags = np.concatenate([part.flags for part in parts])
        order = np.lexsort((period, key))
        key, period, flags = key[order], period[order], flags[order]
        group, first = runs(key, period)
        sums, totals = rollup(group, len(first), integers[:, order], measures[:, order])
        key, period = key[first], period[first]
        grid_ms = self._store.grid_ms
        lengths = {p: length_of(level, p, grid_ms) for p in np.unique(period).tolist()}
        needed_ms = behind[key] * np.array([lengths[p] for p in period.tolist()], np.int64)
        for row in np.flatnonzero(behind[key] == 0).tolist():
            start_ms = int(period[row])
            own = NodeKey(*self._keys[int(key[row])][2:])
            end_ms = start_ms + lengths[start_ms]
            needed_ms[row] = expected_ms(cut[int(key[row])], own, start_ms, end_ms)
        columns: dict[str, NDArray[Any]] = dict(zip(SUMMED, sums, strict=True))
        columns["missing_ms"] = needed_ms - columns["measured_ms"] - columns["estimated_ms"]
        columns["expected"] = needed_ms // grid_ms
        columns["flags"] = np.bitwise_or.reduceat(flags, first)
        known = np.array(self._determined, np.bool_)[key]
        for name, column in zip(MEASURE_FIELDS, totals, strict=True):
            columns[name] = column if name == "cost_cny" else np.where(known, column, np.nan)
        used, place = np.unique(key, return_inverse=True)
        keys = [self._keys[i] for i in used.tolist()]
        ordered = {name: columns[name] for name in (*INTEGER_FIELDS, *MEASURE_FIELDS)}
        return Points(of, keys, place.astype(np.int64), period, ordered)

    def _period(self, level: Level, time_ms: int) -> int:
        return start_of(level, time_ms, self._store.grid_ms)

    # ------------------------------------------------------------------ columns of an allocation

    def _key(self, place: Place, key: NodeKey, allocation: Allocation) -> int:
        tags = (*place, *key)
        index = self._index.setdefault(tags, len(self._keys))
        if index == len(self._keys):
            self._keys.append(tags)
            self._determined.append(key in allocation.determined)
        return index

    def _compiled(
        self, place: Place, series: Mapping[tuple[str, str], int], allocation: Allocation
    ) -> _Compiled:
        behind = {
            self._key(place, key, allocation): count for key, count in allocation.behind.items()
        }
        weights = self._weights(place, series, allocation)
        total = np.array([self._keys[k][2] == TOTAL for k in weights.key.tolist()], np.bool_)
        return _Compiled(
            allocation.digest(),
            weights,
            weights.take(total),
            np.array(list(behind), np.int64),
            np.array(list(behind.values()), np.int64),
            allocation.behind,
            _bought(series, allocation),
            allocation if allocation.pieces else None,
        )

    def _weights(
        self, place: Place, series: Mapping[tuple[str, str], int], allocation: Allocation
    ) -> Weights:
        number = _pieces_of(allocation) | {
            (meter, channel): i for (meter, channel), i in series.items()
        }
        rows = [
            (number[part.source], self._key(place, part.key, allocation), part)
            for part in allocation.parts
        ]
        rows.sort(key=lambda row: row[0])
        return Weights(
            np.array([index for index, _, _ in rows], np.int64),
            np.array([key for _, key, _ in rows], np.int64),
            np.array([part.amount for _, _, part in rows], np.int8),
            np.array([part.measures for _, _, part in rows], np.int8)
            .reshape(-1, len(MEASURE_FIELDS))
            .T,
            np.array([part.known for _, _, part in rows], np.int8),
        )


def _bought(
    series: Mapping[tuple[str, str], int], allocation: Allocation
) -> Mapping[tuple[str, str], Int32]:
    found: dict[tuple[str, str], list[int]] = {}
    for term in allocation.terms:
        if term.in_total("cost_cny") > 0:
            own = found.setdefault((term.carrier, term.unit), [])
            own.append(series[term.meter, term.channel])
    return {thing: np.array(sorted(own), np.int32) for thing, own in found.items()}


_FIRST_PIECE = 2**31
"""Beyond any series: pieces of formulas are numbered from here."""


def _pieces_of(allocation: Allocation) -> dict[tuple[str, str | int], int]:
    pieces = sorted(allocation.pieces, key=repr)
    return {source: _FIRST_PIECE + i for i, source in enumerate(pieces)}


def expected_ms(spans: Sequence[Span], key: NodeKey, from_ms: int, to_ms: int) -> int:
    """Return for how long the meters behind a node should have been measured in a time."""
    return sum(
        max(0, min(span.end_ms, to_ms) - max(span.start_ms, from_ms))
        * span.made.behind_of.get(key, 0)
        for span in spans
    )


def start_of(level: Level, time_ms: int, grid_ms: int) -> int:
    """Return the start of the figure of a level that holds a time."""
    if level is Level.INTERVAL:
        return time_ms - time_ms % grid_ms
    return {Level.HOUR: hour_start, Level.DAY: day_start, Level.MONTH: month_start}[level](time_ms)


def length_of(level: Level, start_ms: int, grid_ms: int) -> int:
    """Return the length of a figure that starts at a time [ms]."""
    if level is Level.MONTH:
        return next_month(start_ms) - start_ms
    return {Level.INTERVAL: grid_ms, Level.HOUR: HOUR_MS, Level.DAY: DAY_MS}[level]
