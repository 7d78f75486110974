"""Reads the rows of a tariff's file that are asked for by the month: `[[demand]]`, `[[blocks]]`."""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

from aggregator.ledger.charges import Block, Blocks, DemandPrices
from aggregator.ledger.rows import NUMBER, Kind, day_ms, is_a, shape_faults

Fault = tuple[str, str]
"""Key and reason."""

_DATED: Mapping[str, Kind] = {
    "id": str,
    "valid_from": date,
    "valid_to": date,
    "source": str,
    "verified": bool,
    "note": str,
}
_DEMAND: Mapping[str, Kind] = {**_DATED, "per_kva": NUMBER, "per_kw": NUMBER}
_BLOCKS: Mapping[str, Kind] = {**_DATED, "per": str, "block": list}
_OPTIONAL = frozenset({"valid_to", "note"})
_PRICES = ("per_kva", "per_kw")


def demand_faults(raw: Mapping[str, Any], header: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with a row of demand prices."""
    faults = list(shape_faults(raw, _DEMAND, _OPTIONAL | set(_PRICES)))
    if faults:
        yield from faults
        return
    yield from _validity_faults(raw, yearly=False)
    if not any(key in raw for key in _PRICES):
        yield _PRICES[0], f"missing, and {_PRICES[1]} too"
    for key in _PRICES:
        if key in raw and not (Decimal(raw[key]).is_finite() and raw[key] >= 0):
            yield key, f"{raw[key]} is not a finite price of at least 0"
    if header.get("carrier") != "electricity":
        yield "id", f"a demand charge is for electricity, not for {header.get('carrier')}"


def read_demand(raw: Mapping[str, Any], tariff: str) -> DemandPrices:
    """Return a row without faults."""
    per_kva, per_kw = (Decimal(raw[key]) if key in raw else None for key in _PRICES)
    return DemandPrices(
        raw["id"], tariff, *_validity(raw), per_kva, per_kw,
        raw["source"], raw["verified"], raw.get("note", ""),
    )  # fmt: skip


def blocks_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with a row of tiered blocks."""
    faults = list(shape_faults(raw, _BLOCKS, _OPTIONAL))
    if faults:
        yield from faults
        return
    if raw["per"] not in {"month", "year"}:
        yield "per", f"unknown {raw['per']!r}; one of month, year"
    yield from _validity_faults(raw, yearly=raw["per"] == "year")
    if not raw["block"]:
        yield "block", "at least one is needed"
    for number, block in enumerate(raw["block"], start=1):
        if not isinstance(block, Mapping) or {*block} != {"above", "surcharge"}:
            yield "block", f"{number}: {{ above = ..., surcharge = ... }} is expected"
            return
        for key, value in block.items():
            if not (is_a(value, NUMBER) and Decimal(value).is_finite() and value >= 0):
                yield "block", f"{number}: {key}: {value!r} is not a finite number of at least 0"
                return
    for before, after in pairwise(raw["block"]):
        if before["above"] >= after["above"]:
            yield "block", f"above {after['above']} is not more than above {before['above']}"


def read_blocks(raw: Mapping[str, Any], tariff: str) -> Blocks:
    """Return a row without faults."""
    blocks = tuple(Block(Decimal(b["above"]), Decimal(b["surcharge"])) for b in raw["block"])
    return Blocks(
        raw["id"], tariff, *_validity(raw), raw["per"] == "year", blocks,
        raw["source"], raw["verified"], raw.get("note", ""),
    )  # fmt: skip


def _validity_faults(raw: Mapping[str, Any], *, yearly: bool) -> Iterator[Fault]:
    start, end = raw["valid_from"], raw.get("valid_to")
    for key, day in (("valid_from", start), ("valid_to", end)):
        if day is not None and (day.day != 1 or (yearly and day.month != 1)):
            yield key, f"{day} is not the first of a {'year' if yearly else 'month'}"
    if end is not None and end <= start:
        yield "valid_to", f"{end} is not after valid_from {start}"


def _validity(raw: Mapping[str, Any]) -> tuple[int, int | None]:
    end = raw.get("valid_to")
    return day_ms(raw["valid_from"]), None if end is None else day_ms(end)
