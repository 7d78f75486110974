"""Asks the queries of dashboards as Grafana does."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from grafana.board import Board
from grafana.build import MAKERS
from grafana.influxql import Query
from grafana.words import Words
from tests.grafana.month import REGION

CHOSEN = {"region": REGION, "site": "paper", "meter": "em-main"}
OF_BOARD = {"building": {"site": "hospital"}}
STEPS = {"1d": "1d", "15m": "15m", "5m": "5m", "1h": "1h", "28d": "28d", "": "30m"}


@dataclass(frozen=True)
class Database:
    """A database of an InfluxDB. end_ms: the end of every time range."""

    url: str
    name: str
    end_ms: int

    def ask(self, text: str) -> tuple[list[dict[str, Any]], float]:
        """Series of one query, and how long it took [s]."""
        begin = time.perf_counter()
        answer = httpx.post(
            f"{self.url}/query",
            data={"db": self.name, "q": text, "epoch": "ms"},
            trust_env=False,
            timeout=30,
        ).json()
        took = time.perf_counter() - begin
        assert "error" not in answer, (text, answer)
        (result,) = answer["results"]
        assert "error" not in result, (text, result["error"])
        return result.get("series", []), took

    def filled(
        self, text: str, values: Mapping[str, str], from_ms: int, to_ms: int, step: str = "30m"
    ) -> str:
        """The query as Grafana sends it."""
        filled = text.replace("$timeFilter", f"time >= {from_ms}ms AND time <= {to_ms}ms")
        filled = filled.replace("${__from}", str(from_ms)).replace("${__to}", str(to_ms))
        filled = filled.replace("$__interval", step)
        for name, value in values.items():
            filled = filled.replace(f"${{{name}:regex}}", value)
        assert "$" not in re.sub(r"\$/", "", filled), filled
        return filled


def boards(language: str) -> Iterator[tuple[Words, Board]]:
    words = Words(language)
    for make in MAKERS:
        yield words, make(words)


def menus(ledger: Database, board: Board) -> dict[str, str]:
    """What the menus of a board hold once its region, site and meter are chosen."""
    values = CHOSEN | OF_BOARD.get(board.id, {})
    for variable in board.variables:
        series, _ = ledger.ask(ledger.filled(variable.query.text, values, 0, ledger.end_ms))
        choices = [row[1] for one in series for row in one["values"]]
        ids = [re.fullmatch(r".* \| (\S+)", choice) for choice in choices]
        found = {match[1] for match in ids if match}
        assert len(found) == len(choices) > 0, (board.id, variable.name)
        if variable.hidden:
            values[variable.name] = f"({'|'.join(sorted(found))})"
        else:
            assert values[variable.name] in found, (board.id, variable.name)
    return values


def targets(board: Board) -> Iterator[tuple[str, str, str, Query]]:
    """(title, time from, interval, query) of each InfluxQL query of a board."""
    for row in board.rows:
        for panel, _ in row.panels:
            for target in panel.targets or ():
                if isinstance(target, Query):
                    yield panel.title or "", panel.time_from or "", panel.interval or "", target


@dataclass(frozen=True)
class Shown:
    """What the queries of a dashboard answer, by panel and letter."""

    board: str
    answers: Mapping[tuple[str, str], list[dict[str, Any]]]

    def series(self, panel: str, ref: str = "A") -> list[dict[str, Any]]:
        """All that a panel's query found."""
        return self.answers[Words("zh").panel(self.board, panel).title, ref]

    def number(self, panel: str, ref: str = "A") -> float:
        """The last value of the one series that a panel's query found."""
        (series,) = self.series(panel, ref)
        return float(series["values"][-1][1])


def shown(ledger: Database, board_id: str, from_ms: int) -> Shown:
    """Ask every query of a dashboard from one time on."""
    (board,) = [board for _, board in boards("zh") if board.id == board_id]
    values = menus(ledger, board)
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for title, _, interval, query in targets(board):
        text = ledger.filled(query.text, values, from_ms, ledger.end_ms, STEPS[interval])
        answers[title, query.ref] = ledger.ask(text)[0]
    return Shown(board_id, answers)
