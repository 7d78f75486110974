"""What can be wrong with meters by formula: unknown terms, cycles, more than all of one."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from aggregator.register.dated import Dated, Line, Refuse, check_carriers, since, way_text
from aggregator.register.formula import FormulaTerm, parse_formula


def check_virtual(lines: Sequence[Line], dated: Mapping[str, Dated], refuse: Refuse) -> None:
    """Refuse rows of virtual_meters.csv that cannot be computed when they take effect."""
    check_carriers(lines, refuse)
    for line in lines:
        row = line.row
        site, own, time_ms = row.get("site", ""), row.get("meter", ""), since(row)
        if dated["meters"].has(site, own):
            refuse(line, "meter", f"{own} is a meter of {site} already")
        node = row.get("node")
        if node and dated["nodes"].at(site, node, time_ms) is None:
            refuse(line, "node", dated["nodes"].why_not(site, node))
        for term in _terms(row.get("formula")):
            kind = "virtual_meters" if dated["virtual_meters"].has(site, term.meter) else "meters"
            found = dated[kind].at(site, term.meter, time_ms)
            if found is None:
                refuse(line, "formula", dated[kind].why_not(site, term.meter))
                continue
            carriers = (row.get("carrier"), found.get("carrier"))
            if all(carriers) and carriers[0] != carriers[1]:
                refuse(line, "formula", f"{term.meter} counts {carriers[1]}, not {carriers[0]}")
        if cycle := _cycle(dated["virtual_meters"], site, own, time_ms):
            refuse(line, "formula", f"is part of itself: {way_text(cycle)}")
    _check_shares(lines, dated["virtual_meters"], refuse)


def _terms(formula: str | None) -> tuple[FormulaTerm, ...]:
    return parse_formula(formula) if formula else ()


def _cycle(virtual: Dated, site: str, start: str, time_ms: int) -> list[str]:
    """Return a way from a virtual meter through formulas to itself; [] when there is none.

    Enough for all times: a cycle begins when the last of its rows takes effect.
    """
    seen: set[str] = set()
    ways = [[start]]
    while ways:
        way = ways.pop()
        row = virtual.at(site, way[-1], time_ms) or {}
        for term in _terms(row.get("formula")):
            if term.meter == start:
                return [*way, start]
            if term.meter not in seen:
                seen.add(term.meter)
                ways.append([*way, term.meter])
    return []


def _check_shares(lines: Sequence[Line], virtual: Dated, refuse: Refuse) -> None:
    """Refuse shares that give away more than all of a meter when the row takes effect."""
    ids: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        ids[line.row.get("site", "")].add(line.row.get("meter", ""))
    for line in lines:
        site, time_ms = line.row.get("site", ""), since(line.row)
        mine = {term.meter for term in _terms(line.row.get("formula")) if term.share != 1}
        if not mine:
            continue
        given: dict[str, Fraction] = defaultdict(Fraction)
        for id_ in sorted(ids[site]):
            row = virtual.at(site, id_, time_ms) or {}
            for term in _terms(row.get("formula")):
                if term.sign > 0 and term.share != 1 and term.meter in mine:
                    given[term.meter] += term.share
        for meter, share in given.items():
            if share > 1:
                refuse(line, "formula", f"shares of {meter} make {float(share):g}, more than all")
