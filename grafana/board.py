"""A dashboard: rows of panels on the grid of 24 columns, variables that chain, the common frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.models import dashboard as m

from contract.stored import METER_INFO, NODE, NODE_INFO, REGION, SITE, THE_REGION, TOTAL
from grafana.figures import PUBLIC
from grafana.influxql import (
    ALWAYS,
    Condition,
    Query,
    chosen,
    equal,
    matches,
    other_than,
    raw,
    select,
)
from grafana.panels import SOURCE
from grafana.words import Words

COLUMNS = 24
TAG = "nenghao"
IDS = ("region", "site", "building", "carbon", "meter", "fleet", "quality", "networks")
NAME_AND_ID = r"/^(?<text>.*) \| (?<value>\S+)$/"
"""How a variable takes name and id from `contract.stored.choice`."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, with their widths; together 24."""

    height: int
    panels: Sequence[tuple[m.Panel, int]]


@dataclass(frozen=True, slots=True)
class Variable:
    """A menu above the dashboard, and the query that fills it."""

    name: str
    label: str
    query: Query
    hidden: bool = False
    several: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    id: str
    rows: Sequence[Row]
    variables: Sequence[Variable]
    begin: str = "now/M"
    end: str = "now"
    refresh: str = "5m"


Maker = Callable[[Words], Board]


def uid(board: str) -> str:
    """Return the uid, which addresses contain."""
    return f"nenghao-{board}"


def address(board: str, **variables: str) -> str:
    """Return a link that keeps region and time range."""
    more = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return f"/d/{uid(board)}?${{region:queryparam}}{more}&${{__url_time_range}}"


def region_variable(words: Words) -> Variable:
    """Which region."""
    of_region = (equal(SITE, THE_REGION), equal(NODE, TOTAL))
    return Variable(REGION, words["region"], _choices(words, *of_region))


def site_variable(words: Words) -> Variable:
    """Which site of the region."""
    of_site = (chosen(REGION), other_than(SITE, THE_REGION), equal(NODE, TOTAL))
    return Variable(SITE, words["site"], _choices(words, *of_site))


def building_variable(words: Words) -> Variable:
    """Which public building of the region."""
    of_site = (chosen(REGION), other_than(SITE, THE_REGION), equal(NODE, TOTAL))
    found = _choices(words, *of_site, matches("sector", PUBLIC))
    return Variable(SITE, words["building"], found)


def sites_variable(words: Words, name: str, sectors: str) -> Variable:
    """All sites of the region whose sector is one of a kind; not to be chosen from."""
    of_site = (chosen(REGION), other_than(SITE, THE_REGION), equal(NODE, TOTAL))
    found = _choices(words, *of_site, matches("sector", sectors))
    return Variable(name, words["site"], found, hidden=True, several=True)


def meter_variable(words: Words, *more: Condition, name: str = "meter") -> Variable:
    """Which meter of the site."""
    query = select(
        {"choice": raw("choice_zh")},
        METER_INFO, chosen(REGION), chosen(SITE), equal("listed", 1), *more, time=ALWAYS,
    )  # fmt: skip
    return Variable(name, words["meter"], query, hidden=bool(more), several=bool(more))


def _choices(words: Words, *where: Condition) -> Query:
    return select(
        {"choice": raw(words.choice_field)}, NODE_INFO, *where, equal("listed", 1), time=ALWAYS
    )


def dashboard(board: Board, words: Words) -> m.Dashboard:
    """Return Grafana's model of a dashboard."""
    made = (
        d.Dashboard(words[f"board_{board.id}"])
        .uid(uid(board.id))
        .tags([TAG])
        .timezone("Asia/Shanghai")
        .time(board.begin, board.end)
        .refresh(board.refresh)
        .week_start("monday")
        .tooltip(m.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    for variable in board.variables:
        made = made.with_variable(_menu(variable))
    for other in IDS:
        made = made.link(
            d.DashboardLink(words[f"board_{other}"])
            .type(m.DashboardLinkType.LINK)
            .url(f"/d/{uid(other)}")
            .icon("dashboard")
            .keep_time(True)
            .include_vars(True)
        )
    model = made.build()
    model.panels = list(_placed(board.rows))
    return model


def _menu(variable: Variable) -> d.QueryVariable:
    menu = (
        d.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(SOURCE)
        .query(
            {"query": variable.query.text, "refId": variable.name}  # the form Grafana saves
        )
        .regex(NAME_AND_ID)
        .refresh(m.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(m.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(variable.several)
        .include_all(variable.several)
        .hide(m.VariableHide.HIDE_VARIABLE if variable.hidden else m.VariableHide.DONT_HIDE)
    )
    if variable.several:
        menu = menu.current(m.VariableOption(selected=True, text="All", value="$__all"))
    return menu


def _placed(rows: Sequence[Row]) -> Sequence[m.Panel]:
    placed: list[m.Panel] = []
    y = 0
    for row in rows:
        width = sum(wide for _, wide in row.panels)
        if width != COLUMNS:
            raise ValueError(f"a row is {width} columns wide, not {COLUMNS}")
        x = 0
        for panel, wide in row.panels:
            panel.id_val = len(placed) + 1
            panel.grid_pos = m.GridPos(h=row.height, w=wide, x=x, y=y)
            placed.append(panel)
            x += wide
        y += row.height
    return placed
