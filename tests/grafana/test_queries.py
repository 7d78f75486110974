"""Every query of every panel, menu and rule, against a real InfluxDB with a simulated month."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from aggregator.store.influx1 import Influx1Store
from contract.interval import DAY_MS, HOUR_MS, day_start, month_start
from contract.stored import ENERGY, OUT, READING, THE_REGION, TOTAL, Level
from grafana import alerts
from grafana.board import Board
from grafana.influxql import Query
from grafana.palette import CAUSES
from grafana.words import LANGUAGES, Words
from tests.grafana import networks
from tests.grafana.asking import CHOSEN, STEPS, Database, boards, menus, shown, targets
from tests.grafana.month import GRID_MS, PRICES, Month, Part
from tests.grafana.seeded import reading_lines, write
from tests.influx import InfluxServer, influx_server

pytestmark = [
    pytest.mark.influxdb,
    pytest.mark.xdist_group("dashboards"),  # its month takes a while to make: once is enough
]
__all__ = ["influx_server"]

DATABASE = "dashboards"
Labels = frozenset[tuple[str, str]]
SLOWEST_S = 2.0
"""Of one query, at 300 meters x 31 days."""


@dataclass(frozen=True)
class Ledger(Database):
    """The database, and what is true of it."""

    server: InfluxServer
    month: Month


@pytest.fixture(scope="module")
def ledger(influx_server: InfluxServer) -> Iterator[Ledger]:
    month = Month()
    store = Influx1Store(influx_server.url, DATABASE, GRID_MS)
    store.open()
    write(month, store)
    store.close()
    influx_server.write(DATABASE, reading_lines(month))
    yield Ledger(influx_server.url, DATABASE, month.end_ms, influx_server, month)
    influx_server.query(DATABASE, f'DROP DATABASE "{DATABASE}"')


def test_every_query_answers_in_time_and_with_rows_where_the_table_says_so(ledger: Ledger) -> None:
    to_ms = ledger.month.end_ms
    from_ms = to_ms - 31 * DAY_MS
    wrong: list[str] = []
    asked: set[str] = set()
    for language in LANGUAGES:
        for words, board in boards(language):
            values = menus(ledger, board)
            must = {text.title: text.must_have_rows for text in board_texts(words, board)}
            for title, time_from, interval, query in targets(board):
                begin = to_ms - DAY_MS if time_from == "24h" else from_ms
                text = ledger.filled(query.text, values, begin, to_ms, STEPS[interval])
                if text in asked:
                    continue
                asked.add(text)
                series, took = ledger.ask(text)
                rows = sum(len(one["values"]) for one in series)
                if must[title] and rows == 0:
                    wrong.append(f"{board.id}: {title}: no rows: {text}")
                if took > SLOWEST_S:
                    wrong.append(f"{board.id}: {title}: {took:.2f} s: {text}")
    assert wrong == []
    assert len(asked) > 120


def board_texts(words: Words, board: Board) -> list[Any]:
    return [text for (dashboard, _), text in words.panels.items() if dashboard == board.id]


def test_no_panel_reads_readings_of_more_than_a_day() -> None:
    seen = 0
    for _, board in boards("zh"):
        for title, _, _, query in targets(board):
            if f'"{READING}"' in query.text:
                seen += 1
                assert "time >= ${__to}ms - 1d AND time < ${__to}ms" in query.text, title
    assert seen > 0


def test_totals_of_the_region_are_the_ledgers(ledger: Ledger) -> None:
    month, from_ms = ledger.month, month_start(ledger.month.end_ms)
    shown = {}
    for _, board in boards("zh"):
        if board.id in {"region", "carbon"}:
            for title, _, _, query in targets(board):
                text = ledger.filled(query.text, CHOSEN, from_ms, month.end_ms, "1d")
                shown[board.id, title, query.ref] = ledger.ask(text)[0]
    zh = Words("zh")

    def number(board: str, panel: str) -> float:
        (series,) = shown[board, zh.panel(board, panel).title, "A"]
        ((_, value),) = series["values"]
        return float(value)

    tce = month.total("kgce_equivalent", from_ms=from_ms) / 1000
    assert number("region", "energy") == pytest.approx(tce, rel=1e-12)
    tco2 = month.total("co2_kg", from_ms=from_ms) / 1000
    assert number("region", "carbon") == pytest.approx(tco2, rel=1e-12)
    micro = month.total("amount", "electricity", from_ms=from_ms)
    assert number("region", "electricity") == pytest.approx(micro / 1e10, rel=1e-12)
    # the parts make the whole: by carrier, by day, by site, and by scope
    for panel in ("carriers", "daily"):
        parts = shown["region", zh.panel("region", panel).title, "A"]
        assert sum(v for s in parts for _, v in s["values"]) == pytest.approx(tce, rel=1e-9)
    sites = shown["region", zh.panel("region", "ranking").title, "B"]
    assert len(sites) == len(month.sites)
    assert sum(s["values"][0][1] for s in sites) == pytest.approx(tce, rel=1e-9)
    scopes = number("carbon", "scope1") + number("carbon", "scope2")
    assert scopes == pytest.approx(tco2, rel=1e-9)


def test_totals_of_a_site_and_a_meter_are_the_ledgers(ledger: Ledger) -> None:
    month = ledger.month
    from_ms = month_start(month.end_ms)
    zh = Words("zh")
    found = {}
    for _, board in boards("zh"):
        if board.id in {"site", "meter"}:
            values = menus(ledger, board)
            for title, _, interval, query in targets(board):
                text = ledger.filled(query.text, values, from_ms, month.end_ms, STEPS[interval])
                found[board.id, title, query.ref] = ledger.ask(text)[0]
    energy = found["site", zh.panel("site", "energy").title, "A"][0]["values"][0][1]
    truth = month.total("kgce_equivalent", ENERGY, "paper", from_ms)
    assert energy == pytest.approx(truth / 1000, rel=1e-12)
    (load,) = found["site", zh.panel("site", "load").title, "A"]
    kwh = sum(kw for _, kw in load["values"]) / 4
    whole = np.array([p.missing_ms for p in of_paper(month) if p.sign]).sum(axis=0) == 0
    booked = sum(
        p.amount[whole & (month.start_ms >= from_ms)].sum() for p in of_paper(month) if p.sign
    )
    assert 0 < sum(~whole) < 10  # where something is held the curve has a gap
    assert kwh == pytest.approx(int(booked) / 1e6, rel=1e-9)
    (main,) = [p for p in month.parts if (p.site, p.id) == ("paper", "em-main")]
    used = found["meter", zh.panel("meter", "used").title, "A"][0]["values"][0][1]
    recent = main.amount[month.start_ms >= from_ms].sum()
    assert used == pytest.approx(int(recent) / 1e6, rel=1e-12)
    periods = found["site", zh.panel("site", "tariffs").title, "A"]
    assert sum(s["values"][0][1] for s in periods) == pytest.approx(recent / 1e10, rel=1e-9)
    costs = found["site", zh.panel("site", "tariff_costs").title, "A"]
    assert {s["tags"]["period"] for s in costs} == set(PRICES)
    cost = month.total("cost_cny", "electricity", "paper", from_ms)
    assert sum(s["values"][0][1] for s in costs) == pytest.approx(cost / 10_000, rel=1e-9)


def shown_on(ledger: Ledger, board_id: str, panel: str, ref: str = "A") -> list[dict[str, Any]]:
    """Rows of a panel's query over the month, as its table: tags and columns."""
    zh, now = Words("zh"), ledger.month.end_ms
    (query,) = [
        query
        for _, board in boards("zh")
        if board.id == board_id
        for title, _, _, query in targets(board)
        if (title, query.ref) == (zh.panel(board_id, panel).title, ref)
    ]
    text = ledger.filled(query.text, CHOSEN, now - 31 * DAY_MS, now)
    return [
        one.get("tags", {}) | dict(zip(one["columns"], row, strict=True))
        for one in ledger.ask(text)[0]
        for row in one["values"]
    ]


def test_shares_are_of_days_that_are_over(ledger: Ledger) -> None:
    """Of today all that is still to come counts as missing, and would be a failure all morning."""
    month, today = ledger.month, day_start(ledger.month.end_ms)
    (columns,) = [c for key, c in month.nodes() if key == (THE_REGION, TOTAL, ENERGY)]
    chosen = (month.start_ms >= month.end_ms - 31 * DAY_MS) & (month.start_ms < today)
    chosen &= month.start_ms >= day_start(month.end_ms) - 30 * DAY_MS  # days that begin in it
    known = {name: int(columns[name][chosen].sum()) for name in ("measured_ms", "expected")}
    (shown,) = shown_on(ledger, "region", "measured")
    assert shown["measured"] == pytest.approx(known["measured_ms"] / known["expected"] / GRID_MS)
    days = {row["time"] for row in shown_on(ledger, "quality", "heat")}
    assert max(days) == today - DAY_MS
    sites = shown_on(ledger, "quality", "causes", "B")
    assert min(row["completeness"] for row in sites) > 0.97


def test_factors_are_those_in_force_in_the_time_shown(ledger: Ledger) -> None:
    found = {row["factor"]: row for row in shown_on(ledger, "carbon", "factors", "B")}
    assert "grid-shandong-2023" in found
    assert "grid-shandong-2021" not in found  # over by then
    assert (found["gas-2162"]["value"], found["gas-2162"]["verified"]) == ("2.1622", 1)
    assert found["steam-4139"]["used"] == 0
    assert len(found) == 5


def test_restatements_come_newest_first_and_one_without_a_former_figure_too(ledger: Ledger) -> None:
    found = shown_on(ledger, "carbon", "restatements", "B")
    assert len(found) == 12
    assert [row["time"] for row in found] == sorted((row["time"] for row in found), reverse=True)
    assert [row["before"] for row in found].count(None) == 1


def test_every_settled_day_of_every_site_has_a_cause_or_is_complete(ledger: Ledger) -> None:
    shown = shown_on(ledger, "quality", "heat_causes")
    begin, now = ledger.month.end_ms - 31 * DAY_MS, ledger.month.end_ms
    days = range(day_start(begin) + DAY_MS, day_start(now), DAY_MS)
    sites = [site["site"] for site in ledger.month.sites]
    assert {(r["site"], r["time"]) for r in shown} == {(s, day) for s in sites for day in days}
    causes = {row["Value"] for row in shown}
    assert {"complete", "offline"} <= causes <= set(CAUSES)


def test_events_are_those_that_stand(ledger: Ledger) -> None:
    kinds = [row["kind"] for row in shown_on(ledger, "site", "told")]
    assert sorted(kinds) == ["accept", "clock", "exchange"]


def test_strays_are_those_that_still_are(ledger: Ledger) -> None:
    strangers = shown_on(ledger, "quality", "unregistered")
    assert {(row["site"], row["meter"]) for row in strangers} == {
        ("school", "em-new-2"), ("annex", "em-1"),
    }  # fmt: skip
    kept = shown_on(ledger, "quality", "payloads")
    assert {row["site"]: row["reason"] for row in kept} == {
        "foundry": "no member 'meta'", "": "field type conflict",
    }  # fmt: skip


def of_paper(month: Month) -> list[Part]:
    return [p for p in month.parts if p.site == "paper" and p.carrier == "electricity"]


def test_losses_and_efficiencies_are_those_of_the_networks(ledger: Ledger) -> None:
    """Each share, ratio and sum of the networks' dashboard, from its queries as Grafana adds up."""
    month = ledger.month
    begin, end = month.end_ms - 31 * DAY_MS, month.end_ms
    board = shown(ledger, "networks", begin)
    answer, number = board.series, board.number
    sites = {plant.id: plant for plant in networks.plants(month)}
    inside = month.start_ms >= begin // DAY_MS * DAY_MS + 16 * HOUR_MS  # whole Beijing days
    for panel, site in (("heat_loss", "heatnet"), ("leakage", "waterworks")):
        network = sites[site].network
        assert network is not None
        _, _, entered, delivered, _ = network
        lost = 1 - delivered[inside].sum() / entered[inside].sum()
        assert number(panel) == pytest.approx(lost, rel=1e-9)
        (daily,) = answer("heat_daily" if site == "heatnet" else "leak_daily")
        assert 0.05 < min(v for _, v in daily["values"]) <= max(v for _, v in daily["values"]) < 0.1
    rows = {one["tags"]["site"]: one for one in answer("networks")}
    assert set(rows) == {"heatnet", "waterworks"}
    row = dict(zip(rows["heatnet"]["columns"], rows["heatnet"]["values"][0], strict=True))
    assert row["entered"] - row["delivered"] == pytest.approx(row["lost"], rel=1e-9)
    assert row["limit"] == 0.1
    made, ideal = answer("performance"), answer("performance", "B")
    months = dict(ideal[0]["values"])
    shared = {at: kwh / months[at] for at, kwh in made[0]["values"] if at in months}
    assert list(shared.values()) == pytest.approx([networks.PERFORMANCE] * len(shared), rel=1e-9)
    assert len(shared) >= 1
    kept, given = number("efficiency"), number("efficiency", "B")
    nodes = sites["battery"].nodes
    out, stays = nodes[OUT, "electricity"][inside].sum(), nodes[TOTAL, "electricity"][inside].sum()
    assert given / (kept + given) == pytest.approx(out / (out + stays), rel=1e-9)
    assert given / (kept + given) == pytest.approx(0.86, rel=0.01)
    assert number("pue") / number("pue", "B") == pytest.approx(1.25, rel=1e-5)
    (flow,) = [one for one in answer("night_flow") if one["tags"]["site"] == "waterworks"]
    starts, first = month.starts[Level.HOUR]
    whole = starts + HOUR_MS <= end  # the running hour is no least flow
    hours = np.add.reduceat(sites["waterworks"].nodes[TOTAL, "water"], first)
    for day, least in flow["values"]:
        of_day = hours[(starts >= max(day, begin)) & (starts < day + DAY_MS) & whole]
        assert least == pytest.approx(of_day.min() / 1e6, rel=1e-9)


def test_a_gateway_that_says_little_is_listed_too(ledger: Ledger) -> None:
    """A last will has no horizon and no clock offset; its gateway must not vanish from the list."""
    now = ledger.month.end_ms
    (table,) = [
        query
        for _, board in boards("zh")
        for title, _, _, query in targets(board)
        if title == Words("zh").panel("fleet", "edges").title and query.ref == "B"
    ]
    series, _ = ledger.ask(ledger.filled(table.text, CHOSEN, now - 2 * DAY_MS, now))
    assert {(s["tags"]["site"], s["tags"]["edge"]) for s in series} == set(ledger.month.edges)
    (offline,) = [s for s in series if s["values"][0][s["columns"].index("online")] == 0]
    assert offline["tags"]["edge"] == ledger.month.edges[5][1]
    assert offline["values"][0][offline["columns"].index("horizon")] is None


def test_a_withdrawn_measure_is_in_no_total(ledger: Ledger) -> None:
    """InfluxDB keeps the old field of a point; only `determined` says that it is gone."""
    (energy,) = [
        query
        for _, board in boards("zh")
        if board.id == "site"
        for title, _, _, query in targets(board)
        if title == Words("zh").panel("site", "energy").title
    ]
    tags = "region=370114,site=ghost,node=_total,carrier=_energy,unit=kgce"
    at = ledger.month.end_ms - DAY_MS
    span = (at - DAY_MS, at + DAY_MS)
    text = ledger.filled(energy.text, CHOSEN | {"site": "ghost"}, *span)
    ledger.server.write(DATABASE, f"node_day,{tags} kgce_equivalent=7000,determined=2i {at}")
    assert ledger.ask(text)[0][0]["values"][0][1] == 7
    ledger.server.write(DATABASE, f"node_day,{tags} determined=0i {at}")
    assert ledger.ask(text)[0] == []


def answers(ledger: Ledger, query: Query, since_s: int, until_s: int) -> dict[Labels, float]:
    """The last value of each series by its labels."""
    now = ledger.month.end_ms
    text = ledger.filled(query.text, {}, now - since_s * 1000, now - until_s * 1000)
    series, took = ledger.ask(text)
    assert took < SLOWEST_S
    return {frozenset(one["tags"].items()): one["values"][-1][1] for one in series}


def firing(ledger: Ledger, rule: alerts.Rule) -> dict[str, str]:
    """Sites or edges for which a rule fires at the end of the month, with the site's name.

    By the formula itself, over answers joined as Grafana does: one set of labels holds the other.
    """
    values = [answers(ledger, one.query, one.since_s, one.until_s) for one in rule.asked]
    names = answers(ledger, alerts.names(Words("zh"), rule), 0, 0)
    found = {}
    for labels in set.intersection(*(set(one) for one in values)):
        formula = rule.formula
        for letter, one in zip("ABC", values, strict=False):
            formula = formula.replace(f"${letter}", repr(one[labels]))
        if eval(formula, {"__builtins__": {}, "abs": abs}):
            (told,) = [dict(one) for one in names if labels <= one]
            found[told["edge" if rule.of_edges else "site"]] = told["name_zh"]
    return found


def test_each_rule_fires_where_it_should_and_nowhere_else(ledger: Ledger) -> None:
    found = {rule.id: firing(ledger, rule) for rule in alerts.rules()}
    assert {id_: set(names) for id_, names in found.items()} == ledger.month.alarms
    names = {site["site"]: site["name_zh"] for site in ledger.month.sites}
    of_edges = {edge: names[site] for site, edge in ledger.month.edges}
    told = [one for by_id in found.values() for one in by_id.items()]
    assert all((names | of_edges)[id_] == name for id_, name in told)
    assert len(told) > 5


def test_each_site_and_each_edge_has_one_name_to_be_alarmed_by(ledger: Ledger) -> None:
    """A rule says nothing of what it finds no name for."""
    of = {rule.of_edges: rule for rule in alerts.rules()}
    for language in LANGUAGES:
        words = Words(language)
        sites, edges = (
            answers(ledger, alerts.names(words, of[one]), 0, 0) for one in (False, True)
        )
        assert sorted(dict(one)["site"] for one in sites) == sorted(
            site["site"] for site in ledger.month.sites
        )
        assert sorted((dict(one)["site"], dict(one)["edge"]) for one in edges) == ledger.month.edges
        assert set(sites.values()) == set(edges.values()) == {1}
        assert all(dict(one)[words.name_field] for one in (*sites, *edges))


def test_rules_say_what_the_files_say() -> None:
    """The rendered rules hold the very queries that ran here."""
    text = alerts.provisioning(Words("zh"))
    groups = json.loads(text)["groups"]
    queries = [d["model"].get("query") for r in groups[0]["rules"] for d in r["data"]]
    ran = [
        query.text
        for rule in alerts.rules()
        for query in (*(asked.query for asked in rule.asked), alerts.names(Words("zh"), rule))
    ]
    assert [query for query in queries if query] == ran
