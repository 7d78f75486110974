"""What happened to meters and what people decided: dated facts, each with author and reason.

A fact is never changed or deleted, only undone by another person's word; both stay readable. What
each kind does to the figures: docs/formats/events.md.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from operator import itemgetter
from typing import TypeVar

from aggregator.directory import SeriesKey
from aggregator.ledger.registers import (
    SINCE_EVER_MS,
    Correction,
    Cut,
    Registers,
    Shift,
)
from contract.channels import catalogue
from contract.interval import SECOND_MS
from contract.reading import check_id
from contract.topics import check_region
from contract.units import MAX_CUMULATIVE_MICRO

Said = TypeVar("Said")

_EARLIEST_MS, _LATEST_MS = 1_577_836_800_000, 2_524_608_000_000
"""2020 to 2050: no reading is older, and the register kernel spans 34 years."""
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,12})?(/\d{1,12})?")
AHEAD_MS = 120_000
"""What is further ahead of the aggregator's clock has not happened, nor been read [ms]."""
MAX_OFFSET_MS = 400 * 86_400_000
"""A clock is not corrected by more than this: whatever was further off is no clock."""


class EventKind(StrEnum):
    """Kinds of facts; the first four are events, the rest decisions about single readings."""

    EXCHANGE = "exchange"
    """Another meter was put in: `final_micro` of the old one, `start_micro` of the new one."""
    RESET = "reset"
    """The register was set back; what it showed before and after, where known."""
    ROLLOVER = "rollover"
    """The register wrapped at `final_micro` and went on from 0, which no rule could know."""
    CORRECTION = "correction"
    """Readings from `at_ms` to `until_ms` are `factor` times what was read: a wrong unit."""
    CLOCK = "clock"
    """Readings of `edge` were really taken `offset_ms` later than its clock said; 0: it was right,
    though the edge did not know."""
    ACCEPT = "accept"
    """The step to the reading at `at_ms` is real."""
    REJECT = "reject"
    """Readings from `at_ms` to `until_ms`, or the one at `at_ms`, do not count."""
    REPLACE = "replace"
    """The reading at `at_ms` should have been `value_micro`."""


class EventError(ValueError):
    """A fact says too little, too much, or what cannot be; names the field."""


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One fact. Registers in micro-units of the display, before CT x VT; times UTC [ms].

    `meter` "" is every meter that `edge` reads; `channel` "" every cumulative channel.
    """

    kind: EventKind
    region: str
    site: str
    at_ms: int
    author: str
    reason: str
    meter: str = ""
    channel: str = ""
    edge: str = ""
    until_ms: int | None = None
    final_micro: int | None = None
    start_micro: int | None = None
    value_micro: int | None = None
    factor: str | None = None
    """A decimal fraction, exactly as entered."""
    offset_ms: int | None = None

    def concerns(self, key: SeriesKey) -> bool:
        """Tell whether the fact is about a channel."""
        return (
            (self.region, self.site) == (key.region, key.site)
            and self.meter in ("", key.meter)
            and self.channel in ("", key.channel)
        )

    @property
    def span(self) -> tuple[int, int]:
        """From when to when readings are concerned [ms], the end excluded."""
        return self.at_ms, self.at_ms + 1 if self.until_ms is None else self.until_ms


_FIELDS = ("meter", "channel", "edge", "until_ms", "final_micro", "start_micro", "value_micro",
           "factor", "offset_ms")  # fmt: skip
_NEEDED = {
    EventKind.EXCHANGE: ("meter", "channel"),
    EventKind.RESET: ("meter", "channel"),
    EventKind.ROLLOVER: ("meter", "channel", "final_micro"),
    EventKind.CORRECTION: ("meter", "until_ms", "factor"),
    EventKind.CLOCK: ("edge", "until_ms", "offset_ms"),
    EventKind.ACCEPT: ("meter", "channel"),
    EventKind.REJECT: ("meter", "channel"),
    EventKind.REPLACE: ("meter", "channel", "value_micro"),
}
_ALLOWED = {
    EventKind.EXCHANGE: ("final_micro", "start_micro"),
    EventKind.RESET: ("final_micro", "start_micro"),
    EventKind.CORRECTION: ("channel",),
    EventKind.CLOCK: ("meter",),
    EventKind.REJECT: ("until_ms",),
}


def check_event(event: MeterEvent) -> MeterEvent:
    """Return the fact when it says what its kind needs and no more; else EventError."""
    _check_fields(event)
    try:
        check_region(event.region, "region")
        for name in ("site", "meter", "edge"):
            if name == "site" or getattr(event, name):
                check_id(getattr(event, name), name)
    except ValueError as error:
        raise EventError(str(error)) from error
    if not _EARLIEST_MS <= event.at_ms <= _LATEST_MS:
        raise EventError(f"at_ms: {event.at_ms} is not between 2020 and 2050 in UTC ms")
    known = catalogue().get(event.channel)
    if event.channel and (known is None or not known.cumulative):
        raise EventError(f"channel: {event.channel!r:.80} is no cumulative channel")
    for name in ("author", "reason"):
        text = getattr(event, name)
        if not text.strip() or len(text) > 500:
            raise EventError(f"{name}: 1 to 500 characters expected")
        try:
            check_words(text)
        except ValueError as error:
            raise EventError(f"{name}: {error}") from None
    for name in ("final_micro", "start_micro", "value_micro"):
        micro = getattr(event, name)
        if micro is not None and abs(micro) > MAX_CUMULATIVE_MICRO:
            raise EventError(f"{name}: beyond {MAX_CUMULATIVE_MICRO}")
    if event.until_ms is not None and event.until_ms <= event.at_ms:
        raise EventError("until_ms: not after at_ms")
    if event.factor is not None and not 0 < factor_of(event.factor) <= 10**9:
        raise EventError(f"factor: {event.factor!r:.80} is not above 0 and at most 1e9")
    if event.offset_ms is not None and abs(event.offset_ms) > MAX_OFFSET_MS:
        raise EventError(f"offset_ms: {event.offset_ms} is more than 400 days")
    return event


def check_happened(event: MeterEvent, now_ms: int) -> MeterEvent:
    """Return the fact when it is not of the future; else EventError.

    A register that ends years ahead would book what it shows into all of them. A clock's span is of
    the clock's own time: what counts is when that was really. Any span may end later.
    """
    at_ms = event.at_ms + (event.offset_ms or 0)
    if at_ms > now_ms + AHEAD_MS:
        ahead_s = (at_ms - now_ms) // SECOND_MS
        really = "" if at_ms == event.at_ms else " with offset_ms"
        raise EventError(
            f"at_ms: {event.at_ms}{really} is {ahead_s} s ahead of the aggregator's clock; at most "
            f"{AHEAD_MS // SECOND_MS} s"
        )
    return event


def _check_fields(event: MeterEvent) -> None:
    needed, allowed = _NEEDED[event.kind], _ALLOWED.get(event.kind, ())
    for name in _FIELDS:
        given = getattr(event, name) not in ("", None)
        if name in needed and not given:
            raise EventError(f"{name}: {event.kind} needs it")
        if given and name not in needed and name not in allowed:
            raise EventError(f"{name}: {event.kind} takes none")


def check_words(text: str) -> str:
    """Return what a person wrote; ValueError for what no text holds and not every database keeps.

    Line breaks and tabs are text.
    """
    for mark in text:
        if unicodedata.category(mark) in ("Cc", "Cs") and mark not in "\n\r\t":
            raise ValueError(f"holds the control character U+{ord(mark):04X}")
    return text


def factor_of(text: str) -> Fraction:
    """Read `1000`, `0.001` or `1/3`; EventError when it is no number."""
    if not _NUMBER.fullmatch(text):  # before Fraction, which would compute 1e999999999
        raise EventError(f"factor: {text!r:.80} is not a number")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise EventError(f"factor: {text!r:.80} is not a number") from error


def registers_of(
    key: SeriesKey, multipliers: Iterable[tuple[int, int]], events: Sequence[MeterEvent]
) -> Registers:
    """Put together all that is declared about one channel.

    multipliers: (valid from [ms], CT x VT) of the meter's rows, the first of which says since when
    there is such a meter; events: those that stand, oldest
    word first: of two about the same moment the later word counts.
    """
    multipliers = list(multipliers)
    own = [event for event in events if event.concerns(key)]
    of = {kind: [event for event in own if event.kind is kind] for kind in EventKind}
    cuts = {}
    for event in own:
        if event.kind in (EventKind.EXCHANGE, EventKind.RESET):
            cuts[event.at_ms] = Cut(event.at_ms, event.final_micro, event.start_micro)
        elif event.kind is EventKind.ROLLOVER:
            cuts[event.at_ms] = Cut(event.at_ms, event.final_micro, 0)
    return Registers(
        multipliers=steps(multipliers) or ((SINCE_EVER_MS, 1),),
        cuts=tuple(cuts[at_ms] for at_ms in sorted(cuts)),
        accepted=frozenset(event.at_ms for event in of[EventKind.ACCEPT]),
        rejected=tuple(sorted({event.span for event in of[EventKind.REJECT]})),
        replaced={
            event.at_ms: event.value_micro
            for event in of[EventKind.REPLACE]
            if event.value_micro is not None
        },
        corrections=tuple(
            # Said twice it counts once; in one order, for each is rounded.
            Correction(*said)
            for said in sorted(
                {
                    (*event.span, factor_of(event.factor))
                    for event in of[EventKind.CORRECTION]
                    if event.factor is not None
                }
            )
        ),
        shifts=tuple(
            Shift(event.edge, *event.span, event.offset_ms)
            for event in of[EventKind.CLOCK]
            if event.offset_ms is not None
        ),
        commissioned_ms=commissioned(since_ms for since_ms, _ in multipliers),
    )


def commissioned(valid_from_ms: Iterable[int]) -> int:
    """Return since when a meter is known by its rows; 0 is since ever."""
    return min(valid_from_ms, default=0) or SINCE_EVER_MS


def steps(rows: Iterable[tuple[int, Said]]) -> tuple[tuple[int, Said], ...]:
    """Leave out rows that repeat what the one before says; the first holds since ever."""
    found: list[tuple[int, Said]] = []
    for since_ms, said in sorted(rows, key=itemgetter(0)):
        if not found or found[-1][1] != said:
            found.append((since_ms if found else SINCE_EVER_MS, said))
    return tuple(found)
