"""Alert rules as code. What each says stands in alerts.csv, what to do in docs/runbook.md."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import alerting, expr
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting as am

from contract.interval import DAY_MS, GRID_MS, HOUR_MS
from contract.stored import (
    BALANCES,
    CARRIER,
    EDGE,
    EDGE_HISTORY,
    ENERGY,
    INDICATOR,
    KIND,
    NAMES,
    NODE,
    NODE_FIGURES,
    PERIOD,
    PLAN,
    PROOF_DAY,
    REGION,
    SITE,
    THE_REGION,
    TOTAL,
    Level,
)
from grafana.influxql import (
    ALWAYS,
    DATASOURCE_UID,
    DAY,
    EXPRESSION_UID,
    Condition,
    Expression,
    Query,
    call,
    equal,
    last,
    matches,
    other_than,
    over,
    select,
    share,
    total,
)
from grafana.words import Words, table

GROUP = "nenghao"
FOLDER_UID = "nenghao"
DOCS = "docs"
DAY_S = DAY_MS // 1000
SETTLED_S = DAY_S + DAY_S // 4
"""After its start a day is over, and late readings of it have come."""
EVERY_SITE = other_than(SITE, THE_REGION)
OF_TOTAL = equal(NODE, TOTAL)
ELECTRIC = equal(CARRIER, "electricity")
WATER = equal(CARRIER, "water")


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a rule over the time from `since_s` to `until_s` ago [s]."""

    query: Query
    since_s: int
    until_s: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires for each set of labels for which the formula over $A, $B ... is above 0.

    The labels are those the queries group by, and the site's name: $N is 1 for every site, and for
    every edge, with its name as a label more, and Grafana joins by the labels that both have.
    """

    id: str
    asked: Sequence[Asked]
    formula: str
    of_edges: bool = False


def rules() -> tuple[Rule, ...]:
    """Return all rules."""
    return (
        Rule("edge-offline", (Asked(_edges("online"), DAY_S),), "$A < 1", of_edges=True),
        Rule("completeness", (Asked(_completeness(), DAY_S + SETTLED_S, SETTLED_S),), "$A < 0.9"),
        Rule(
            "budget-pace",
            (Asked(_energy(), 7 * DAY_S), Asked(_budget(), 31 * DAY_S)),
            "$A / 7 * 30 > $B",
        ),
        Rule(
            "demand",
            (Asked(_demand(), 2 * HOUR_MS // 1000), Asked(_contracted(), 366 * DAY_S)),
            "$A > 0.95 * $B",
        ),
        Rule(
            "night-load",
            (Asked(_least_hour(ELECTRIC), DAY_S), Asked(_usual(ELECTRIC), 8 * DAY_S, DAY_S)),
            "$A > 1.3 * abs($B)",  # below zero: a battery gives back
        ),
        Rule(
            "leak",
            (Asked(_least_hour(WATER), DAY_S), Asked(_usual(WATER), 8 * DAY_S, DAY_S)),
            "$A > 1.3 * $B",
        ),
        Rule("balance", (Asked(_imbalance(), 2 * DAY_S, DAY_S // 4),), "abs($A) > 0.05"),
        Rule("proof", (Asked(_not_closing(), 3 * DAY_S),), "$A > 0"),
        Rule("clock", (Asked(_edges("clock_offset_ms"), DAY_S),), "abs($A) > 5000", of_edges=True),
        Rule("disk", (Asked(_edges("horizon_ms"), DAY_S),), f"$A < {3 * DAY_MS}", of_edges=True),
    )


def names(words: Words, rule: Rule) -> Query:
    """Return a 1 for each site or edge, whichever the rule is about, with the site's name."""
    edge = other_than(EDGE, "") if rule.of_edges else equal(EDGE, "")
    by = (REGION, SITE, EDGE) if rule.of_edges else (REGION, SITE)
    return select(
        {"value": last("listed")},
        NAMES, edge, equal("listed", 1), time=ALWAYS, by=(*by, words.name_field),
    )  # fmt: skip


def _edges(field: str) -> Query:
    return select({"value": last(field)}, EDGE_HISTORY, by=(REGION, SITE, EDGE))


def _completeness() -> Query:
    of = NODE_FIGURES[Level.DAY]
    shares = {"value": share("received", "expected")}
    return select(shares, of, EVERY_SITE, OF_TOTAL, equal(CARRIER, ENERGY), by=(REGION, SITE))


def _energy() -> Query:
    of = NODE_FIGURES[Level.HOUR]
    summed = {"value": total("kgce_equivalent") / 1000}
    return select(summed, of, EVERY_SITE, OF_TOTAL, equal(CARRIER, ENERGY), by=(REGION, SITE))


def _budget() -> Query:
    return select(
        {"value": last("value")},
        PLAN, equal(KIND, "budget"), equal(INDICATOR, "tce_equivalent"), equal("listed", 1),
        equal(CARRIER, ENERGY), matches(PERIOD, "^[0-9]{4}-[0-9]{2}$"), by=(REGION, SITE),
    )  # fmt: skip


def _demand() -> Query:
    of = NODE_FIGURES[Level.INTERVAL]
    power = {"value": call("max", "amount") / 1e6 * (HOUR_MS // GRID_MS)}
    return select(power, of, EVERY_SITE, OF_TOTAL, ELECTRIC, by=(REGION, SITE))


def _contracted() -> Query:
    return select(
        {"value": last("value")},
        PLAN, equal(KIND, "target"), equal(INDICATOR, "demand_kw"), equal("listed", 1),
        by=(REGION, SITE),
    )  # fmt: skip


def _least_hour(carrier: Condition) -> Query:
    return _hours({"value": call("min", "amount") / 1e6}, carrier)


def _usual(carrier: Condition) -> Query:
    least = _hours({"least": call("min", "amount") / 1e6}, carrier, each=DAY)
    return over({"value": call("mean", "least")}, least, by=(REGION, SITE))


def _hours(columns: Mapping[str, Expression], carrier: Condition, each: str = "") -> Query:
    return select(
        columns,
        NODE_FIGURES[Level.HOUR], EVERY_SITE, OF_TOTAL, carrier,
        equal("missing_ms", 0), by=(REGION, SITE), each=each,
    )  # fmt: skip


def _imbalance() -> Query:
    of = BALANCES[Level.DAY]
    part = {"value": share("residual", "parent")}
    return select(part, of, OF_TOTAL, ELECTRIC, equal("without_data", 0), by=(REGION, SITE))


def _not_closing() -> Query:
    return select({"value": total("not_closing")}, PROOF_DAY, by=(REGION, SITE))


def provisioning(words: Words, docs: str = DOCS) -> str:
    """Return the file of rules that Grafana reads. docs: address under which docs/ is found.

    Grafana fills in environment variables neither in queries nor in annotations.
    """
    rows = {row["rule"]: row for row in table("alerts")}
    encoder = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False)
    group = {
        "orgId": 1,
        "name": GROUP,
        "folder": words["folder"],
        "interval": "1m",
        "rules": [_built(rule, rows[rule.id], words, docs) for rule in rules()],
    }
    return encoder.encode({"apiVersion": 1, "groups": [group]})


def _built(rule: Rule, row: Mapping[str, str], words: Words, docs: str) -> am.Rule:
    language = words.language
    made = (
        alerting.Rule(row[f"title_{language}"])
        .uid(f"nenghao-{rule.id}")
        .condition("Z")
        .for_val(row["for"])
        .org_id(1)
        .folder_uid(FOLDER_UID)
        .rule_group(GROUP)
        .no_data_state("OK")
        .exec_err_state("Error")
        .labels({"severity": row["severity"], "part": GROUP})
        .annotations(
            {
                "summary": row[f"summary_{language}"],
                "runbook_url": f"{docs}/runbook.md#{rule.id}",
            }
        )
    )
    named = Asked(names(words, rule), DAY_S)  # its time is a form: names stand at one fixed time
    for letter, asked in (*zip("ABC", rule.asked, strict=False), ("N", named)):
        query = alerting.Query(letter).datasource_uid(DATASOURCE_UID)
        query.model(asked.query.as_series("value").named(letter))
        query.relative_time_range(am.RelativeTimeRange(from_val=asked.since_s, to=asked.until_s))
        number = alerting.Query(f"R{letter}").datasource_uid(EXPRESSION_UID)
        number.model(expr.TypeReduce().ref_id(f"R{letter}").expression(letter).reducer("last"))
        made = made.with_query(query).with_query(number)
    formula = re.sub(r"\$([ABCN])", r"${R\1}", f"({rule.formula}) * $N")
    verdict = alerting.Query("Z").datasource_uid(EXPRESSION_UID)
    verdict.model(expr.TypeMath().ref_id("Z").expression(formula))
    return made.with_query(verdict).build()
