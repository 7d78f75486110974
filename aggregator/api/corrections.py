"""Corrections of a closed month: now - reported, and the restatements that found them. Pure.

What a restatement moved in a day enters a site's figures with the sign that the meter's role had
in the report. What restatements do not explain stands apart (`unexplained`): another role given to
a meter afterwards, or a figure that was changed without a record, which must not happen.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.api.accounts import COST, CarrierAccount, SiteAccount, Span, is_bought
from aggregator.closings import Closing, Part
from aggregator.ledger.factors import Measure
from aggregator.register.roles import Term
from aggregator.restatements import Restatement
from contract.channels import catalogue
from contract.interval import day_start
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS
from contract.units import from_micro, to_micro

CONSUMPTION, ESTIMATED, HELD = "amount", "amount_estimated", "amount_held"
_INTEGERS = (*INTEGER_FIELDS, "open_amount", "open_ms")
_IN_ACCOUNTS = {CONSUMPTION, ESTIMATED, HELD, *MEASURE_FIELDS}
WITHDRAWN = "open register"
"""Cause: what was estimated up to the month's end is withdrawn, for the register was read again."""


@dataclass(slots=True)
class Figures:
    """What one channel gave in a month: integers as stored, measures NaN when not determined."""

    integers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_INTEGERS, 0))
    measures: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MEASURE_FIELDS, 0.0))

    @classmethod
    def of(cls, parts: Iterable[Part]) -> "Figures":
        """Return the sum of parts."""
        figures = cls()
        for part in parts:
            for name in _INTEGERS:
                figures.integers[name] += getattr(part, name)
            for name in MEASURE_FIELDS:
                value = getattr(part, name)
                figures.measures[name] += math.nan if value is None else value
        return figures


@dataclass(frozen=True, slots=True)
class Finding:
    """What restatements of one Beijing day, with one cause and reason, changed."""

    found_ms: int
    """When the last of them was found."""
    cause: str
    why: str
    days: int
    """Days of the month that they changed."""
    amounts: Mapping[str, int]
    """Unit -> booked amount [micro-units]."""
    estimated: Mapping[str, int]
    held: Mapping[str, int]
    measures: Mapping[str, float]
    """Only those that changed; NaN when one was, or is, not determined."""


@dataclass(frozen=True, slots=True)
class ChannelCorrection:
    """One channel; what is there only now has reported figures of 0."""

    meter: str
    channel: str
    unit: str
    carrier: str
    role: str
    """In the report; of several the last, and of none what it is now."""
    reported: Figures
    now: Figures
    findings: Sequence[Finding]
    unexplained_micro: int
    """Of the booked amount."""

    @property
    def amount_micro(self) -> int:
        """The correction of the booked amount."""
        return self.now.integers[CONSUMPTION] - self.reported.integers[CONSUMPTION]


@dataclass(frozen=True, slots=True)
class CarrierCorrection:
    """One carrier of a site, or of all sites of a region."""

    carrier: str
    reported: CarrierAccount | None
    """None: nothing was."""
    now: CarrierAccount | None
    findings: Sequence[Finding]
    unexplained: Mapping[str, int]
    """Unit -> micro-units of the consumption's correction."""


def estimates_withdrawn(
    closing: Closing,
    reported: Sequence[Part],
    now: Sequence[Part],
    restated: Sequence[Restatement],
) -> Sequence[Restatement]:
    """Return, as records, what changed of the estimates for registers that were open at the end."""
    opened = {(one.site, one.meter, one.channel, one.from_ms): one.open_amount for one in reported}
    still = {(one.site, one.meter, one.channel, one.from_ms): one.open_amount for one in now}
    found = []
    for key in sorted(opened.keys() | still.keys()):
        was, is_ = opened.get(key, 0), still.get(key, 0)
        site, meter, channel, from_ms = key
        own = [one.found_ms for one in restated if (one.meter, one.channel) == (meter, channel)]
        if was != is_:
            found += [
                Restatement(
                    closing.region, site, meter, channel, from_ms, figure,
                    from_micro(was), from_micro(is_), WITHDRAWN, "",
                    max(own, default=closing.closed_ms),
                )
                for figure in (CONSUMPTION, ESTIMATED)
            ]  # fmt: skip
    return found


def channel_corrections(
    reported: Sequence[Part], now: Sequence[Part], restated: Sequence[Restatement]
) -> Iterator[ChannelCorrection]:
    """Yield every channel of a site that has figures, by meter and name."""
    before, after = _by_channel(reported), _by_channel(now)
    records: dict[tuple[str, str], list[Restatement]] = defaultdict(list)
    for record in restated:
        records[record.meter, record.channel].append(record)
    for meter, channel in sorted(before.keys() | after.keys()):
        of_report, of_now = before.get((meter, channel), []), after.get((meter, channel), [])
        own = records[meter, channel]
        last = (of_report or of_now)[-1]
        then, today = Figures.of(of_report), Figures.of(of_now)
        moved = sum(_micro(record) for record in own if record.measure == CONSUMPTION)
        yield ChannelCorrection(
            meter=meter,
            channel=channel,
            unit=str(catalogue()[channel].unit),
            carrier=last.carrier,
            role=last.role,
            reported=then,
            now=today,
            findings=_findings([(record, None) for record in own]),
            unexplained_micro=today.integers[CONSUMPTION] - then.integers[CONSUMPTION] - moved,
        )


def carrier_corrections(
    reported: SiteAccount,
    now: SiteAccount,
    spans: Sequence[Span],
    spans_now: Sequence[Span],
    restated: Sequence[Restatement],
) -> Iterator[CarrierCorrection]:
    """Yield every carrier of a site; spans: those of the reported parts, and of today's."""
    before = {account.carrier: account for account in reported.carriers}
    after = {account.carrier: account for account in now.carriers}
    records: dict[str, list[tuple[Restatement, Term | None]]] = defaultdict(list)
    of_report, of_now = _terms(spans), _terms(spans_now)
    for record in restated:
        term = _term(of_report, record) or _term(of_now, record)
        if term is not None and term.consumption:
            records[term.carrier].append((record, term))
    for carrier in sorted(before.keys() | after.keys()):
        then, today = before.get(carrier), after.get(carrier)
        findings = _findings(records[carrier])
        yield CarrierCorrection(carrier, then, today, findings, _rest(then, today, findings))


def summed_corrections(sites: Iterable[CarrierCorrection]) -> Sequence[CarrierCorrection]:
    """Add up the carriers of many sites; CarrierCorrections of a region, by carrier."""
    by_carrier: dict[str, list[CarrierCorrection]] = defaultdict(list)
    for one in sites:
        by_carrier[one.carrier].append(one)
    found = []
    for carrier, own in sorted(by_carrier.items()):
        then = _account(carrier, [one.reported for one in own])
        today = _account(carrier, [one.now for one in own])
        findings = _joined([finding for one in own for finding in one.findings])
        found.append(
            CarrierCorrection(carrier, then, today, findings, _rest(then, today, findings))
        )
    return found


def difference(now: Mapping[str, int], reported: Mapping[str, int]) -> Mapping[str, int]:
    """Return now - reported by unit; what is in neither is left out."""
    return {unit: now.get(unit, 0) - reported.get(unit, 0) for unit in {**reported, **now}}


def _rest(
    reported: CarrierAccount | None, now: CarrierAccount | None, findings: Sequence[Finding]
) -> Mapping[str, int]:
    rest = dict(difference(_consumption(now), _consumption(reported)))
    for finding in findings:
        for unit, micro in finding.amounts.items():
            rest[unit] = rest.get(unit, 0) - micro
    return {unit: micro for unit, micro in rest.items() if micro}


def _consumption(account: CarrierAccount | None) -> Mapping[str, int]:
    return {} if account is None else account.consumption


def _by_channel(parts: Sequence[Part]) -> dict[tuple[str, str], list[Part]]:
    found: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in parts:
        if part.channel:
            found[part.meter, part.channel].append(part)
    return found


_Terms = Sequence[tuple[Span, Mapping[tuple[str, str], Term]]]


def _terms(spans: Sequence[Span]) -> _Terms:
    return [(span, {(term.meter, term.channel): term for _, term in span.terms}) for span in spans]


def _term(spans: _Terms, record: Restatement) -> Term | None:
    """Return what a channel was to its site on the day of a record."""
    for span, terms in spans:
        if span.start_ms <= record.day_ms < span.end_ms:
            return terms.get((record.meter, record.channel))
    return None


def _micro(record: Restatement) -> int:
    """Return what a record of an amount changed [micro-units]; nothing known is nothing booked."""
    return to_micro(record.to_value or 0.0) - to_micro(record.from_value or 0.0)


def _findings(records: Sequence[tuple[Restatement, Term | None]]) -> Sequence[Finding]:
    """Gather records, signed by what their channel is to the site; None: for itself."""
    new_days = {
        _occasion(record)
        for record, _ in records
        if record.measure == CONSUMPTION and record.from_value is None
    }
    single = []
    for record, term in records:
        if record.measure not in _IN_ACCOUNTS:
            continue
        unit = str(catalogue()[record.channel].unit)
        sign = _sign(record.measure, term)
        amounts = {unit: sign * _micro(record)} if record.measure == CONSUMPTION else {}
        estimated = {unit: _micro(record)} if record.measure == ESTIMATED else {}
        held = {unit: _micro(record)} if record.measure == HELD else {}
        measures = {}
        if record.measure in MEASURE_FIELDS and sign:
            # Of a day of which nothing was known a measure was not undetermined, there was none.
            nothing = record.from_value is None and _occasion(record) in new_days
            before = 0.0 if nothing else _known(record.from_value)
            measures = {record.measure: sign * (_known(record.to_value) - before)}
        finding = Finding(
            found_ms=record.found_ms,
            cause=record.cause,
            why=record.why,
            days=1,
            amounts=amounts,
            estimated=estimated,
            held=held,
            measures=measures,
        )
        single.append((record.day_ms, finding))
    groups: dict[tuple[int, str, str], tuple[set[int], list[Finding]]] = {}
    for day_ms, finding in single:
        days, own = groups.setdefault(_same(finding), (set(), []))
        days.add(day_ms)
        own.append(finding)
    return [_merged(own, len(days)) for _, (days, own) in sorted(groups.items())]


def _occasion(record: Restatement) -> tuple[str, str, int, str, str]:
    return record.meter, record.channel, record.day_ms, record.cause, record.why


def _sign(measure: str, term: Term | None) -> int:
    """Return how a figure of a term enters its site's account."""
    if term is None:
        return 1
    if measure == COST:
        return int(is_bought(term))
    return term.co2 if measure == Measure.CO2_KG else term.consumption


def _joined(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Gather findings of several sites."""
    groups: dict[tuple[int, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[_same(finding)].append(finding)
    return [_merged(own, max(one.days for one in own)) for _, own in sorted(groups.items())]


def _same(finding: Finding) -> tuple[int, str, str]:
    return day_start(finding.found_ms), finding.cause, finding.why


def _merged(findings: Sequence[Finding], days: int) -> Finding:
    first = findings[0]
    return Finding(
        found_ms=max(one.found_ms for one in findings),
        cause=first.cause,
        why=first.why,
        days=days,
        amounts=_total(one.amounts for one in findings),
        estimated=_total(one.estimated for one in findings),
        held=_total(one.held for one in findings),
        measures={
            name: math.fsum(one.measures[name] for one in findings if name in one.measures)
            for name in MEASURE_FIELDS
            if any(name in one.measures for one in findings)
        },
    )


def _total(amounts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: dict[str, int] = defaultdict(int)
    for one in amounts:
        for unit, micro in one.items():
            total[unit] += micro
    return total


def _account(carrier: str, accounts: Sequence[CarrierAccount | None]) -> CarrierAccount | None:
    """Add up one carrier of several sites; None when there is none."""
    own = [account for account in accounts if account is not None]
    if not own:
        return None
    costs = [account.cost_cny for account in own if account.cost_cny is not None]
    measures = {measure for account in own for measure in account.kg}
    return CarrierAccount(
        carrier,
        any(account.counted for account in own),
        consumption=dict(_total(account.consumption for account in own)),
        estimated=dict(_total(account.estimated for account in own)),
        held=dict(_total(account.held for account in own)),
        kg={m: math.fsum(a.kg[m] for a in own if m in a.kg) for m in measures},
        cost_cny=math.fsum(costs) if costs else None,
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else value
