"""For which node of a site's tree each meter counts, with what sign: pure, and exact in integers.

The site total of a carrier is boundary_in - boundary_out + own_generation. Every meter in it puts
its amount at its place. A `sub` meter takes its amount from the place of the meter that counts it
too, and puts it at its own; a virtual meter takes each term from where that energy stands. Nothing
is made or lost on the way, so the site is the sum of its places at every time, whatever the tree.

The place of a meter is its node, else the place of the meter above it, else the site itself: what
is left there is `unallocated`.

`check`          counts nothing; what hangs below it hangs below its parent.
`conversion_in`  stays where it was counted, and so does what is below it; named as `converted`.
`conversion_out` adds nothing; what it feeds is taken from the site's unallocated part.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

from aggregator.register.formula import FormulaTerm
from aggregator.register.model import Meter, Node, Register, Role, VirtualMeter
from aggregator.register.roles import consumption_sign

SITE = ""
"""The place above all nodes."""

Source = tuple[str, int]
"""(meter, 0), or (virtual meter, number of the term in its formula)."""

Number = TypeVar("Number", int, float)


class Kind(StrEnum):
    """What an entry is to its place."""

    METERED = "metered"
    """Counted by a meter with nothing below it, or by a virtual meter."""
    UNALLOCATED = "unallocated"
    """What meters count, less what is below them."""
    CONVERTED = "converted"
    """Into a conversion, or - out of it: says where unallocated energy is; in no sum."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A multiple of one amount at one place."""

    source: Source
    place: str
    sign: int
    kind: Kind


@dataclass(frozen=True)
class Tree:
    """What holds at one site at one time. Rows have passed the register's checks."""

    nodes: Mapping[str, Node]
    meters: Mapping[str, Meter]
    virtual: Mapping[str, VirtualMeter]

    @classmethod
    def at(cls, register: Register, site: str, at_ms: int) -> "Tree":
        """Return what the register says of a time [ms UTC]."""
        return cls(
            {node.id: node for node in register.nodes_of(site, at_ms)},
            {meter.id: meter for meter in register.meters(site, at_ms)},
            {meter.id: meter for meter in register.virtual_meters(site, at_ms)},
        )

    def counted_by(self, meter: Meter) -> Meter | None:
        """Return the meter that counts a meter's energy too; a check meter is none."""
        above = self.meters.get(meter.parent)
        while above is not None and above.role is Role.CHECK:
            above = self.meters.get(above.parent)
        return above

    @cached_property
    def children(self) -> Mapping[str, Sequence[Meter]]:
        """Meters right below each meter that has any; check meters are none."""
        found: dict[str, list[Meter]] = defaultdict(list)
        for meter in self.meters.values():
            above = self.counted_by(meter)
            if meter.role is not Role.CHECK and above is not None:
                found[above.id].append(meter)
        return found

    def place(self, meter: Meter | None) -> str:
        """Return the node where a meter's energy stands, or SITE."""
        while meter is not None and meter.role is not Role.CONVERSION_OUT:
            if meter.node and meter.role not in (Role.CHECK, Role.CONVERSION_IN):
                return meter.node
            meter = self.counted_by(meter)
        return SITE

    def path(self, place: str) -> Sequence[str]:
        """Return a place and all above it; the last is SITE."""
        way = []
        while place:
            way.append(place)
            node = self.nodes.get(place)
            place = node.parent if node else SITE
        return [*way, SITE]

    def entries(self, carrier: str) -> Sequence[Entry]:
        """Return what each meter of a carrier puts and takes where."""
        found: list[Entry] = []
        for meter in self.meters.values():
            if meter.carrier == carrier:
                found += self._entries_of(meter)
        for virtual in self.virtual.values():
            if virtual.carrier == carrier and virtual.node:
                for i, term in enumerate(virtual.terms):
                    taken, kind = self._stands(term)
                    found.append(Entry((virtual.id, i), virtual.node, 1, Kind.METERED))
                    found.append(Entry((virtual.id, i), taken, -1, kind))
        return found

    def net(self, carrier: str) -> Mapping[str, Mapping[Source, int]]:
        """Return, by place, how often each amount counts there or below; SITE: in the total."""
        found: dict[str, dict[Source, int]] = defaultdict(lambda: defaultdict(int))
        for entry in self.entries(carrier):
            if entry.kind is not Kind.CONVERTED:
                for place in self.path(entry.place):
                    found[place][entry.source] += entry.sign
        return found

    def unallocated(self, carrier: str) -> Mapping[Source, int]:
        """Return how often each amount counts for the site itself, in no node."""
        found: dict[Source, int] = defaultdict(int)
        for entry in self.entries(carrier):
            if entry.kind is not Kind.CONVERTED and entry.place == SITE:
                found[entry.source] += entry.sign
        return found

    def _entries_of(self, meter: Meter) -> Iterable[Entry]:
        source, above = (meter.id, 0), self.counted_by(meter)
        place, kind = self._own(meter)
        if sign := consumption_sign(meter.role):
            yield Entry(source, place, sign, kind)
        elif meter.role is Role.CONVERSION_OUT:
            yield Entry(source, SITE, -1, Kind.CONVERTED)
        elif meter.role is Role.CHECK or self._feeds_conversion(above):
            return
        elif meter.role is Role.CONVERSION_IN:
            yield Entry(source, self.place(above), 1, Kind.CONVERTED)
        else:
            yield Entry(source, place, 1, kind)
            yield Entry(source, self.place(above), -1, Kind.UNALLOCATED)

    def _own(self, meter: Meter) -> tuple[str, Kind]:
        """Return where a meter's energy stands, and as what."""
        part = meter.role is Role.SUB or (consumption_sign(meter.role) and meter.node)
        metered = part and meter.id not in self.children
        return self.place(meter), Kind.METERED if metered else Kind.UNALLOCATED

    def _feeds_conversion(self, above: Meter | None) -> bool:
        while above is not None and above.role is not Role.CONVERSION_IN:
            above = self.counted_by(above)
        return above is not None

    def _stands(self, term: FormulaTerm) -> tuple[str, Kind]:
        """Return where the energy of a term is taken from, or with - given back to."""
        virtual, meter = self.virtual.get(term.meter), self.meters.get(term.meter)
        if virtual is not None:
            if virtual.node and term.sign > 0:
                return virtual.node, Kind.METERED
            first = next((part for part in virtual.terms if part.sign > 0), virtual.terms[0])
            return self._stands(first)
        if meter is None:
            return SITE, Kind.UNALLOCATED
        if term.sign > 0 or consumption_sign(meter.role):
            return self._own(meter)
        return self.place(self.counted_by(meter)), Kind.UNALLOCATED

    def base(self, source: Source) -> Sequence[str]:
        """Return the meters that an amount is made of, each once."""
        id_, index = source
        virtual = self.virtual.get(id_)
        if virtual is None:
            return [id_]
        below = virtual.terms[index].meter
        terms = range(len(self.virtual[below].terms)) if below in self.virtual else range(1)
        return list(dict.fromkeys(m for i in terms for m in self.base((below, i))))

    @cached_property
    def _cuts(self) -> Mapping[Source, tuple[Fraction, Fraction]]:
        """From where to where in its meter each term of a formula reaches, 0 to 1.

        Shares of one meter lie end to end, by virtual meter; whole meters are no shares.
        """
        given: dict[tuple[str, int], Fraction] = defaultdict(Fraction)
        cuts = {}
        for id_ in sorted(self.virtual):
            for i, term in enumerate(self.virtual[id_].terms):
                low = Fraction(0)
                if term.share != 1:
                    low = given[term.meter, term.sign]
                    given[term.meter, term.sign] += term.share
                cuts[id_, i] = low, low + term.share
        return cuts

    def amounts(self, metered: Mapping[str, int]) -> Mapping[Source, int]:
        """Return the amounts of all sources, from those of meters [micro-units, forward - back].

        A meter without figure is left out, and so is what a formula would take from it.
        """

        def cut(whole: int, low: Fraction, high: Fraction) -> int:
            return rounded(high * whole) - rounded(low * whole)

        return self._spread(metered, cut)

    def measures(self, metered: Mapping[str, float]) -> Mapping[Source, float]:
        """Return a measure of all sources, from that of meters; NaN, not determined, is passed."""

        def cut(whole: float, low: Fraction, high: Fraction) -> float:
            return float(high - low) * whole

        return self._spread(metered, cut)

    def _spread(
        self, metered: Mapping[str, Number], cut: Callable[[Number, Fraction, Fraction], Number]
    ) -> Mapping[Source, Number]:
        known: dict[str, Number] = {id_: metered[id_] for id_ in self.meters if id_ in metered}
        found: dict[Source, Number] = {(id_, 0): amount for id_, amount in known.items()}

        def amount(id_: str, way: tuple[str, ...]) -> Number | None:
            if id_ in way:
                raise ValueError(f"virtual meter part of itself: {' > '.join([*way, id_])}")
            if id_ in self.virtual and id_ not in known:
                pieces = [piece(id_, i, (*way, id_)) for i in range(len(self.virtual[id_].terms))]
                told = [value for value in pieces if value is not None]
                if told:
                    known[id_] = sum(told[1:], told[0])
            return known.get(id_)

        def piece(id_: str, i: int, way: tuple[str, ...]) -> Number | None:
            term = self.virtual[id_].terms[i]
            whole = amount(term.meter, way)
            if whole is None:
                return None
            found[id_, i] = term.sign * cut(whole, *self._cuts[id_, i])
            return found[id_, i]

        for id_ in self.virtual:
            amount(id_, ())
        return found


def rounded(value: Fraction) -> int:
    """Round to the nearest whole number, half away from zero."""
    n, d = abs(value.numerator), value.denominator
    whole = (2 * n + d) // (2 * d)
    return whole if value >= 0 else -whole
