"""The demo's proof: what the meters served against what the ledger holds, channel by channel. Pure.

For every counter, from its first to its last reading:

    ledger = served, to the micro-unit; nothing held;
    the ledger's first and last register are the first and last that were served;
    |true - served| is at most two steps of the display.

Everything here is integers. Display values are before CT x VT; totals are after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 2


@dataclass(frozen=True, slots=True)
class Served:
    """What one counter of a simulated meter showed first and last, and the truth between.

    first_micro, last_micro: display. gained_micro: the display's gain, wraps counted in, after
    CT x VT. true_micro: the signal's gain between the same two moments. step_micro: one step of
    the display, after CT x VT.
    """

    site: str
    meter: str
    channel: str
    carrier: str
    first_micro: int
    last_micro: int
    gained_micro: int
    true_micro: int
    step_micro: int


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger holds of one channel between its first and last reading."""

    site: str
    meter: str
    channel: str
    first_micro: int | None
    last_micro: int | None
    booked_micro: int
    held_micro: int
    closes: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One channel's line. problems: empty when everything agrees."""

    site: str
    meter: str
    channel: str
    carrier: str
    true_micro: int
    served_micro: int
    ledger_micro: int
    step_micro: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """All counters of one unit of a carrier at a site. Differences: sums of absolute values."""

    site: str
    carrier: str
    unit: str
    channels: int
    good: int
    true_micro: int
    served_micro: int
    ledger_micro: int
    ledger_off_micro: int
    worst_steps: float


def parse_served(row: Mapping[str, Any]) -> Served:
    """One row of the control port's answer to {"served": true}."""
    first, last = row["first"], row["last"]
    multiplier: int = row["multiplier"]
    wrapped = (last["wraps"] - first["wraps"]) * (row["modulus_micro"] or 0)
    return Served(
        site=row["site"],
        meter=row["meter"],
        channel=row["channel"],
        carrier=row["carrier"],
        first_micro=first["served_micro"],
        last_micro=last["served_micro"],
        gained_micro=(last["served_micro"] - first["served_micro"] + wrapped) * multiplier,
        true_micro=last["true_micro"] - first["true_micro"],
        step_micro=row["step_micro"] * multiplier,
    )


def parse_booked(row: Mapping[str, Any]) -> Booked:
    """One row of the API's proof."""
    return Booked(
        site=row["site"],
        meter=row["meter"],
        channel=row["channel"],
        first_micro=row["register_start_micro"],
        last_micro=row["register_end_micro"],
        booked_micro=row["booked_micro"],
        held_micro=row["held_micro"],
        closes=row["closes"],
    )


def compare(served: Iterable[Served], booked: Iterable[Booked]) -> list[Verdict]:
    """One verdict per channel that either side knows."""
    ledger = {(row.site, row.meter, row.channel): row for row in booked}
    verdicts = [
        _verdict(row, ledger.pop((row.site, row.meter, row.channel), None)) for row in served
    ]
    verdicts += [
        Verdict(
            site=row.site,
            meter=row.meter,
            channel=row.channel,
            carrier="",
            true_micro=0,
            served_micro=0,
            ledger_micro=row.booked_micro,
            step_micro=1,
            problems=("the ledger has a channel that no meter served",),
        )
        for row in ledger.values()
    ]
    return verdicts


def _verdict(served: Served, booked: Booked | None) -> Verdict:
    problems: list[str] = []
    if booked is None:
        problems.append("served, but not in the ledger")
    else:
        if booked.first_micro != served.first_micro:
            problems.append(f"first register {booked.first_micro}, served {served.first_micro}")
        if booked.last_micro != served.last_micro:
            problems.append(f"last register {booked.last_micro}, served {served.last_micro}")
        if booked.booked_micro != served.gained_micro:
            off_micro = booked.booked_micro - served.gained_micro
            problems.append(f"ledger - served = {off_micro} micro-units")
        if booked.held_micro:
            problems.append(f"{booked.held_micro} micro-units are held")
        if not booked.closes:
            problems.append("the aggregator's own proof does not close")
    off_true = abs(served.true_micro - served.gained_micro)
    if off_true > MAX_STEPS * served.step_micro:
        problems.append(f"|true - served| = {off_true / served.step_micro:.2f} display steps")
    return Verdict(
        site=served.site,
        meter=served.meter,
        channel=served.channel,
        carrier=served.carrier,
        true_micro=served.true_micro,
        served_micro=served.gained_micro,
        ledger_micro=0 if booked is None else booked.booked_micro,
        step_micro=served.step_micro,
        problems=tuple(problems),
    )


def summarise(verdicts: Sequence[Verdict], unit_of: Mapping[str, str]) -> list[Line]:
    """One line per site, carrier and unit, in order of first appearance.

    unit_of: channel -> unit. All registers are added up, boundary and sub meters alike: the
    line proves registers, it is not a site's consumption.
    """
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        key = (verdict.site, verdict.carrier, unit_of[verdict.channel])
        groups.setdefault(key, []).append(verdict)
    return [
        Line(
            site=site,
            carrier=carrier,
            unit=unit,
            channels=len(rows),
            good=sum(not row.problems for row in rows),
            true_micro=sum(row.true_micro for row in rows),
            served_micro=sum(row.served_micro for row in rows),
            ledger_micro=sum(row.ledger_micro for row in rows),
            ledger_off_micro=sum(abs(row.ledger_micro - row.served_micro) for row in rows),
            worst_steps=max(
                abs(row.true_micro - row.served_micro) / row.step_micro for row in rows
            ),
        )
        for (site, carrier, unit), rows in groups.items()
    ]
