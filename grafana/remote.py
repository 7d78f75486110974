"""Puts the rendered files into a running Grafana and compares them, through grafana-client.

grafana-client replaces urllib3 for its whole environment, so it is in an extra of its own that is
installed where neither aggregator nor influxdb-client is.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grafana_client import GrafanaApi, TokenAuth
from grafana_client.client import GrafanaClientError

from grafana.compare import differences
from grafana.words import Words

FOLDER_UID = "nenghao"
GROUP = "nenghao"
TIMEOUT_S = 15.0


class RemoteError(Exception):
    """Grafana refused, or is not there; the message says what was asked for."""


class Remote:
    """One Grafana, and the rendered files of one language."""

    def __init__(self, url: str, token: str, rendered: Path, language: str, docs: str) -> None:
        self._api = GrafanaApi.from_url(url, TokenAuth(token), timeout=TIMEOUT_S)
        self._title = Words(language)["folder"]
        self._dashboards = {
            path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((rendered / language / "dashboards").glob("*.json"))
        }
        text = (rendered / language / "alerting" / "rules.json").read_text(encoding="utf-8")
        (self._group,) = json.loads(text)["groups"]
        for rule in self._group["rules"]:
            address = rule["annotations"]["runbook_url"]
            rule["annotations"]["runbook_url"] = docs + "/" + address.rpartition("/")[2]

    def push(self) -> Iterator[str]:
        """Write folder, dashboards and rules; yield what was written. Repeats change nothing."""
        if self._found("folder", lambda: self._api.folder.get_folder(FOLDER_UID)) is None:
            self._do("folder", lambda: self._api.folder.create_folder(self._title, FOLDER_UID))
            yield f"folder {FOLDER_UID}"
        for name, dashboard in self._dashboards.items():
            body = {"dashboard": dashboard, "folderUid": FOLDER_UID, "overwrite": True}
            self._do(name, lambda body=body: self._api.dashboard.update_dashboard(body))
            yield f"dashboard {name}"
        ours = [rule | {"folderUID": FOLDER_UID} for rule in self._group["rules"]]
        group = {"title": GROUP, "folderUid": FOLDER_UID, "interval": 60, "rules": ours}
        rules = self._api.alertingprovisioning
        self._do("rules", lambda: rules.update_rule_group(FOLDER_UID, GROUP, group, True))
        yield f"{len(ours)} rules"

    def diff(self) -> Iterator[str]:
        """Yield what Grafana holds otherwise than the rendered files say."""
        for name, dashboard in self._dashboards.items():
            uid = dashboard["uid"]
            found = self._found(name, lambda uid=uid: self._api.dashboard.get_dashboard(uid))
            if found is None:
                yield f"dashboard {name}: not in Grafana"
                continue
            for line in differences(dashboard, found["dashboard"], extra=True):
                yield f"dashboard {name}: {line}"
        rules = self._api.alertingprovisioning
        found = self._found("rules", lambda: rules.get_rule_group(FOLDER_UID, GROUP))
        theirs = {rule["uid"]: rule for rule in (found or {}).get("rules", ())}
        for rule in self._group["rules"]:
            if rule["uid"] not in theirs:
                yield f"rule {rule['uid']}: not in Grafana"
                continue
            for line in differences(rule, theirs.pop(rule["uid"]), extra=False):
                yield f"rule {rule['uid']}: {line}"
        for uid in theirs:
            yield f"rule {uid}: only in Grafana"

    def _found(self, what: str, ask: Any) -> Mapping[str, Any] | None:
        try:
            answer: Mapping[str, Any] = self._do(what, ask)
        except RemoteError as error:
            if isinstance(error.__cause__, GrafanaClientError) and (
                error.__cause__.status_code == 404
            ):
                return None
            raise
        return answer

    @staticmethod
    def _do(what: str, ask: Any) -> Any:
        try:
            return ask()
        except Exception as error:  # the client lets its transport's own errors through
            raise RemoteError(f"{what}: {error}") from error
