"""A site's month in parts: one per channel and role of its meter, as known now or as reported.

A meter keeps its role for the whole month as a rule; then its part is the stored month. Where the
register gives it another one in between, its part is the sum of the intervals that start while the
role holds. To a register that was not read up to the end of a month that is over, what it will
have counted is added as an estimate (`open_registers`). Parts say everything an account needs, so
that one that was frozen is added up by the same rules as one made now, whatever the register has
learnt since.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isnan
from operator import attrgetter
from typing import Any

import numpy as np

from aggregator.api.accounts import SiteAccount, Span, account_of, of_series, spans_of
from aggregator.api.open_registers import OpenTail, open_tails
from aggregator.api.reader import LedgerReader, cumulative
from aggregator.batch import Float64, IntervalColumns
from aggregator.closings import Part
from aggregator.kernels.register import ESTIMATED
from aggregator.register.model import Meter, Role, Site
from aggregator.register.roles import terms
from aggregator.rollups import summed
from contract.interval import next_month
from contract.stored import INTEGER_FIELDS, MEASURE_FIELDS, Level

_NOT_ESTIMATED = ("", Role.CHECK)
_FIGURES = (*INTEGER_FIELDS, *MEASURE_FIELDS)


@dataclass(frozen=True, slots=True)
class _Step:
    """A time in which a meter has one role, or the register does not have it."""

    from_ms: int
    to_ms: int
    meter: Meter | None


def month_parts(reader: LedgerReader, site: Site, month_ms: int) -> Sequence[Part]:
    """Return what is known now of a site's month, by meter, channel and time; StoreError."""
    end_ms = next_month(month_ms)
    found = cumulative(reader.series(site.id), site.region)
    steps = _steps(spans_of(reader, site, month_ms, end_ms))
    split = {one.index for one in found if len(steps.get(one.key.meter, ())) > 1}
    whole = [one.index for one in found if one.index not in split]
    months = reader.figures(Level.MONTH, whole, month_ms, month_ms + 1)
    intervals = reader.figures(Level.INTERVAL, list(split), month_ms, end_ms)
    parts = []
    tails = open_tails(reader, [one.index for one in found], month_ms, end_ms)
    known: set[tuple[str, int]] = set()
    for one in found:
        meter, channel = one.key.meter, one.key.channel
        for step in steps.get(meter, (_Step(month_ms, end_ms, None),)):
            rows = of_series(intervals if one.index in split else months, one.index)
            if one.index in split:
                rows = _within(rows, step, reader.grid_ms)
            tail = tails.get(one.index)
            if len(rows) == 0 and tail is not None and _role(step.meter) not in _NOT_ESTIMATED:
                rows = _nothing(step, reader.grid_ms)
            if len(rows):
                known.add((meter, step.from_ms))
                part = _part(reader, site, meter, channel, step, rows)
                parts.append(_with_tail(part, step, tail))
    parts += [
        _part(reader, site, meter, "", step, _nothing(step, reader.grid_ms))
        for meter, own in steps.items()
        for step in own
        if step.meter is not None and (meter, step.from_ms) not in known
    ]
    return sorted(parts, key=attrgetter("meter", "channel", "from_ms"))


def account_of_parts(
    reader: LedgerReader, site: Site, parts: Sequence[Part], month_ms: int
) -> SiteAccount:
    """Return what a site consumed in a month that is given in parts.

    The reader gives reasons only: why a measure could not be made.
    """
    end_ms = next_month(month_ms)
    counted = {part.carrier: part.counted for part in parts}
    return account_of(
        reader,
        site,
        spans_of_parts(site.id, parts, month_ms),
        _columns(parts),
        month_ms,
        end_ms,
        lambda carrier: counted[carrier],
    )


def spans_of_parts(site: str, parts: Sequence[Part], month_ms: int) -> Sequence[Span]:
    """Return the spans of a month, with the terms that the parts' roles make.

    Their series are those of `_columns`: channels by meter and name.
    """
    series = _series(parts)
    channels: dict[str, set[str]] = defaultdict(set)
    for meter, channel in series:
        channels[meter].add(channel)
    borders = sorted({month_ms, *(part.from_ms for part in parts), next_month(month_ms)})
    spans = []
    for start_ms, end_ms in pairwise(borders):
        in_force = {
            part.meter: part
            for part in sorted(parts, key=attrgetter("from_ms"))
            if part.from_ms <= start_ms
        }
        meters = [
            Meter(site, part.meter, part.carrier, Role(part.role), "", 1, "", part.from_ms, "")
            for part in in_force.values()
            if part.role
        ]
        found = [(series[one.meter, one.channel], one) for one in terms(meters, channels)]
        spans.append(Span(start_ms, end_ms, meters, found))
    return spans


def _steps(spans: Sequence[Span]) -> Mapping[str, Sequence[_Step]]:
    """Return by meter the times in which it has one role, by time."""
    ids = {meter.id for span in spans for meter in span.meters}
    found: dict[str, list[_Step]] = {id_: [] for id_ in sorted(ids)}
    for span in spans:
        meters = {meter.id: meter for meter in span.meters}
        for id_, own in found.items():
            meter, last = meters.get(id_), own[-1] if own else None
            if last is not None and _role(last.meter) == _role(meter):
                own[-1] = _Step(last.from_ms, span.end_ms, last.meter)
            else:
                own.append(_Step(span.start_ms, span.end_ms, meter))
    return found


def _role(meter: Meter | None) -> str:
    return "" if meter is None else str(meter.role)


def _within(rows: IntervalColumns, step: _Step, grid_ms: int) -> IntervalColumns:
    """Sum the intervals of one channel that start in a step."""
    start_ms, end_ms = (-(-at // grid_ms) * grid_ms for at in (step.from_ms, step.to_ms))
    rows = rows.take((rows.start_ms >= start_ms) & (rows.start_ms < end_ms))
    return summed(rows, np.full(len(rows), step.from_ms), end_ms - start_ms, grid_ms)


def _nothing(step: _Step, grid_ms: int) -> IntervalColumns:
    """Return the figures of a channel of which nothing is known in a step."""
    length_ms = step.to_ms - step.from_ms
    zero, unknown = np.zeros(1, np.int64), np.full(1, np.nan)
    columns: dict[str, Any] = dict.fromkeys(INTEGER_FIELDS, zero)
    columns |= dict.fromkeys(MEASURE_FIELDS, unknown)
    columns |= {
        "missing_ms": np.full(1, length_ms),
        "expected": np.full(1, length_ms // grid_ms),
    }
    return IntervalColumns(series=np.zeros(1, np.int32), start_ms=zero, **columns)


def _part(
    reader: LedgerReader, site: Site, meter: str, channel: str, step: _Step, rows: IntervalColumns
) -> Part:
    row = step.meter
    figures = {name: getattr(rows, name)[0].item() for name in _FIGURES}
    unknown = {name: None for name in MEASURE_FIELDS if np.isnan(figures[name])}
    return Part(
        site=site.id,
        meter=meter,
        channel=channel,
        from_ms=step.from_ms,
        carrier="" if row is None else row.carrier,
        role=_role(row),
        counted=row is not None and reader.factor_set.counts(row.carrier),
        **(figures | unknown),
    )


def _with_tail(part: Part, step: _Step, tail: OpenTail | None) -> Part:
    """Add what is estimated after the last reading.

    Its measures are in proportion to the month's own, where it has any, else to those of what it is
    estimated from.
    """
    if tail is None or part.role in _NOT_ESTIMATED:
        return part
    amount, length_ms = tail.within(step.from_ms, step.to_ms)
    length_ms = min(length_ms, part.missing_ms)
    if length_ms == 0:
        return part
    measures = {name: getattr(part, name) for name in MEASURE_FIELDS}
    if part.amount and amount:
        measures = {
            name: None if value is None else value * (1 + amount / part.amount)
            for name, value in measures.items()
        }
    elif part.amount == 0:
        made = {name: amount * per_micro for name, per_micro in tail.per_micro.items()}
        measures = {name: None if isnan(value) else value for name, value in made.items()}
    return replace(
        part,
        amount=part.amount + amount,
        amount_estimated=part.amount_estimated + amount,
        estimated_ms=part.estimated_ms + length_ms,
        missing_ms=part.missing_ms - length_ms,
        flags=part.flags | ESTIMATED,
        open_amount=amount,
        open_ms=length_ms,
        **measures,
    )


def _series(parts: Sequence[Part]) -> Mapping[tuple[str, str], int]:
    """Number the channels of a site."""
    keys = sorted({(part.meter, part.channel) for part in parts if part.channel})
    return {key: index for index, key in enumerate(keys)}


def _columns(parts: Sequence[Part]) -> IntervalColumns:
    """Return the figures sorted by series and start."""
    series = _series(parts)
    own = sorted(
        (series[part.meter, part.channel], part.from_ms, part) for part in parts if part.channel
    )  # a series has one part per start

    def column(name: str) -> Float64:
        values = [getattr(part, name) for _, _, part in own]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    columns: dict[str, Any] = {
        name: np.array([getattr(part, name) for _, _, part in own], np.int64)
        for name in INTEGER_FIELDS
    }
    columns |= {name: column(name) for name in MEASURE_FIELDS}
    return IntervalColumns(
        series=np.array([index for index, _, _ in own], np.int32),
        start_ms=np.array([start for _, start, _ in own], np.int64),
        **columns,
    )
