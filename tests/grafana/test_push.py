"""`nenghao dashboards push` and `diff`, in the environment of their own that grafana-client needs.

There is no Grafana in any package registry: here stands a server that keeps what it is given, at
the addresses Grafana has. The real one is tried by hand (docs/dashboards.md).
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grafana.build import MAKERS

ROOT = Path(__file__).parents[2]
TOKEN = "glsa_of_a_test"


class Kept:
    """What the server holds, and by which token it was asked."""

    def __init__(self) -> None:
        self.folders: dict[str, Any] = {}
        self.dashboards: dict[str, Any] = {}
        self.rules: list[dict[str, Any]] = []
        self.tokens: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    kept: Kept

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> Any:
        self.kept.tokens.add(self.headers.get("Authorization", ""))
        length = int(self.headers.get("Content-Length", 0))
        return json.loads(self.rfile.read(length) or b"null")

    def do_GET(self) -> None:
        self._body()
        *_, last = self.path.split("/")
        if self.path.startswith("/api/folders/"):
            found = self.kept.folders.get(last)
        elif self.path.startswith("/api/dashboards/uid/"):
            found = self.kept.dashboards.get(last)
            found = found and {"dashboard": found | {"id": 7, "version": 2}}
        else:
            found = {"rules": self.kept.rules} if self.kept.rules else None
        self._answer(404 if found is None else 200, found or {"message": "not found"})

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/api/folders":
            self.kept.folders[body["uid"]] = body
        elif body["folderUid"] not in self.kept.folders:
            self._answer(400, {"message": "folder not found"})
            return
        else:
            self.kept.dashboards[body["dashboard"]["uid"]] = body["dashboard"]
        self._answer(200, body)

    def do_PUT(self) -> None:
        self.kept.rules = [rule | {"id": 1, "provenance": ""} for rule in self._body()["rules"]]
        self._answer(200, {})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, Kept]]:
    kept = Kept()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"kept": kept}))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}", kept
    http.shutdown()
    thread.join()
    http.server_close()


def test_without_the_extra_the_line_that_installs_it_is_printed() -> None:
    program = (
        "import nenghao, importlib.metadata as m;"
        "point = m.EntryPoint('dashboards', 'grafana.__main__:main', nenghao.ENTRY_POINT_GROUP);"
        "nenghao.entry_points = lambda **_: [point];"
        "raise SystemExit(nenghao.main(['dashboards', 'diff', '--url', 'u', '--token-file', 't']))"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "    pip install 'nenghao[grafana]'\n" in ran.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_pushed_differs_no_more_until_somebody_changes_it(
    server: tuple[str, Kept], tmp_path: Path
) -> None:
    url, kept = server
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "own"], check=True)
    python = str(tmp_path / "own" / "bin" / "python")
    lock = ROOT / "deploy" / "locks" / "grafana.txt"
    install = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
    subprocess.run(install, check=True)
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    def run(action: str, address: str = url) -> subprocess.CompletedProcess[str]:
        where = ["--url", address, "--token-file", str(tmp_path / "token"), "--docs", "https://d"]
        command = [python, "-m", "grafana", action, *where]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    missing = run("diff")
    assert missing.returncode == 1
    assert len(missing.stdout.splitlines()) == len(MAKERS) + 10
    pushed = run("push")
    assert (pushed.returncode, pushed.stdout.splitlines()[-1]) == (0, "10 rules")
    assert kept.tokens == {f"Bearer {TOKEN}"}
    assert kept.rules[0]["annotations"]["runbook_url"] == "https://d/runbook.md#edge-offline"
    assert (run("diff").returncode, run("diff").stdout) == (0, "")
    kept.dashboards["nenghao-fleet"]["title"] = "by hand"
    kept.rules.pop()
    changed = run("diff")
    assert changed.returncode == 1
    assert changed.stdout.splitlines() == [
        "dashboard fleet: title: '网关' here, 'by hand' in Grafana",
        "rule nenghao-disk: not in Grafana",
    ]
    gone = run("push", "http://127.0.0.1:9")
    assert gone.returncode == 3
    assert "nenghao dashboards: folder: " in gone.stderr
