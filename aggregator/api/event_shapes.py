"""Events as JSON: registers in display units with the unit in the name, micro-units inside."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, PlainSerializer, StringConstraints

from aggregator.api.errors import ApiError
from aggregator.api.shapes import Id, Shape, TimeMs
from aggregator.facts import ToldEvent
from aggregator.ledger.meter_events import (
    EventError,
    EventKind,
    MeterEvent,
    check_event,
    check_happened,
)
from contract.channels import catalogue
from contract.units import MICRO

UNIT_SUFFIXES = {"kWh": "kwh", "kvarh": "kvarh", "m3": "m3", "t": "t", "GJ": "gj"}
"""Unit of a cumulative channel -> how names of its registers end."""
REGISTERS = ("final", "start", "value")
_PLAIN = ("meter", "channel", "edge", "until_ms", "factor", "offset_ms")
"""Fields that are the same inside; absent is "" or None there."""

KindName = Literal[
    "exchange", "reset", "rollover", "correction", "clock", "accept", "reject", "replace"
]
Words = Annotated[str, StringConstraints(max_length=500)]


def _decimal(value: object) -> object:
    """Read a register as decimal text or number, exactly."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("a decimal number or its text expected")
    try:
        shown = Decimal(value if isinstance(value, int) else str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is not a decimal number") from None
    if not shown.is_finite() or abs(shown) > MICRO**3:
        raise ValueError(f"{str(value)[:40]!r} is not what a register can show")
    if shown * MICRO % 1:
        raise ValueError(f"{str(value)[:40]!r} has more than six decimal places")
    return shown


def _factor(value: object) -> object:
    """Keep a factor as it was written; `1e3` and the like are numbers too."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Shown = Annotated[
    Decimal,
    BeforeValidator(_decimal, json_schema_input_type=int | float | str),
    PlainSerializer(float, return_type=float, when_used="json"),
]


class EventFields(Shape):
    """What an event says. Registers as the display shows them, before CT x VT."""

    kind: KindName
    site: Id
    meter: Id | None = None
    """Left out (clock only): every meter that `edge` reads."""
    channel: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Left out (correction, clock): every cumulative channel."""
    edge: Id | None = None
    at_ms: TimeMs
    until_ms: TimeMs | None = None
    """Excluded."""
    final_kwh: Shown | None = None
    final_kvarh: Shown | None = None
    final_m3: Shown | None = None
    final_t: Shown | None = None
    final_gj: Shown | None = None
    start_kwh: Shown | None = None
    start_kvarh: Shown | None = None
    start_m3: Shown | None = None
    start_t: Shown | None = None
    start_gj: Shown | None = None
    value_kwh: Shown | None = None
    value_kvarh: Shown | None = None
    value_m3: Shown | None = None
    value_t: Shown | None = None
    value_gj: Shown | None = None
    factor: Annotated[
        Annotated[str, StringConstraints(max_length=40)] | None, BeforeValidator(_factor)
    ] = None
    """`1000`, `0.001` or `1/3`."""
    offset_ms: int | None = None
    """Readings were taken so much later than the edge's clock said; -3600000: it was ahead."""
    author: Words
    reason: Words

    def event(self, region: str, now_ms: int) -> MeterEvent:
        """Return the checked event; ApiError 422 names the field that is wrong."""
        given = {name: getattr(self, name) for name in _PLAIN if getattr(self, name) is not None}
        given |= dict(self._micro())
        try:
            told = MeterEvent(
                EventKind(self.kind), region, self.site, self.at_ms,
                self.author.strip(), self.reason.strip(), **given,
            )  # fmt: skip
            return check_happened(check_event(told), now_ms)
        except EventError as error:
            name, _, reason = str(error).partition(": ")
            raise ApiError(422, self._shown_name(name), reason) from None

    def _micro(self) -> Iterator[tuple[str, int]]:
        unit = self._unit()
        for register in REGISTERS:
            for suffix in UNIT_SUFFIXES.values():
                name = f"{register}_{suffix}"
                shown: Decimal | None = getattr(self, name)
                if shown is None:
                    continue
                if unit is None:
                    raise ApiError(422, "channel", f"needed to know the unit of {name}")
                if suffix != unit:
                    reason = f"{self.channel} is metered in {register}_{unit}"
                    raise ApiError(422, name, reason)
                yield f"{register}_micro", int(shown * MICRO)

    def _unit(self) -> str | None:
        known = catalogue().get(self.channel or "")
        return UNIT_SUFFIXES.get(str(known.unit)) if known else None

    def _shown_name(self, name: str) -> str:
        """Name a field as the one who sent it knows it."""
        if not re.fullmatch(r"[a-z_]{1,20}", name):
            return ""
        unit = self._unit()
        return name.replace("_micro", f"_{unit}" if unit else "")

    @classmethod
    def of(cls, event: MeterEvent, **more: Any) -> Self:
        """Return an event as it is shown; only fields that say something are set."""
        given: dict[str, Any] = {
            "kind": str(event.kind),
            "site": event.site,
            "at_ms": event.at_ms,
            "author": event.author,
            "reason": event.reason,
        }
        given |= {n: getattr(event, n) for n in _PLAIN if getattr(event, n) not in ("", None)}
        if event.channel:
            unit = UNIT_SUFFIXES[str(catalogue()[event.channel].unit)]
            for register in REGISTERS:
                micro: int | None = getattr(event, f"{register}_micro")
                if micro is not None:
                    given[f"{register}_{unit}"] = Decimal(micro) / MICRO
        return cls.model_validate(given | more)


class EventRow(EventFields):
    """An event as it is kept."""

    id: int
    region: str
    told_ms: int
    stands: bool
    """False: undone, by whom and why."""
    undone_ms: int | None = None
    undone_by: str | None = None
    undone_why: str | None = None

    @classmethod
    def told(cls, told: ToldEvent) -> Self:
        """Return a kept event as it is shown."""
        undone = {}
        if told.undone_ms is not None:
            undone = {
                "undone_ms": told.undone_ms,
                "undone_by": told.undone_by,
                "undone_why": told.undone_why,
            }
        return cls.of(
            told.event,
            id=told.id,
            region=told.event.region,
            told_ms=told.told_ms,
            stands=told.undone_ms is None,
            **undone,
        )
