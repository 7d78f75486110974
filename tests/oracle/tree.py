"""Slow, obvious balance of one moment: what is left of each meter below its node, then formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

TOTAL = {"boundary_in": 1, "boundary_out": -1, "own_generation": 1}


@dataclass(frozen=True)
class Meter:
    role: str
    parent: str
    node: str


@dataclass(frozen=True)
class Virtual:
    terms: Sequence[tuple[int, Fraction, str]]
    """(sign, share, meter)"""
    node: str


def total(meters: Mapping[str, Meter], amounts: Mapping[str, int]) -> int:
    return sum(TOTAL.get(m.role, 0) * amounts.get(id_, 0) for id_, m in meters.items())


def own(
    meters: Mapping[str, Meter], virtual: Mapping[str, Virtual], amounts: Mapping[str, int]
) -> dict[str, int]:
    """Amount by node, without its children's; "" is what no node has."""
    nodes: dict[str, int] = {"": 0}

    def put(node: str, amount: int) -> None:
        nodes[node] = nodes.get(node, 0) + amount

    for id_, meter in meters.items():
        if meter.role == "sub" and not _burnt(meters, id_):
            put(_stands(meters, id_), amounts.get(id_, 0) - _subs(meters, amounts, id_))
        elif meter.role in TOTAL:
            put(
                _stands(meters, id_),
                TOTAL[meter.role] * amounts.get(id_, 0) - _subs(meters, amounts, id_),
            )
        elif meter.role == "conversion_out":
            put("", -_subs(meters, amounts, id_))
    put("", -_subs(meters, amounts, ""))
    for id_, cut in _cut(virtual, amounts).items():
        for (sign, _, of), piece in zip(virtual[id_].terms, cut, strict=True):
            if virtual[id_].node:
                put(virtual[id_].node, piece)
                put(_taken(meters, virtual, sign, of), -piece)
    return nodes


def with_children(parents: Mapping[str, str], own_amounts: Mapping[str, int], node: str) -> int:
    """Amount of a node and of everything below it."""
    return own_amounts.get(node, 0) + sum(
        with_children(parents, own_amounts, child)
        for child, parent in parents.items()
        if parent == node
    )


def _above(meters: Mapping[str, Meter], id_: str) -> str:
    parent = meters[id_].parent
    if parent and meters[parent].role == "check":
        return _above(meters, parent)
    return parent


def _burnt(meters: Mapping[str, Meter], id_: str) -> bool:
    above = _above(meters, id_)
    return bool(above) and (meters[above].role == "conversion_in" or _burnt(meters, above))


def _subs(meters: Mapping[str, Meter], amounts: Mapping[str, int], of: str) -> int:
    """What `sub` meters right below one take from it; what is burnt is taken from nothing."""
    return sum(
        amounts.get(id_, 0)
        for id_, meter in meters.items()
        if meter.role == "sub" and _above(meters, id_) == of and not _burnt(meters, id_)
    )


def _stands(meters: Mapping[str, Meter], id_: str) -> str:
    meter = meters[id_]
    if meter.role == "conversion_out":
        return ""
    if meter.node and meter.role not in {"check", "conversion_in"}:
        return meter.node
    above = _above(meters, id_)
    return _stands(meters, above) if above else ""


def _taken(meters: Mapping[str, Meter], virtual: Mapping[str, Virtual], sign: int, of: str) -> str:
    if of in virtual:
        if sign > 0 and virtual[of].node:
            return virtual[of].node
        plus = [term for term in virtual[of].terms if term[0] > 0] or list(virtual[of].terms)
        return _taken(meters, virtual, plus[0][0], plus[0][2])
    if sign > 0 or meters[of].role in TOTAL:
        return _stands(meters, of)
    above = _above(meters, of)
    return _stands(meters, above) if above else ""


def _cut(virtual: Mapping[str, Virtual], amounts: Mapping[str, int]) -> dict[str, list[int]]:
    """Amount of each term. `virtual` in an order in which each stands after those it uses."""
    known = dict(amounts)
    cut: dict[str, list[int]] = {}
    for id_, row in virtual.items():
        cut[id_] = []
        for sign, share, of in row.terms:
            before = Fraction(0) + sum(
                s
                for other in virtual
                if other < id_
                for sg, s, m in virtual[other].terms
                if m == of and sg == sign and s != 1 and share != 1
            )
            whole = known.get(of, 0)
            cut[id_].append(sign * (_round((before + share) * whole) - _round(before * whole)))
        known[id_] = sum(cut[id_])
    return cut


def _round(value: Fraction) -> int:
    half_up = floor(abs(value) + Fraction(1, 2))
    return half_up if value >= 0 else -half_up
