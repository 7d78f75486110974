"""What each stored figure of a site adds to which node: the tree and the roles as plain numbers.

Pure. Every figure of a node is a sum of channels' figures, each with a sign, so one roll-up kernel
makes all nodes of all sites at once (`aggregator.nodes`). Only formulas that give a share of a
meter are more: their pieces are made first, and enter like channels.

Rules: `aggregator.tree` for places, `aggregator.register.roles` for signs.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from aggregator.batch import Int64, IntervalColumns
from aggregator.register.model import Meter, Role
from aggregator.register.roles import Term, terms
from aggregator.tree import SITE, Source, Tree
from contract.stored import ENERGY, GENERATION, MEASURE_FIELDS, OUT, TOTAL, UNALLOCATED

ENERGY_UNIT = "kgce"
_OF_ROLE = {Role.OWN_GENERATION: GENERATION, Role.BOUNDARY_OUT: OUT}


class NodeKey(NamedTuple):
    """What a node's figures are named by within its site."""

    node: str
    carrier: str
    unit: str


class Part(NamedTuple):
    """One channel, or one piece of a formula, and what it adds to one node."""

    source: tuple[str, str | int]
    """(meter, channel), or (virtual meter, number of the term)."""
    key: NodeKey
    amount: int
    measures: tuple[int, ...]
    """Signs in the order of MEASURE_FIELDS."""
    known: int
    """1: its times count for the node, since its meter stands behind it."""


@dataclass(frozen=True)
class Allocation:
    """What holds for one site while its tree does."""

    tree: Tree
    terms: Sequence[Term]
    parts: Sequence[Part]
    behind: Mapping[NodeKey, int]
    """How many meters stand behind each node's figures."""
    determined: frozenset[NodeKey]
    """Nodes whose standard coal and CO2 are made; not those of a medium that does not count."""

    @classmethod
    def of(
        cls,
        tree: Tree,
        channels: Mapping[str, Collection[str]],
        counts: Callable[[str], bool],
    ) -> "Allocation":
        """Make it of a tree and of the cumulative channels of its meters that have data.

        counts: which carriers enter comprehensive energy.
        """
        found = terms(tree.meters.values(), channels)
        made = _Making(tree, found, counts)
        # Where nothing counts for comprehensive energy, what was paid for the rest is none of it.
        every = list(made.parts())
        parts = [p for p in every if p.key.carrier != ENERGY or p.key in made.determined]
        return cls(tree, found, tuple(parts), made.behind, frozenset(made.determined))

    def digest(self) -> str:
        """Return what tells this allocation from another."""
        formulas = sorted(
            (v.id, [str(term) for term in v.terms]) for v in self.tree.virtual.values()
        )
        behind = sorted(self.behind.items())
        what = (sorted(self.parts, key=repr), behind, sorted(self.determined), formulas)
        return sha256(repr(what).encode()).hexdigest()[:16]

    @cached_property
    def pieces(self) -> frozenset[tuple[str, str | int]]:
        """Sources that are pieces of formulas."""
        return frozenset(part.source for part in self.parts if isinstance(part.source[1], int))

    def piece_figures(
        self, rows: IntervalColumns, periods: Int64, series: Mapping[tuple[str, str], int]
    ) -> Iterator[tuple[tuple[str, str | int], int, Mapping[str, float]]]:
        """Yield source, period and figures of the pieces of formulas, from a site's channels' rows.

        A share is rounded once a period. Of a piece there are amounts and measures; its times are
        those of the meters behind it.
        """
        if not self.pieces:
            return
        of_series = {series[term.meter, term.channel]: term for term in self.terms}
        names = ("amount", "amount_estimated", "amount_held")
        by_period: dict[tuple[int, str, str], dict[str, dict[str, float]]] = {}
        columns = {name: getattr(rows, name).tolist() for name in (*names, *MEASURE_FIELDS)}
        for row, (index, period_ms) in enumerate(
            zip(rows.series.tolist(), periods.tolist(), strict=True)
        ):
            if (term := of_series.get(index)) is None:
                continue
            metered = by_period.setdefault(
                (period_ms, term.carrier, term.unit), {name: {} for name in columns}
            )
            for name, column in columns.items():
                sign = 1 if name in names[1:] else term.counts(name)
                value = sign * column[row] if sign else 0
                metered[name][term.meter] = metered[name].get(term.meter, 0) + value
        for (period_ms, _, _), figures in by_period.items():
            told = {
                name: (self.tree.amounts if name in names else self.tree.measures)(by_meter)  # type: ignore[arg-type]
                for name, by_meter in figures.items()
            }
            for source in told["amount"]:
                if source in self.pieces:
                    yield source, period_ms, {name: of[source] for name, of in told.items()}


class _Making:
    """Makes the parts of one site."""

    def __init__(self, tree: Tree, found: Sequence[Term], counts: Callable[[str], bool]) -> None:
        self._tree = tree
        self._counts = counts
        self._of_meter: dict[str, list[Term]] = defaultdict(list)
        self._units: dict[str, dict[str, None]] = defaultdict(dict)
        for term in found:
            self._of_meter[term.meter].append(term)
            self._units[term.carrier][term.unit] = None
        self.behind: dict[NodeKey, int] = defaultdict(int)
        self.determined: set[NodeKey] = set()

    def parts(self) -> Iterator[Part]:
        """Yield all parts, those of comprehensive energy too where a carrier counts for it."""
        energy = any(self._counts(carrier) for carrier in self._units)
        for carrier, units in self._units.items():
            net = self._tree.net(carrier)
            places = {TOTAL if place == SITE else place: of for place, of in net.items()}
            places[UNALLOCATED] = self._tree.unallocated(carrier)
            for node, by_source in places.items():
                signs = {source: sign for source, sign in by_source.items() if sign}
                if signs:
                    yield from self._node(node, carrier, units, signs, energy=energy)
            for role, node in _OF_ROLE.items():
                own: dict[Source, int] = {
                    (meter.id, 0): 1 for meter in self._meters(carrier) if meter.role is role
                }
                if own:
                    yield from self._node(node, carrier, units, own, energy=energy)

    def _meters(self, carrier: str) -> Iterator[Meter]:
        return (meter for meter in self._tree.meters.values() if meter.carrier == carrier)

    def _node(
        self,
        node: str,
        carrier: str,
        units: Collection[str],
        signs: Mapping[Source, int],
        *,
        energy: bool,
    ) -> Iterator[Part]:
        counted = self._counts(carrier)
        behind = {meter for source in signs for meter in self._tree.base(source)}
        whole = NodeKey(node, ENERGY, ENERGY_UNIT)
        if energy and counted:
            self.behind[whole] += len(behind)
            self.determined.add(whole)
        for unit in units:
            key = NodeKey(node, carrier, unit)
            self.behind[key] += len(behind)
            if counted:
                self.determined.add(key)
            for part in self._of_sources(key, signs, behind, counted=counted):
                yield part
                if energy:
                    yield part._replace(key=whole, amount=0, known=part.known * counted)

    def _of_sources(
        self, key: NodeKey, signs: Mapping[Source, int], behind: Collection[str], *, counted: bool
    ) -> Iterator[Part]:
        def measures(sign: int, counts: Callable[[str], int]) -> tuple[int, ...]:
            return tuple(
                sign * counts(name) if counted or name == "cost_cny" else 0
                for name in MEASURE_FIELDS
            )

        times = set(behind)
        for (id_, i), sign in signs.items():
            if id_ in self._tree.virtual:
                yield Part((id_, i), key, sign, measures(sign, lambda _: 1), 0)
                continue
            for term in self._terms(id_, key.unit):
                made = measures(sign, term.counts)
                known = int(term.direction > 0)
                yield Part((id_, term.channel), key, sign * term.direction, made, known)
            times.discard(id_)
        for id_ in sorted(times):  # behind a formula only
            for term in self._terms(id_, key.unit):
                if term.direction > 0:
                    yield Part((id_, term.channel), key, 0, (0,) * len(MEASURE_FIELDS), 1)

    def _terms(self, meter: str, unit: str) -> Iterator[Term]:
        return (term for term in self._of_meter[meter] if term.unit == unit)
