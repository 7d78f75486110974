"""What the API says of a closed month: shapes, and how corrections get into them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aggregator.api.accounts import CarrierAccount, SiteAccount
from aggregator.api.corrections import (
    CarrierCorrection,
    ChannelCorrection,
    Figures,
    Finding,
    difference,
)
from aggregator.api.routes.consumption import Totals, totals
from aggregator.api.shapes import Amounts, Shape, known
from aggregator.closings import Closing
from aggregator.ledger.factors import Measure
from aggregator.register.carriers import carriers
from aggregator.signature import signer


class ClosingRow(Shape):
    """One closed month of one region."""

    region: str
    month: str
    month_ms: int
    author: str
    reason: str
    closed_ms: int
    factor_set: str


class ClosingsAnswer(Shape):
    """By region and month."""

    closings: tuple[ClosingRow, ...]


class FindingRow(Shape):
    """What restatements of one day, with one cause and reason, changed."""

    found_ms: int
    cause: str
    why: str
    author: str
    """Who told the event, changed the register's rows or ran the command; empty when readings alone
    changed it."""
    days: int
    amount: Amounts
    estimated: Amounts
    """Part of the amount."""
    held: Amounts
    kgce_calorific: float | None = None
    kgce_equivalent: float | None = None
    co2_kg: float | None = None
    cost_cny: float | None = None


class CarrierFigures(Shape):
    """Consumption of one carrier; measures null when not determined."""

    consumption: Amounts
    estimated: Amounts
    held: Amounts
    kgce_calorific: float | None
    kgce_equivalent: float | None
    co2_kg: float | None
    cost_cny: float | None


class CarrierRow(Shape):
    """One carrier; correction = now - reported."""

    carrier: str
    carrier_zh: str
    reported: CarrierFigures
    now: CarrierFigures
    correction: CarrierFigures
    unexplained: Amounts
    """The part of the correction that no restatement explains: a role that was changed."""
    found: tuple[FindingRow, ...]


class ChannelFigures(Shape):
    """One channel's month."""

    amount: Amounts
    amount_estimated: Amounts
    amount_held: Amounts
    kgce_calorific: float | None
    kgce_equivalent: float | None
    co2_kg: float | None
    cost_cny: float | None
    measured_s: float
    estimated_s: float
    missing_s: float
    received: int
    expected: int
    open_amount: Amounts
    """Part of `amount_estimated` for the time after the register's last reading."""
    open_s: float
    """That time, part of `estimated_s`."""
    open_estimation: Literal["same quarters of four weeks"] | None
    """How that part was estimated; null: there is none."""


class ChannelRow(Shape):
    """One channel; correction = now - reported."""

    meter: str
    channel: str
    carrier: str
    role: str
    """As reported; empty: in no account."""
    reported: ChannelFigures
    now: ChannelFigures
    correction: ChannelFigures
    unexplained: Amounts
    found: tuple[FindingRow, ...]


class Answer(Shape):
    """What a site's totals come to."""

    total: Totals
    measured_share: float | None
    meters_without_data: tuple[str, ...]


class SiteRow(Shape):
    """One site."""

    site: str
    reported: Answer
    now: Answer
    carriers: tuple[CarrierRow, ...]
    channels: tuple[ChannelRow, ...] = ()
    """With detail=channels."""


class ClosingAnswer(ClosingRow):
    """A closed month; `carriers` are the sums over the sites."""

    carriers: tuple[CarrierRow, ...]
    sites: tuple[SiteRow, ...]


class FlatCarrier(Shape):
    """A line of the CSV table."""

    region: str
    month: str
    site: str
    carrier: str
    reported: CarrierFigures
    now: CarrierFigures
    correction: CarrierFigures
    unexplained: Amounts
    found_ms: int | None
    """When the last finding was made."""
    causes: str


class FlatChannel(Shape):
    """A line of the CSV table with detail=channels."""

    region: str
    month: str
    site: str
    meter: str
    channel: str
    carrier: str
    role: str
    reported: ChannelFigures
    now: ChannelFigures
    correction: ChannelFigures
    unexplained: Amounts
    found_ms: int | None
    causes: str


@dataclass(frozen=True, slots=True)
class AnsweredSite:
    """One site, before it is shaped."""

    site: str
    reported: SiteAccount
    now: SiteAccount
    carriers: Sequence[CarrierCorrection]
    channels: Sequence[ChannelCorrection]
    authors: Mapping[str, str]
    """Cause -> author."""


def said(closing: Closing) -> dict[str, Any]:
    """Return the fields of a `ClosingRow`."""
    names = ("region", "month", "month_ms", "author", "reason", "closed_ms", "factor_set")
    return {name: getattr(closing, name) for name in names}


def site_row(answer: AnsweredSite, *, detailed: bool) -> SiteRow:
    """Shape a site, with its channels when `detailed`."""
    row = SiteRow(
        site=answer.site,
        reported=_totals(answer.reported),
        now=_totals(answer.now),
        carriers=tuple(carrier_row(one, answer.authors) for one in answer.carriers),
    )
    if not detailed:
        return row
    channels = tuple(_channel(one, answer.authors) for one in answer.channels)
    return SiteRow(
        site=row.site, reported=row.reported, now=row.now, carriers=row.carriers, channels=channels
    )


def _totals(account: SiteAccount) -> Answer:
    return Answer(
        total=totals(account),
        measured_share=account.measured_share,
        meters_without_data=tuple(account.without_data),
    )


# ------------------------------------------------------------------ one carrier


def carrier_row(one: CarrierCorrection, authors: Mapping[str, str]) -> CarrierRow:
    """Shape one carrier; authors: who stands behind which cause."""
    return CarrierRow(
        carrier=one.carrier,
        carrier_zh=carriers()[one.carrier].name_zh,
        **_carrier_figures(one),
        unexplained=Amounts.of(one.unexplained),
        found=tuple(_finding(finding, authors) for finding in one.findings),
    )


def _carrier_figures(one: CarrierCorrection) -> dict[str, CarrierFigures]:
    nothing = CarrierAccount(one.carrier, counted=False)
    then, today = one.reported or nothing, one.now or nothing

    def figures(account: CarrierAccount) -> CarrierFigures:
        own = _measures(account)
        return CarrierFigures(
            consumption=Amounts.of(account.consumption),
            estimated=Amounts.of(account.estimated),
            held=Amounts.of(account.held),
            **_shown({name: own.get(name, math.nan) for name in _MEASURES}),
        )

    return {
        "reported": figures(then),
        "now": figures(today),
        "correction": CarrierFigures(
            consumption=Amounts.of(difference(today.consumption, then.consumption)),
            estimated=Amounts.of(difference(today.estimated, then.estimated)),
            held=Amounts.of(difference(today.held, then.held)),
            **_shown(_difference(_measures(today), _measures(then))),
        ),
    }


def _difference(now: Mapping[str, float], reported: Mapping[str, float]) -> dict[str, float]:
    """Return now - reported of each measure; NaN when neither has it, or one is undetermined."""
    return {
        name: now.get(name, 0.0) - reported.get(name, 0.0)
        if name in now or name in reported
        else math.nan
        for name in _MEASURES
    }


_MEASURES = (*map(str, Measure), "cost_cny")


def _measures(account: CarrierAccount) -> Mapping[str, float]:
    """Return the measures that an account has, NaN where not determined."""
    own = {str(measure): kg for measure, kg in account.kg.items()}
    return own if account.cost_cny is None else own | {"cost_cny": account.cost_cny}


def _shown(measures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: known(value) for name, value in measures.items()}


def _finding(finding: Finding, authors: Mapping[str, str]) -> FindingRow:
    return FindingRow(
        found_ms=finding.found_ms,
        cause=finding.cause,
        why=finding.why,
        author=authors.get(finding.cause, "") or signer(finding.cause, finding.why),
        days=finding.days,
        amount=Amounts.of(finding.amounts),
        estimated=Amounts.of(finding.estimated),
        held=Amounts.of(finding.held),
        **_shown(finding.measures),
    )


# ------------------------------------------------------------------ one channel


def _channel(one: ChannelCorrection, authors: Mapping[str, str]) -> ChannelRow:
    return ChannelRow(
        meter=one.meter,
        channel=one.channel,
        carrier=one.carrier,
        role=one.role,
        **_three(one),
        unexplained=_unexplained(one),
        found=tuple(_finding(finding, authors) for finding in one.findings),
    )


def _three(one: ChannelCorrection) -> dict[str, ChannelFigures]:
    then, today = one.reported, one.now
    correction = Figures(
        {name: today.integers[name] - then.integers[name] for name in then.integers},
        {name: today.measures[name] - then.measures[name] for name in then.measures},
    )
    figures = {"reported": then, "now": today, "correction": correction}
    return {name: _channel_figures(own, one.unit) for name, own in figures.items()}


def _channel_figures(figures: Figures, unit: str) -> ChannelFigures:
    integers = figures.integers
    return ChannelFigures(
        amount=Amounts.of({unit: integers["amount"]}),
        amount_estimated=Amounts.of({unit: integers["amount_estimated"]}),
        amount_held=Amounts.of({unit: integers["amount_held"]}),
        **_shown(figures.measures),
        measured_s=integers["measured_ms"] / 1000,
        estimated_s=integers["estimated_ms"] / 1000,
        missing_s=integers["missing_ms"] / 1000,
        received=integers["received"],
        expected=integers["expected"],
        open_amount=Amounts.of({unit: integers["open_amount"]}),
        open_s=integers["open_ms"] / 1000,
        open_estimation="same quarters of four weeks" if integers["open_ms"] else None,
    )


def _unexplained(one: ChannelCorrection) -> Amounts:
    return Amounts.of({one.unit: one.unexplained_micro} if one.unexplained_micro else {})


# ------------------------------------------------------------------ CSV


def flat_carriers(closing: Closing, answers: Sequence[AnsweredSite]) -> Iterator[FlatCarrier]:
    """Yield a line per site and carrier."""
    for answer in answers:
        for one in answer.carriers:
            yield FlatCarrier(
                region=closing.region,
                month=closing.month,
                site=answer.site,
                carrier=one.carrier,
                **_carrier_figures(one),
                unexplained=Amounts.of(one.unexplained),
                found_ms=_last(one.findings),
                causes=_causes(one.findings),
            )


def flat_channels(closing: Closing, answers: Sequence[AnsweredSite]) -> Iterator[FlatChannel]:
    """Yield a line per channel."""
    for answer in answers:
        for one in answer.channels:
            yield FlatChannel(
                region=closing.region,
                month=closing.month,
                site=answer.site,
                meter=one.meter,
                channel=one.channel,
                carrier=one.carrier,
                role=one.role,
                **_three(one),
                unexplained=_unexplained(one),
                found_ms=_last(one.findings),
                causes=_causes(one.findings),
            )


def _last(findings: Sequence[Finding]) -> int | None:
    return max((finding.found_ms for finding in findings), default=None)


def _causes(findings: Sequence[Finding]) -> str:
    causes = (f"{one.cause}: {one.why}" if one.why else one.cause for one in findings)
    return "; ".join(dict.fromkeys(causes))
