"""The console in a real Chromium, behind a real prefix-stripping proxy, with and without tokens.

Pictures go to the folder that NENGHAO_PICTURES names, else to pytest's own.
"""

import csv
import hashlib
import io
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from aggregator.access import TokenRole
from aggregator.api.guard import Doorkeeper
from aggregator.api.main import build_app
from aggregator.tokens import Tokens
from tests.aggregator.api_ledger import ApiClient, Ledger, build
from tests.aggregator.doors import keeper_of, tokens_in
from tests.aggregator.test_tariff_days import rolled_up
from tests.chromium import Chromium
from tests.prefix_proxy import PrefixProxy

PREFIX = "/energy/jinan"
VIEWS = ("region", "site/foundry", "fleet", "proof")
SCREENS = ((1920, 1080), (1366, 768), (390, 844))
UPLOT_SHA256 = "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2"
"""uPlot.iife.min.js of uPlot 1.6.31 as its author released it."""
SECRET = "nenghao-office-0123456789"
SHOWN = "document.getElementById('main').dataset.shown"
CONSOLE = Path(__file__).parents[2] / "aggregator" / "api" / "console"


class Served:
    """An application on a real port, and the proxy before it."""

    def __init__(self, app: FastAPI) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self.base = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._proxy = PrefixProxy(self.base, PREFIX)
        self.url = self._proxy.url

    def __enter__(self) -> Self:
        self._thread.start()
        for _ in range(500):
            if self._server.started:
                break
            self._thread.join(0.02)
        self._proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.__exit__()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    ledger = build(tmp_path_factory.mktemp("ledger"))
    rolled_up(ledger)
    yield ledger
    ledger.store.close()


@pytest.fixture(scope="module")
def open_door(ledger: Ledger) -> Iterator[Served]:
    with Served(build_app(ledger.reader)) as served:
        yield served


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    tokens = tokens_in(tmp_path_factory.mktemp("tokens"))
    tokens.add(
        SECRET, "office", TokenRole.ENTERPRISE, sites=("office",), author="the tests", now_ms=1
    )
    yield tokens
    tokens.close()


@pytest.fixture(scope="module")
def guarded(ledger: Ledger, tokens: Tokens) -> Iterator[Served]:
    keeper: Doorkeeper = replace(keeper_of(tokens), open_reading=False)
    with Served(build_app(ledger.reader, keeper=keeper)) as served:
        yield served


@pytest.fixture
def browser(chromium_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(chromium_program, tmp_path_factory.mktemp("profile")) as browser:
        browser.size(1366, 768)
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("NENGHAO_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def show(browser: Chromium, served: Served, view: str, language: str = "zh") -> None:
    browser.go(f"{served.url}#/{view}")
    browser.until(f"{SHOWN} === '{view} {language}'")


def text(browser: Chromium) -> str:
    return str(browser.evaluate("document.getElementById('main').innerText"))


@pytest.mark.chromium
def test_every_view_fits_every_screen_without_a_word_in_the_console(
    browser: Chromium, open_door: Served, pictures: Path
) -> None:
    for language in ("zh", "en"):
        for view in VIEWS:
            for width, height in SCREENS:
                browser.size(width, height)
                show(browser, open_door, view, language)
                name = f"console-{view.partition('/')[0]}-{language}-{width}.png"
                browser.picture(pictures / name)
                wide = browser.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name}: {wide}"
                assert (pictures / name).stat().st_size > 10_000
        browser.evaluate("document.getElementById('language').click()")
        browser.until(f"{SHOWN}.endsWith(document.documentElement.lang.slice(0, 2))")
    browser.go(f"{open_door.url}docs")
    browser.until("document.querySelectorAll('#paths h2').length > 15")
    assert browser.problems == []
    elsewhere = [url for url in browser.requested
                 if not url.startswith((open_door.url, "about:"))]  # fmt: skip
    assert elsewhere == [], "an address that is not relative leaves the prefix"


@pytest.mark.chromium
def test_the_views_say_what_the_api_says_and_missing_is_missing(
    browser: Chromium, open_door: Served, ledger: Ledger
) -> None:
    live = httpx.get(f"{open_door.base}/api/v1/live", trust_env=False).json()
    foundry = next(row for row in live["sites"] if row["site"] == "foundry")
    show(browser, open_door, "region")
    rows = browser.evaluate(
        "[...document.querySelectorAll('#sites tbody tr')].map(r => [...r.children]"
        ".map(c => c.innerText))"
    )
    cells = {row[0]: row[1:] for row in rows}
    assert cells[foundry["name_zh"]][0] == f"{foundry['power_kw']:,.1f}"
    assert cells[foundry["name_zh"]][2] == f"{foundry['today']['total']['tce_calorific']:,.3f}"
    empty = next(row for row in live["sites"] if row["site"] == "empty")
    assert empty["power_kw"] is None
    assert cells[empty["name_zh"]] == ["无数据"] * 8 + ["无数据"]
    region = httpx.get(f"{open_door.base}/api/v1/regions", trust_env=False).json()["regions"][0]
    share = f"{region['today']['measured_share'] * 100:.1f} %"
    headline = browser.evaluate("document.querySelector('.headline').innerText")
    assert share in headline
    assert f"{region['today']['tce_calorific']:,.2f}" in headline
    asked = {url.partition("/api/v1/")[2].partition("?")[0] for url in browser.requested}
    assert {"live", "consumption", "sites"}.isdisjoint(asked), "a region asks for no site's account"
    show(browser, open_door, "site/foundry")
    assert browser.evaluate("document.querySelectorAll('.plot canvas').length") == 1
    show(browser, open_door, "site/empty")
    shown = text(browser)
    assert "无数据" in shown
    assert not re.search(r"^0[.\d]* ?(tce|kW|tCO₂|元)", shown, re.MULTILINE), shown
    show(browser, open_door, "fleet")
    assert "gw1" in text(browser)
    show(browser, open_door, "proof")
    proof = httpx.get(f"{open_door.base}/api/v1/proof", trust_env=False).json()["channels"]
    closing = sum(row["closes"] for row in proof)
    assert f"{closing} / {len(proof)}" in text(browser)
    assert closing > 0


@pytest.mark.chromium
def test_the_keyboard_reaches_all_and_sees_where_it_is(
    browser: Chromium, open_door: Served
) -> None:
    show(browser, open_door, "region")
    browser.press("Tab")
    assert browser.focused() == "skip"
    reached = []
    for _ in range(16):
        browser.press("Tab")
        reached.append(browser.focused())
        outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"no focus to be seen on {reached[-1]}"
        if reached[-1] == "go-office":
            break
    wanted = ["nav-region", "nav-site", "nav-fleet", "nav-proof", "api-docs", "language",
              "sites-csv", "sites-today-csv", "sites-month-csv", "sites-scroll",
              "go-foundry"]  # fmt: skip
    assert [one for one in reached if one in wanted] == wanted
    browser.press("Enter")
    browser.until(f"{SHOWN}.startsWith('site/office')")
    everything = browser.evaluate(
        "[...document.querySelectorAll('*')].filter(e => e.onclick && "
        "!e.matches('a[href],button,select,input,summary')).map(e => e.outerHTML)"
    )
    assert everything == []
    browser.evaluate("document.getElementById('site-choice').focus()")
    browser.press("ArrowDown")
    browser.until(f"{SHOWN} !== 'site/office zh'")
    assert browser.focused() == "site-choice", "the keyboard stays where it was"
    assert browser.problems == []


@pytest.mark.chromium
def test_a_token_is_asked_for_once_and_shows_its_scope_only(
    browser: Chromium, guarded: Served, tmp_path: Path, pictures: Path
) -> None:
    browser.go(guarded.url)
    browser.until(f"{SHOWN} === 'token zh'")
    browser.picture(pictures / "console-token.png")
    browser.type("nenghao-nobody-0123456789")
    browser.press("Enter")
    browser.until("document.querySelector('[role=alert]')")
    browser.type(SECRET)
    browser.press("Enter")
    browser.until(f"{SHOWN} === 'region zh'")
    assert browser.evaluate("document.querySelectorAll('#sites tbody tr').length") == 1
    assert "foundry" not in browser.evaluate("document.body.innerHTML")
    show(browser, guarded, "region")  # a page loaded anew asks for no token
    browser.allow_downloads(tmp_path)
    browser.evaluate("document.getElementById('sites-today-csv').click()")
    file = tmp_path / "consumption-today.csv"
    deadline_s = time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline_s:
        browser.until("true")
    rows = csv.DictReader(io.StringIO(file.read_text("utf-8-sig")))
    assert {(row["site"], row["carrier"]) for row in rows} == {("office", "electricity")}
    browser.evaluate("document.getElementById('forget').click()")
    browser.until(f"{SHOWN} === 'token zh'")
    assert browser.evaluate("sessionStorage.length + document.cookie.length") == 0
    unexpected = [one for one in browser.problems if "401" not in one]
    assert unexpected == []


@pytest.mark.chromium
def test_foreign_script_does_not_run_and_a_failure_is_said(
    browser: Chromium, open_door: Served
) -> None:
    show(browser, open_door, "region")
    browser.evaluate(
        "{ const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
        " document.body.append(s); }"
    )
    assert browser.evaluate("window.bad") is None
    assert any("Content Security Policy" in one for one in browser.problems)
    browser.evaluate(
        "{ window.fetch = () => Promise.reject(new Error('the line is cut'));"
        " location.hash = '#/fleet'; }"
    )
    browser.until("document.getElementById('status').textContent.includes('the line is cut')")
    assert "示范" not in browser.evaluate("document.getElementById('status').textContent")


def test_a_page_that_fetches_gets_no_basic_challenge(guarded: Served) -> None:
    """At Basic a browser would open a window over the console's own form."""
    url = f"{guarded.base}/api/v1/sites"
    fetched = httpx.get(url, headers={"Sec-Fetch-Dest": "empty"}, trust_env=False)
    assert (fetched.status_code, fetched.headers["WWW-Authenticate"]) == (401, "Bearer")
    opened = httpx.get(url, headers={"Sec-Fetch-Dest": "document"}, trust_env=False)
    assert "Basic" in opened.headers["WWW-Authenticate"]


def test_parts_are_served_with_a_strict_policy_and_nothing_else_is(ledger: Ledger) -> None:
    with ApiClient(build_app(ledger.reader)) as client:
        for path in ("/", "/docs", "/console/main.js", "/console/uplot.js"):
            answer = client.get(path)
            assert answer.status_code == 200
            policy = answer.headers["Content-Security-Policy"]
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
        for path in ("/console/nothing.js", "/console/..%2Fguard.py", "/console/"):
            assert client.get(path).status_code == 404, path
        uplot = client.get("/console/uplot.js").content
        assert hashlib.sha256(uplot).hexdigest() == UPLOT_SHA256


def test_pages_name_relative_addresses_only_and_no_markup_is_made_of_text() -> None:
    for part in CONSOLE.iterdir():
        source = part.read_text(encoding="utf-8")
        if part.suffix != ".svg":
            assert "://" not in source, part
        assert not re.search(r"""(?:src|href)=["']/|fetch\(["'`]/""", source), part
        assert "innerHTML" not in source, part
        assert not re.search(r"<script>|<style>|\sstyle=|\son\w+=['\"]", source), part


def test_every_word_is_there_in_both_languages_and_is_used() -> None:
    words = (CONSOLE / "words.js").read_text(encoding="utf-8")
    table = words[words.index("const WORDS") : words.index("const LANGUAGES")]
    found = re.findall(r'^  (\w+): \[\s*"([^"]+)",\s*"([^"]+)",?\s*\],$', table, re.MULTILINE)
    keys = [key for key, _, _ in found]
    assert len(keys) == table.count(": [") == len(set(keys))
    code = "\n".join(part.read_text("utf-8") for part in CONSOLE.glob("*.js"))
    used = set(re.findall(r'\bt\("(\w+)"\)', code)) | set(re.findall(r'\["(\w+_s)",', code))
    used |= {"region", "site", "fleet", "proof"} | {key for key in keys if key.startswith("role_")}
    assert used == set(keys)
    for part in CONSOLE.glob("*.js"):
        if part.name != "words.js":
            code = re.sub(r"//.*", "", part.read_text("utf-8"))
            assert re.findall(r"[一-鿿]+", code) in ([], ["万"], ["元"]), part
