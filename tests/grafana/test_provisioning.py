"""The files Grafana reads at its start: data sources, dashboards, rules."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.alerts import FOLDER_UID, GROUP
from grafana.build import FOLDER
from grafana.influxql import DATASOURCE_TYPE, DATASOURCE_UID, EXPRESSION_UID

PROVISIONING = Path(__file__).parents[2] / "grafana" / "provisioning"
SOURCES = sorted((PROVISIONING / "datasources").glob("*.yaml"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_data_source_is_the_one_the_dashboards_ask(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert document["apiVersion"] == 1
    (source,) = document["datasources"]
    assert (source["uid"], source["type"]) == (DATASOURCE_UID, DATASOURCE_TYPE)
    assert source["jsonData"]["version"] == "InfluxQL"
    for secret in source["secureJsonData"].values():
        assert re.fullmatch(r"(Token )?\$__file\{/[\w/.-]+\}", secret)


def asked(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = document.get("datasource")
        found = {own["uid"]} if isinstance(own, dict) else set()
        return found.union(*map(asked, document.values()))
    return set().union(*map(asked, document)) if isinstance(document, list) else set()


def test_dashboards_ask_no_other_source() -> None:
    paths = sorted(FOLDER.glob("*/dashboards/*.json"))
    assert len(paths) == 16
    for path in paths:
        sources = asked(json.loads(path.read_text(encoding="utf-8")))
        assert DATASOURCE_UID in sources
        assert sources <= {DATASOURCE_UID, EXPRESSION_UID}


def test_the_provider_takes_the_folder_it_is_given() -> None:
    text = (PROVISIONING / "dashboards" / "nenghao.yaml").read_text(encoding="utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    assert (provider["type"], provider["folderUid"]) == ("file", FOLDER_UID)
    assert provider["options"]["path"] == "${NENGHAO_DASHBOARDS}"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_rules_are_a_group_grafana_can_provision(language: str) -> None:
    text = (FOLDER / language / "alerting" / "rules.json").read_text(encoding="utf-8")
    (group,) = json.loads(text)["groups"]
    assert (group["name"], group["orgId"]) == (GROUP, 1)
    uids = [rule["uid"] for rule in group["rules"]]
    assert len(set(uids)) == len(uids)
    for rule in group["rules"]:
        assert len(rule["uid"]) <= 40  # Grafana's limit
        references = {entry["refId"] for entry in rule["data"]}
        assert rule["condition"] in references
        for entry in rule["data"]:
            named = re.findall(r"\$\{(\w+)\}", str(entry["model"].get("expression", "")))
            assert set(named) <= references
            assert entry["datasourceUid"] in {DATASOURCE_UID, EXPRESSION_UID}
            is_query = entry["datasourceUid"] == DATASOURCE_UID
            assert bool(entry.get("relativeTimeRange", {}).get("from")) == is_query
