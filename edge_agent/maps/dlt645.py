"""Device maps of DL/T 645 products: numbers under data identifiers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from edge_agent.errors import Problem
from edge_agent.maps.base import DeviceMap, Keys, Point, header, point, twice

_FORMAT = re.compile(r"X+(\.X+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Point):
    """One number. `scale` includes the decimals of its format."""

    id: str
    """Data identifier as the standard writes it, high byte first: 8 or 4 hexadecimal digits."""
    offset: int
    """Where the number begins in the data of a block [bytes]."""
    length: int
    """[bytes]"""
    signed: bool
    """Whether the highest bit is the sign."""
    daily: str
    """First three bytes of the identifier of its daily freeze, empty = not frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dlt645Map(DeviceMap):
    """One DL/T 645 product."""

    registers: tuple[Item, ...]
    settlements: int
    """How many monthly settlements the meter keeps of each count."""
    daily_freezes: int
    """How many daily freezes it keeps."""


def parse_dlt645(top: Keys) -> tuple[Dlt645Map, list[Problem]]:
    """Read a map's table; the map is of use when there are no problems."""
    device = {
        **header(top, "dlt645"),
        "settlements": top.whole("settlements", 0, 12, 0),
        "daily_freezes": top.whole("daily_freezes", 0, 254, 0),
    }
    rows = top.rows("register")
    items = tuple(_item(row) for row in rows)
    problems = [problem for row in rows for problem in row.problems] + twice(items)
    return Dlt645Map(**device, registers=items), problems or _overlaps(items)


def _item(keys: Keys) -> Item:
    fields: dict[str, Any] = point(keys, "bcd", scale=Decimal(1))
    form = keys.text("format")
    if form and (not _FORMAT.fullmatch(form) or form.count("X") % 2 or form.count("X") > 16):
        keys.wrong("format", f"{form!r} is not like XXXXXX.XX: an even number of at most 16 digits")
    _, _, decimals = form.partition(".")
    fields["scale"] *= Decimal(1).scaleb(-len(decimals))
    identifier = keys.text("id").upper()
    if identifier and not re.fullmatch(r"[0-9A-F]{8}|[0-9A-F]{4}", identifier):
        keys.wrong("id", f"{identifier!r} is not 8 (2007) or 4 (1997) hexadecimal digits")
    daily = keys.text("daily", optional=True).upper()
    if daily and not re.fullmatch(r"[0-9A-F]{6}", daily):
        keys.wrong("daily", f"{daily!r} is not the first 6 digits of an identifier")
    item = Item(
        **fields,
        id=identifier,
        offset=keys.whole("offset", 0, 199, 0),
        length=form.count("X") // 2,
        signed=keys.flag("signed"),
        daily=daily,
    )
    keys.rest()
    return item


def _overlaps(items: Sequence[Item]) -> list[Problem]:
    problems = []
    for index, item in enumerate(items):
        for before in items[:index]:
            apart = (
                item.id != before.id
                or item.offset >= before.offset + before.length
                or before.offset >= item.offset + item.length
            )
            if not apart:
                reason = f"overlaps with {before.channel!r} in data {item.id}"
                problems.append(Problem(f"register[{index}].offset", reason))
    return problems
