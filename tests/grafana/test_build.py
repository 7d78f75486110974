"""What is rendered: fresh, whole, and linked to things that are there."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.ledger.meter_events import EventKind
from aggregator.verdict import Outcome, RuleId
from contract.stored import NODE_FIGURES, NODE_INFO, PLAN, Level
from grafana import alerts, palette
from grafana.board import IDS, uid
from grafana.build import FOLDER, MAKERS, rendered, stale, write
from grafana.compare import differences
from grafana.figures import EVENTS, RULES, outcome_mappings
from grafana.influxql import RANGE, call, equal, last, raw, select, total
from grafana.words import LANGUAGES, Words, table

ROOT = Path(__file__).parents[2]
DASHBOARDS = [
    json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*/dashboards/*"))
]


def members(document: Any, name: str) -> Iterator[Any]:
    """Every value of a member, at any depth."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name:
                yield value
            yield from members(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from members(value, name)


def test_what_is_committed_is_what_the_code_renders() -> None:
    assert stale() == [], "run `nenghao dashboards build`"


def test_build_writes_what_is_missing_changed_or_no_longer_rendered(tmp_path: Path) -> None:
    everything = set(write(tmp_path))
    assert everything == set(rendered())
    assert len(everything) == 2 * (len(MAKERS) + 1)
    assert write(tmp_path) == []
    (tmp_path / "zh/dashboards/region.json").write_text("{}")
    (tmp_path / "zh/dashboards/gone.json").write_text("{}")
    (tmp_path / "en/alerting/rules.json").unlink()
    changed = {"zh/dashboards/region.json", "zh/dashboards/gone.json", "en/alerting/rules.json"}
    command = [sys.executable, "-m", "grafana", "build", "--folder", str(tmp_path)]
    check = subprocess.run([*command, "--check"], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 1
    assert {line.removesuffix(": stale") for line in check.stdout.splitlines()} == changed
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (built.returncode, set(built.stdout.splitlines())) == (0, changed)
    assert stale(tmp_path) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_of_panels_and_the_dashboards_agree(language: str) -> None:
    words = Words(language)
    for make in MAKERS:
        board = make(words)
        titles = [panel.title for row in board.rows for panel, _ in row.panels]
        told = [text.title for (of, _), text in words.panels.items() if of == board.id]
        assert sorted(titles, key=str) == sorted(told), board.id
        assert len(set(told)) == len(told), f"{board.id}: two panels of one title"


def test_both_languages_ask_the_same() -> None:
    """They differ in names, titles and units, never in what is selected."""

    def shape(text: str) -> str:
        return re.sub(r"name_(zh|en)|choice_(zh|en)|\d{4,}|AS \"[^\"]*\"", "", text)

    for zh, en in zip(DASHBOARDS[len(MAKERS) :], DASHBOARDS[: len(MAKERS)], strict=True):
        assert zh["uid"] == en["uid"]
        asked = [[shape(str(q)) for q in members(one, "query")] for one in (zh, en)]
        assert asked[0] == asked[1]


def test_english_is_english() -> None:
    """What the English build shows has no Chinese left; patterns over the register's may."""
    for path in (FOLDER / "en").rglob("*.*"):
        document = json.loads(path.read_text(encoding="utf-8"))
        for name in ("title", "description", "label", "text", "summary", "noValue", "unit"):
            for value in members(document, name):
                assert not re.search("[\u4e00-\u9fff]", str(value)), (path.name, value)


def test_rules_of_verdicts_are_the_aggregators() -> None:
    assert set(RULES) == {str(rule) for rule in RuleId}
    assert set(EVENTS) == {str(kind) for kind in EventKind}
    assert set(outcome_mappings(Words("zh"))) == {str(one) for one in Outcome} - {""}


def test_every_word_is_used() -> None:
    text = "\n".join(p.read_text("utf-8") for p in (ROOT / "grafana").rglob("*.py"))
    computed = {*palette.CARRIERS, *palette.TARIFFS, *palette.LEVELS, *palette.SUB_ITEMS}
    prefixes = ("board_", "cause_", "event_", "role_", "rule_")
    unused = [
        key
        for key in Words("zh").words
        if f'"{key}"' not in text and key not in computed and not key.startswith(prefixes)
    ]
    assert unused == []


def test_rows_fill_the_grid_and_nothing_overlaps() -> None:
    for dashboard in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not taken & cells, (dashboard["title"], panel["title"])
            taken |= cells
        assert len(taken) == 24 * (max(y for _, y in taken) + 1), dashboard["title"]


def test_links_lead_to_dashboards_and_menus_that_are_there() -> None:
    known = {d["uid"]: {v["name"] for v in d["templating"]["list"]} for d in DASHBOARDS}
    assert set(known) == {uid(board) for board in IDS}
    for dashboard in DASHBOARDS:
        for link in members(dashboard, "url"):
            if link.startswith("/d/"):
                target, _, rest = link.removeprefix("/d/").partition("?")
                assert target in known, link
                assert set(re.findall(r"var-(\w+)=", rest)) <= known[target], link
    drilled = {
        (d["uid"], target)
        for d in DASHBOARDS
        for p in d["panels"]
        for url in members(p, "url")
        for target in re.findall(r"/d/([\w-]+)", url)
    }
    assert {("nenghao-region", "nenghao-site"), ("nenghao-site", "nenghao-meter")} <= drilled


def test_no_placeholder_stands_between_slashes() -> None:
    """Grafana would escape it, taking what is between two slashes for a regular expression."""
    for dashboard in DASHBOARDS:
        for query in members(dashboard, "query"):
            text = query if isinstance(query, str) else query["query"]
            for name in ("$__interval", "$timeFilter"):
                head, found, tail = text.partition(name)
                if name == "$__interval" and found:
                    assert "/" not in tail, text
                assert name not in tail.replace(name, "", 1), head


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_rule_has_texts_and_a_place_in_the_runbook(language: str) -> None:
    ids = [rule.id for rule in alerts.rules()]
    assert ids == [row["rule"] for row in table("alerts")]
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    anchors = set(re.findall(r'<a id="([\w-]+)"></a>', runbook))
    document = json.loads(alerts.provisioning(Words(language), "https://d"))
    for rule in document["groups"][0]["rules"]:
        address = rule["annotations"]["runbook_url"]
        assert address.startswith("https://d/runbook.md#")
        assert address.partition("#")[2] in anchors
        assert "{{ $labels." in rule["annotations"]["summary"]


def test_a_name_the_store_has_not_is_refused() -> None:
    of = NODE_FIGURES[Level.DAY]
    for columns, by, wrong in (
        ({"x": total("energy")}, (), "node_day has no tag or field 'energy'"),
        ({"x": total("amount")}, ("meter",), "node_day has no tag or field 'meter'"),
        ({"x": total("amount")}, ("co2_kg",), "node_day.co2_kg is a field"),
    ):
        with pytest.raises(ValueError, match=re.escape(wrong)):
            select(columns, of, by=by)
    with pytest.raises(ValueError, match="plan has no tag or field 'node'"):
        select({"x": last("value")}, PLAN, equal("node", "_total"))


def test_an_optional_field_is_asked_for_with_its_bit() -> None:
    text = select({"x": total("co2_kg"), "y": call("max", "amount")}, NODE_FIGURES[Level.DAY]).text
    assert text.endswith(f'WHERE {RANGE[0]} AND ("determined" & 4) = 4')
    text = select({"x": raw("latitude"), "y": raw("longitude")}, NODE_INFO, time=()).text
    bits = sum(1 << NODE_INFO.optional.index(name) for name in ("latitude", "longitude"))
    assert text.endswith(f'WHERE ("determined" & {bits}) = {bits}')


def test_differences_are_told_by_path() -> None:
    ours = {"title": "a", "panels": [{"id": 1, "x": 1}, {"id": 2}], "uid": "u"}
    assert list(differences(ours, ours | {"id": 7, "version": 3}, extra=True)) == []
    theirs = {"title": "b", "panels": [{"id": 1, "x": 1, "y": 2}], "version": 3, "by": "hand"}
    assert list(differences(ours, theirs, extra=True)) == [
        "by: only in Grafana",
        "panels: 2 here, 1 in Grafana",
        "panels[0].y: only in Grafana",
        "title: 'a' here, 'b' in Grafana",
        "uid: missing in Grafana",
    ]
    assert "panels[0].y: only in Grafana" not in list(differences(ours, theirs, extra=False))
