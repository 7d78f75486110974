"""What each node and meter of a site accounts for in a period, and what nobody accounts for.

Pure: figures in, sums out, by the one roll-up kernel. Rules: `aggregator.tree`. A tree holds for
the figures that start while it is in force, so a meter that moves counts here until its date, and
there from it on.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from aggregator.batch import IntervalColumns
from aggregator.kernels.rollup import rollup
from aggregator.register.limits import Limit
from aggregator.register.model import Register
from aggregator.register.roles import Term, terms
from aggregator.tree import SITE, Entry, Kind, Tree


@dataclass(frozen=True, slots=True)
class Known:
    """How well the meters behind a figure were known."""

    measured_share: float | None
    """Of their time so far, 0 to 1; None when there is none. The rest of both is missing."""
    estimated_share: float | None
    held: int
    """Awaits a decision, over all of them; in no other figure [micro-units]."""
    without_data: tuple[str, ...]
    """Meters without any figure."""
    none: bool
    """No meter has one: an amount of 0 says nothing."""


@dataclass(frozen=True, slots=True)
class NodeBalance:
    """One node, or the site itself (node ""). Amounts in micro-units.

    amount = own + amounts of the nodes right below it.
    """

    node: str
    amount: int
    own: int
    """Not in a node below; of the site: all that is unallocated."""
    metered: int
    """The part of own that is counted by a meter with nothing below it."""
    converted: int
    """Known to have gone into a conversion, less what came out of one; in no sum."""
    made: int
    """Came out of a conversion, of the site only: was there to be used beside `amount`."""
    known: Known
    judged: bool
    """False when nothing below could account for it, or a meter has no data."""

    @property
    def unallocated(self) -> int:
        """Return what has no place below: of the site, everything not in a node."""
        return self.own if self.node == SITE else self.own - self.metered

    @property
    def unexplained(self) -> int:
        """Return what no meter accounts for: neither metered nor converted."""
        return self.own - self.metered - self.converted

    def exceeds(self, limit: Limit) -> bool | None:
        """Tell whether too much is unexplained; None when it cannot be told."""
        whole = self.amount + self.made
        return limit.exceeded(self.unexplained, whole) if self.judged and whole else None


@dataclass(frozen=True, slots=True)
class MeterBalance:
    """One meter with others below it, while it had them. Amounts in micro-units, forward - back."""

    meter: str
    amount: int
    below: int
    """Sum of the meters right below it."""
    without_data: tuple[str, ...]

    @property
    def gap(self) -> int:
        """Return its own part: not counted below."""
        return self.amount - self.below

    def exceeds(self, limit: Limit) -> bool | None:
        """Tell whether the gap is too large; None when it cannot be told."""
        if self.without_data or not self.amount:
            return None
        return limit.exceeded(self.gap, self.amount)


@dataclass(frozen=True, slots=True)
class CarrierBalance:
    """One carrier of a site in one unit."""

    carrier: str
    unit: str
    site: NodeBalance
    nodes: Sequence[NodeBalance]
    """By id; only those that a meter of the carrier counts for."""
    meters: Sequence[MeterBalance]
    virtual: Mapping[str, int]
    """Amounts of virtual meters."""


def balance(
    register: Register,
    site: str,
    series: Mapping[tuple[str, str], int],
    figures: IntervalColumns,
    from_ms: int,
    to_ms: int,
    until_ms: int,
) -> Sequence[CarrierBalance]:
    """Return the balances of a site over [from_ms, to_ms), by carrier and unit with figures.

    Args:
        register: its dated rows say what holds when.
        site: id of one of its sites.
        from_ms: included [ms UTC].
        to_ms: excluded.
        series: (meter, channel) -> index of the site's cumulative channels with data.
        figures: theirs that start in the period, of one level, sorted by (series, start).
        until_ms: end of the time for which figures are expected: now, or to_ms.
    """
    channels: dict[str, set[str]] = defaultdict(set)
    for meter, channel in series:
        channels[meter].add(channel)
    sums: dict[tuple[str, str], _Sums] = defaultdict(_Sums)
    borders = [from_ms, *register.tree_borders(site, from_ms, to_ms), to_ms]
    for start_ms, end_ms in pairwise(borders):
        tree = Tree.at(register, site, start_ms)
        chosen = (figures.start_ms >= start_ms) & (figures.start_ms < end_ms)
        metered = _metered(terms(tree.meters.values(), channels), series, figures.take(chosen))
        length_ms = max(0, min(end_ms, until_ms) - start_ms)
        for (carrier, unit), by_meter in metered.items():
            sums[carrier, unit].add(tree, carrier, by_meter, length_ms)
    return [sums[key].close(*key) for key in sorted(sums) if sums[key].has_data]


@dataclass(slots=True)
class _Metered:
    """One meter in one span and unit."""

    amount: int = 0
    held: int = 0
    measured_ms: int = 0
    estimated_ms: int = 0
    rows: int = 0


def _metered(
    found: Iterable[Term], series: Mapping[tuple[str, str], int], rows: IntervalColumns
) -> Mapping[tuple[str, str], Mapping[str, _Metered]]:
    """Return the sums of each meter's accounted channels, by carrier and unit."""
    wanted = list(found)
    order = np.array(sorted({series[t.meter, t.channel] for t in wanted}), np.int64)
    rows = rows.take(np.isin(rows.series, order))
    names = ("amount", "amount_held", "measured_ms", "estimated_ms")
    columns = np.stack([*(getattr(rows, name) for name in names), np.ones(len(rows), np.int64)])
    group = np.searchsorted(order, rows.series).astype(np.int64)
    totals, _ = rollup(group, len(order), columns, np.empty((0, len(rows))))
    result: dict[tuple[str, str], dict[str, _Metered]] = defaultdict(dict)
    for term in wanted:
        at = int(np.searchsorted(order, series[term.meter, term.channel]))
        amount, held, measured_ms, estimated_ms, count = map(int, totals[:, at])
        meter = result[term.carrier, term.unit].setdefault(term.meter, _Metered())
        meter.amount += term.direction * amount
        meter.held += held
        meter.rows += count
        if term.direction > 0:
            meter.measured_ms += measured_ms
            meter.estimated_ms += estimated_ms
    return result


@dataclass(slots=True)
class _Quality:
    expected_ms: int = 0
    measured_ms: int = 0
    estimated_ms: int = 0
    held: int = 0
    wanted: set[str] = field(default_factory=set)

    def known(self, seen: set[str]) -> Known:
        def share(part_ms: int) -> float | None:
            return min(1.0, part_ms / self.expected_ms) if self.expected_ms else None

        without = tuple(sorted(self.wanted - seen))
        none = len(without) == len(self.wanted)
        return Known(share(self.measured_ms), share(self.estimated_ms), self.held, without, none)


class _Sums:
    """Gathers one carrier and unit over the spans of a period."""

    def __init__(self) -> None:
        self._group: dict[tuple[str, str], int] = {}
        self._rows: list[tuple[int, int]] = []
        self._quality: dict[str, _Quality] = defaultdict(_Quality)
        self._kinds: dict[str, set[Kind]] = defaultdict(set)
        self._below: dict[str, set[str]] = defaultdict(set)
        self._seen: set[str] = set()
        self._virtual: set[str] = set()

    def add(
        self, tree: Tree, carrier: str, metered: Mapping[str, _Metered], length_ms: int
    ) -> None:
        """Add one span."""
        with_data = {id_: m for id_, m in metered.items() if m.rows}
        self._seen |= with_data.keys()
        amounts = tree.amounts({id_: m.amount for id_, m in with_data.items()})
        entries = tree.entries(carrier)
        for entry in entries:
            amount = entry.sign * amounts.get(entry.source, 0)
            self._kinds[entry.place].add(entry.kind)
            self._put(entry.place, entry.kind, amount)
            if entry.kind is not Kind.CONVERTED:
                for place in tree.path(entry.place):
                    self._put(place, "amount", amount)
            elif entry.sign < 0:
                self._put(SITE, "made", -amount)
        self._note_quality(tree, carrier, entries, with_data, length_ms)
        for (id_, i), amount in amounts.items():
            if id_ in tree.virtual:
                self._virtual.add(id_)
                self._put(id_, f"virtual {i}", amount)
        for id_, below in tree.children.items():
            if tree.meters[id_].carrier == carrier:
                self._below[id_] |= {id_, *(child.id for child in below)}
                self._put(id_, "meter", amounts.get((id_, 0), 0))
                for child in below:
                    self._put(id_, "below", amounts.get((child.id, 0), 0))

    @property
    def has_data(self) -> bool:
        """Tell whether any meter had a figure."""
        return bool(self._seen)

    def _put(self, name: str, what: str, amount: int) -> None:
        self._rows.append((self._group.setdefault((name, what), len(self._group)), amount))

    def _note_quality(
        self,
        tree: Tree,
        carrier: str,
        entries: Sequence[Entry],
        with_data: Mapping[str, _Metered],
        length_ms: int,
    ) -> None:
        """Note the meters behind each place: those that do not cancel among what is below it."""
        for entry in entries:
            self._quality[entry.place].wanted |= {*tree.base(entry.source)}
        for place, by_source in tree.net(carrier).items():
            quality = self._quality[place]
            behind = {m for source, sign in by_source.items() if sign for m in tree.base(source)}
            quality.wanted |= behind
            quality.expected_ms += len(behind) * length_ms
            for found in (with_data[id_] for id_ in behind if id_ in with_data):
                quality.measured_ms += found.measured_ms
                quality.estimated_ms += found.estimated_ms
                quality.held += found.held

    def close(self, carrier: str, unit: str) -> CarrierBalance:
        """Return the sums."""
        group, amounts = np.array(self._rows or np.empty((0, 2)), np.int64).T.copy()
        sums, _ = rollup(group, len(self._group), amounts[None, :], np.empty((0, len(group))))
        totals = {key: int(sums[0, at]) for key, at in self._group.items()}

        def meters() -> Iterator[MeterBalance]:
            for id_ in sorted(self._below):
                without = tuple(sorted(self._below[id_] - self._seen))
                yield MeterBalance(id_, totals[id_, "meter"], totals[id_, "below"], without)

        nodes = [self._node(place, totals) for place in sorted(self._quality)]
        virtual: dict[str, int] = {}
        for (id_, what), amount in totals.items():
            if id_ in self._virtual and what.startswith("virtual "):
                virtual[id_] = virtual.get(id_, 0) + amount
        site = self._node(SITE, totals)
        others = [node for node in nodes if node.node != SITE]
        return CarrierBalance(carrier, unit, site, others, tuple(meters()), virtual)

    def _node(self, place: str, totals: Mapping[tuple[str, str], int]) -> NodeBalance:
        metered = totals.get((place, Kind.METERED), 0)
        known = self._quality[place].known(self._seen)
        anywhere = set().union(*self._kinds.values())
        below = place != SITE or bool(anywhere & {Kind.METERED, Kind.CONVERTED})
        whole = Kind.UNALLOCATED in self._kinds[place]
        return NodeBalance(
            node=place,
            amount=totals.get((place, "amount"), 0),
            own=metered + totals.get((place, Kind.UNALLOCATED), 0),
            metered=metered,
            converted=totals.get((place, Kind.CONVERTED), 0),
            made=totals.get((place, "made"), 0),
            known=known,
            judged=whole and below and not known.without_data,
        )
