"""Slow, obvious tariff: the price of one minute, straight from the TOML of calendar and prices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any


def at(
    calendar: Mapping[str, Any] | None, tariff: Mapping[str, Any], time_ms: int
) -> tuple[str | None, float | None]:
    """Return (period, price) at a time; None where no row says, or none that may be used."""
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms, hours=8)
    usable = tariff["tariff"]["allow_unverified"]
    period: str | None = "flat"
    if calendar is not None:
        period = None
        for row in calendar["hours"]:
            if _holds(row, local.date()):
                usable_hours = usable or row["verified"]
                for season in row["season"]:
                    if local.month in season["months"]:
                        period = _period(season, local.hour * 60 + local.minute)
                if not usable_hours:
                    return period, None
    for row in tariff["price"]:
        if period is not None and _holds(row, local.date()) and (usable or row["verified"]):
            return period, float(row[period])
    return period, None


def _holds(row: Mapping[str, Any], day: date) -> bool:
    return bool(row["valid_from"] <= day and ("valid_to" not in row or day < row["valid_to"]))


def _period(season: Mapping[str, Any], minute: int) -> str:
    for name, spans in season.items():
        if name != "months":
            for span in spans:
                begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in span.split("-"))
                if begin <= minute < end:
                    return str(name)
    raise ValueError(f"nothing holds at minute {minute}")


def surcharge_cents(blocks: list[tuple[int, int]], before: int, amount: int) -> int:
    """Surcharge of whole units used one by one after `before`: blocks are (above, cents)."""
    cents = 0
    for unit in range(before, before + amount):
        price = 0
        for above, surcharge in blocks:
            if unit >= above:
                price = surcharge
        cents += price
    return cents
