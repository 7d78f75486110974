"""What a person should see after a scenario, asked of the aggregator's API.

A check is a coroutine of the API, the scenario and the parameters of its `[[expect]]` table; it
returns a sentence with the figure in it, and whether the figure is the expected one. Times are
milliseconds, as the table's times with offset are given on.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from contract.interval import DAY_MS, HOUR_MS, day_start, month_start, next_month
from simulators.demo.clients import Api
from simulators.district import Row
from simulators.scenario import Scenario, ScenarioError, time_ms
from simulators.theoretical import PRODUCT

BEIJING_MS = 8 * HOUR_MS
MICRO = 1_000_000
UNITS = {"energy_kwh": "kWh", "volume_m3": "m³", "mass_t": "t", "heat_gj": "GJ"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen."""

    text: str
    good: bool


Check = Callable[..., Awaitable[Finding]]


def check(scenario: Scenario) -> None:
    """ScenarioError when an expectation names no check, or parameters that its check has not."""
    for row in scenario.expect:
        name, parameters = _parts(row)
        if name not in CHECKS:
            raise ScenarioError(f"{scenario.id}: no check {name!r}; known: {', '.join(CHECKS)}")
        try:
            inspect.signature(CHECKS[name]).bind(None, scenario, **parameters)
        except TypeError as error:
            raise ScenarioError(f"{scenario.id}: check {name}: {error}") from error


async def see(api: Api, scenario: Scenario, row: Row) -> Finding:
    """Look for one expectation; what cannot be asked is not seen."""
    name, parameters = _parts(row)
    try:
        return await CHECKS[name](api, scenario, **parameters)
    except (httpx.HTTPError, KeyError, ZeroDivisionError, StopIteration) as error:
        return Finding(f"{name}: no answer to {dict(parameters)}: {error!r}", good=False)


def _parts(row: Row) -> tuple[str, Mapping[str, Any]]:
    parameters = {
        key: time_ms(value) if isinstance(value, datetime) else value for key, value in row.items()
    }
    return str(parameters.pop("check", "")), parameters


async def _amount(
    api: Api, scenario: Scenario, *, site: str, carrier: str, begin: int, end: int,
    between: Sequence[float], of: str = "consumption", what: str = "",
) -> Finding:  # fmt: skip
    """What a site used, took in, gave out or made of a carrier."""
    row = await _consumption(api, site, carrier, begin, end)
    amount, unit = _figure(row[of])
    text = f"{site}: {what or of} of {carrier} {amount:,.1f} {unit} {_span(begin, end)}"
    return _within(text, amount, between)


async def _ratio(
    api: Api, scenario: Scenario, *, site: str, carrier: str, begin: int, end: int,
    of: str, over: str, between: Sequence[float], what: str,
) -> Finding:  # fmt: skip
    """One figure of a site over another; `node:` and its id is a node of the tree."""
    row = await _consumption(api, site, carrier, begin, end)
    tree = await _balance(api, site, carrier, begin, end)
    nodes = {f"node:{node['node']}": node["amount"] for node in tree["nodes"]}
    figures = {**row, **nodes}
    value = _figure(figures[of])[0] / _figure(figures[over])[0]
    return _within(f"{site}: {what} {value:.3f} {_span(begin, end)}", value, between)


async def _performance(
    api: Api, scenario: Scenario, *, site: str, month: int, between: Sequence[float]
) -> Finding:
    """PV: what was generated over what the light on the modules should have given."""
    rows = await api.get("/api/v1/plans", site=site)
    ideal = next(
        row["value"] for row in rows if row["indicator"] == PRODUCT and row["start_ms"] == month
    )
    begin = max(month, scenario.begin_ms)
    end = min(next_month(month), scenario.end_ms)
    made = _figure((await _consumption(api, site, "electricity", begin, end))["own_generation"])[0]
    value = made / ideal
    text = f"{site}: {made:,.0f} of {ideal:,.0f} kWh, performance ratio {value:.3f}"
    return _within(f"{text} {_span(begin, end)}", value, between)


async def _lost(
    api: Api, scenario: Scenario, *, site: str, carrier: str, begin: int, end: int,
    share: Sequence[float], exceeded: bool, meter: str = "",
) -> Finding:  # fmt: skip
    """What nobody accounts for: losses of a network, and whether they pass their limit."""
    row = await _balance(api, site, carrier, begin, end)
    limit = row["limit"]["percent"]
    whole, gap = row["amount"], row["unexplained"]
    if meter:
        row = next(one for one in row["meters"] if one["meter"] == meter)
        whole, gap = row["amount"], row["gap"]
    (lost, unit), (amount, _) = _figure(gap), _figure(whole)
    text = (
        f"{site}: {lost:,.1f} of {amount:,.1f} {unit} of {carrier} lost = {lost / amount:.1%}, "
        f"limit {limit:g} %{': ALARM' if row['exceeded'] else ''} {_span(begin, end)}"
    )
    found = _within(text, lost / amount, share)
    return Finding(text, found.good and row["exceeded"] is exceeded)


async def _without_data(
    api: Api, scenario: Scenario, *, site: str, carrier: str, begin: int, end: int,
    meters: Sequence[str],
) -> Finding:  # fmt: skip
    """Meters that say nothing are named, and nothing is judged without them."""
    row = await _balance(api, site, carrier, begin, end)
    silent = row["meters_without_data"]
    text = f"{site}: no data of {', '.join(silent)}, balance not judged {_span(begin, end)}"
    return Finding(text, sorted(silent) == sorted(meters) and row["exceeded"] is None)


async def _night_flow(
    api: Api, scenario: Scenario, *, site: str, meter: str, channel: str, night: int, hours: int,
    rise: Sequence[float],
) -> Finding:  # fmt: skip
    """How the least flow of a night differs from that of the nights before."""

    async def flow(begin: int) -> float:
        rows = await _intervals(api, site, meter, channel, begin, begin + hours * HOUR_MS)
        return sum(_figure(row["amount"])[0] for row in rows) / hours

    nights = range(night - DAY_MS, scenario.begin_ms - 1, -DAY_MS)
    before = [await flow(at) for at in nights]
    now = await flow(night)
    value = now - sum(before) / len(before)
    text = (
        f"{site}/{meter}: base flow of the night {now:,.1f} m³/h, {value:+,.1f} against "
        f"{len(before)} nights before {_span(night, night + hours * HOUR_MS)}"
    )
    return _within(text, value, rise)


async def _budget(
    api: Api, scenario: Scenario, *, site: str, month: int, exceeded_on: int,
    share: Sequence[float],
) -> Finding:  # fmt: skip
    """When a site's energy passes its budget of the month, and by how much in the end."""
    rows = await api.get("/api/v1/plans", site=site)
    budget = next(row for row in rows if row["kind"] == "budget" and row["start_ms"] == month)
    measure = budget["indicator"]
    last, passed = 0.0, 0
    for day in range(month, min(scenario.end_ms, next_month(month)), DAY_MS):
        answer = await _of_site(api, site, month, day + DAY_MS, level="day")
        last = answer["total"][measure] / budget["value"]
        if last > 1 and not passed:
            passed = day
    when = f"exceeded on {_date(passed)}: ALARM" if passed else "kept"
    text = (
        f"{site}: {measure} of the month {last * budget['value']:,.1f} of {budget['value']:,.1f} "
        f"= {last:.0%} of the budget, {when}"
    )
    return Finding(text, _within("", last, share).good and passed == day_start(exceeded_on))


async def _offline(
    api: Api, scenario: Scenario, *, edge: str, since: int, others_online: int
) -> Finding:
    """A gateway is off line, its last reading of then, and all others are on line."""
    answer = await api.get("/api/v1/edges")
    edges = {row["edge"]: row for row in answer["edges"]}
    online = sum(bool(row["online"]) for row in edges.values())
    last_ms = edges[edge]["last_reading_ms"] or 0
    text = f"{edge}: off line, last reading {_time(last_ms)}; {online} others on line"
    good = edges[edge]["online"] is False and abs(last_ms - since) < HOUR_MS
    return Finding(text, good and online == others_online)


async def _silent(
    api: Api, scenario: Scenario, *, site: str, begin: int, end: int, measured: Sequence[float]
) -> Finding:
    """How much of a site's figures was measured: missing is not zero."""
    answer = await _of_site(api, site, begin, end)
    share = answer["measured_share"]
    text = f"{site}: {share:.1%} measured {_span(begin, end)}, the rest estimated or missing"
    return _within(text, share, measured)


async def _estimated(
    api: Api, scenario: Scenario, *, site: str, meter: str, channel: str, begin: int, end: int,
    share: Sequence[float],
) -> Finding:  # fmt: skip
    """A gap: its energy is there, spread and marked as estimated."""
    rows = await _intervals(api, site, meter, channel, begin, end)
    amount = sum(_figure(row["amount"])[0] for row in rows)
    spread = sum(_figure(row["amount_estimated"])[0] for row in rows)
    text = (
        f"{site}/{meter}: {amount:,.1f} {_figure(rows[0]['amount'])[1]} {_span(begin, end)}, "
        f"{spread / amount:.1%} of it estimated"
    )
    return _within(text, spread / amount, share)


async def _months_close(api: Api, scenario: Scenario, *, site: str) -> Finding:
    """Each month of each register closes: what the gap held is in the one month or the other."""
    begin, end = month_start(scenario.begin_ms), next_month(month_start(scenario.end_ms))
    answer = await api.get(
        "/api/v1/proof", site=site, by="month", **{"from": str(begin), "to": str(end)}
    )
    rows = answer["channels"]
    good = sum(row["closes"] for row in rows)
    booked = sum(row["booked_micro"] for row in rows) / MICRO
    text = f"{site}: {good} of {len(rows)} registers and months close, {booked:,.1f} booked in all"
    return Finding(text, good == len(rows) > 0)


CHECKS: Mapping[str, Check] = {
    "amount": _amount,
    "ratio": _ratio,
    "performance": _performance,
    "lost": _lost,
    "without_data": _without_data,
    "night_flow": _night_flow,
    "budget": _budget,
    "offline": _offline,
    "measured": _silent,
    "estimated": _estimated,
    "months_close": _months_close,
}


async def _of_site(
    api: Api, site: str, begin: int, end: int, level: str = "interval"
) -> Mapping[str, Any]:
    answer = await api.get(
        "/api/v1/consumption", site=site, level=level, **{"from": str(begin), "to": str(end)}
    )
    (row,) = answer["sites"]
    found: Mapping[str, Any] = row
    return found


async def _consumption(
    api: Api, site: str, carrier: str, begin: int, end: int
) -> Mapping[str, Any]:
    row = await _of_site(api, site, begin, end)
    found: Mapping[str, Any] = next(one for one in row["carriers"] if one["carrier"] == carrier)
    return found


async def _balance(api: Api, site: str, carrier: str, begin: int, end: int) -> Mapping[str, Any]:
    answer = await api.get("/api/v1/balance", site=site, **{"from": str(begin), "to": str(end)})
    found: Mapping[str, Any] = next(one for one in answer["carriers"] if one["carrier"] == carrier)
    return found


async def _intervals(
    api: Api, site: str, meter: str, channel: str, begin: int, end: int
) -> Sequence[Mapping[str, Any]]:
    answer = await api.get(
        "/api/v1/intervals", site=site, meter=meter, channel=channel, level="interval",
        **{"from": str(begin), "to": str(end)},
    )  # fmt: skip
    rows: Sequence[Mapping[str, Any]] = answer["intervals"]
    return rows


def _figure(amounts: Mapping[str, float]) -> tuple[float, str]:
    """The one amount of an answer, and its unit; none is 0."""
    for name, unit in UNITS.items():
        if amounts.get(name) is not None:
            return amounts[name], unit
    return 0.0, ""


def _within(text: str, value: float, between: Sequence[float]) -> Finding:
    low, high = between
    return Finding(f"{text} (expected {low:g} to {high:g})", low <= value <= high)


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp((at_ms + BEIJING_MS) / 1000, UTC).strftime("%d %B")


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp((at_ms + BEIJING_MS) / 1000, UTC).strftime("%m-%d %H:%M")


def _span(begin: int, end: int) -> str:
    return f"from {_time(begin)} to {_time(end)}"
