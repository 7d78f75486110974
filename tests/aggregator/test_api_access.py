"""Every route has its rule, and nobody sees or does more than the token gives: over all routes."""

import asyncio
import base64
import re
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from aggregator.access import RIGHTS, WRITES, Access, Right, TokenRole, visible
from aggregator.api.guard import MAX_BODY_BYTES, RULES, Doorkeeper
from aggregator.api.main import build_app
from aggregator.api.reader import StoreLedgerReader
from aggregator.api.writer import PipelineLedgerWriter
from aggregator.closings import Closings, Part
from aggregator.facts import Facts
from aggregator.orders import Order, Orders
from aggregator.register.folder import load_folder
from aggregator.register.model import Register
from aggregator.restatements import Restatement, Restatements
from aggregator.tokens import Tokens
from contract.command import Command
from contract.interval import DAY_MS, month_start
from contract.state import EdgeState, OutboxState
from contract.topics import Address
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, REGION, ApiClient, build
from tests.aggregator.doors import NOW_MS, keeper_of, tokens_in
from tests.register_example import example, write_folder

ELSEWHERE = "370112"
COMMAND = "c-0123456789abcdef"
SECRETS = {
    name: f"nenghao-{name}-0123456789"
    for name in (
        "engineer", "machine", "office", "foundry", "district", "elsewhere", "city", "local-machine"
    )
}  # fmt: skip
HIDDEN = re.compile(r"foundry|belt|boiler|gw-f", re.IGNORECASE)
"""What stands in answers about the foundry and in no other."""


class Door:
    """An app over a whole ledger: the office has moved to another region, events and all told."""

    def __init__(self, folder: Any) -> None:
        self.ledger = ledger = build(folder)
        url = f"sqlite:///{folder / 'records.sqlite'}"
        self.facts, self.restatements = Facts(url), Restatements(url)
        self.facts.open()
        self.closings = Closings(url)
        self.tokens = tokens_in(folder)
        self._told()
        ledger.live.edge_states[Address(REGION, "office", "gw-o")] = EdgeState(
            online=True, time_ms=NOON_MS, outbox=OutboxState(depth_batches=1, depth_readings=10)
        )
        self._give("engineer", TokenRole.ENGINEER, everything=True)
        self._give("machine", TokenRole.MACHINE, everything=True)
        self._give("local-machine", TokenRole.MACHINE, sites=("office",))
        self._give("office", TokenRole.ENTERPRISE, sites=("office",))
        self._give("foundry", TokenRole.ENTERPRISE, sites=("foundry", "empty"))
        self._give("district", TokenRole.SUPERVISOR, regions=(REGION,))
        self._give("elsewhere", TokenRole.SUPERVISOR, regions=(ELSEWHERE, "110000"))
        self._give("city", TokenRole.SUPERVISOR, regions=("370100",))
        done: Future[int] = Future()
        done.set_result(0)
        self.writer = PipelineLedgerWriter(
            self.facts, self.restatements, lambda *_: done, lambda: NOON_MS
        )
        self.app = self.application(keeper_of(self.tokens))

    def application(self, keeper: Doorkeeper) -> FastAPI:
        orders = Orders(lambda _topic, _payload: None, lambda: NOON_MS)
        command = Command(COMMAND, "restart", NOON_MS, {})
        orders._orders[COMMAND] = Order(Address(REGION, "foundry", "gw1"), command, NOON_MS)
        return build_app(self.ledger.reader, self.writer, keeper, self.closings, orders=orders)

    def _give(self, name: str, role: TokenRole, **scope: Any) -> None:
        self.tokens.add(SECRETS[name], name, role, author="the tests", now_ms=1, **scope)

    def _told(self) -> None:
        from aggregator.api.event_shapes import EventFields

        body = event_of("foundry", "grid")
        self.event = self.facts.tell(EventFields.model_validate(body).event(REGION, 2**50), 1)
        part = Part(
            "foundry", "grid", "energy_import", month_start(MIDNIGHT_MS), "electricity",
            "boundary_in", True, 10**6, 0, 0, DAY_MS, 0, 0, 1, 1, 0, 1.0, 1.0, 1.0, 1.0,
        )  # fmt: skip
        parts = [part, replace(part, site="office", meter="em-01")]
        self.month_ms = month_start(MIDNIGHT_MS)
        self.closings.add(
            REGION, self.month_ms, parts, author="a", reason="r", factor_set="demo",
            now_ms=self.month_ms + 62 * DAY_MS,
        )  # fmt: skip
        row = Restatement(
            REGION, "foundry", "grid", "energy_import", MIDNIGHT_MS, "amount", 1.0, 2.0,
            "factors x", "said so", NOON_MS,
        )  # fmt: skip
        self.restatements.add([row])


def event_of(site: str, meter: str) -> dict[str, Any]:
    return {
        "kind": "exchange", "site": site, "meter": meter, "channel": "energy_import",
        "at_ms": MIDNIGHT_MS, "final_kwh": 1, "start_kwh": 0, "author": "x", "reason": "y",
    }  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    door = Door(tmp_path_factory.mktemp("door"))
    yield door
    door.ledger.store.close()
    for database in (door.facts, door.restatements, door.closings, door.tokens):
        database.close()


@pytest.fixture(scope="module")
def client(door: Door) -> Iterator[ApiClient]:
    with ApiClient(door.app) as client:
        yield client


def routed(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of everything that an app would answer, included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routed(included.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
        elif isinstance(route, (Route, APIRoute)):
            yield from (
                (m, prefix + route.path) for m in sorted(route.methods or ()) if m != "HEAD"
            )
        elif isinstance(route, Mount):
            yield "GET", prefix + route.path + "/{path:path}"
        else:
            raise AssertionError(f"{route}: what it answers is not known here")


def test_every_route_has_a_rule_and_every_rule_a_route(door: Door) -> None:
    found = list(routed(door.app.routes))
    assert len(found) > 20
    assert sorted(found) == sorted(set(found))
    assert set(found) == set(RULES), "a route without a rule is answered 404: aggregator.api.guard"


def test_what_changes_something_is_noted_and_reading_is_not(door: Door) -> None:
    for (method, path), right in RULES.items():
        assert (right in WRITES) == (method != "GET"), path


def test_a_route_that_somebody_adds_without_a_rule_is_not_there(door: Door) -> None:
    app = door.application(keeper_of(door.tokens))
    app.get("/api/v1/secrets")(lambda: "all of them")
    app.post("/api/v1/sites")(lambda: "written")
    with ApiClient(app) as client:
        assert client.get("/api/v1/secrets", token=SECRETS["engineer"]).status_code == 404
        refused = client.post("/api/v1/sites", {}, SECRETS["engineer"])
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")
        for path in ("/api/v1/sites/", "//api/v1/sites", "/api/v1//sites", "/API/v1/sites"):
            assert client.get(path, token=SECRETS["engineer"]).status_code == 404, path


def filled(path: str, id_: int = 999) -> str:
    values = {"region": REGION, "month": "2026-03", "id": str(id_), "name": "main.js"}
    values |= {"site": "foundry", "edge": "gw1", "command": COMMAND}
    return re.sub(r"{(\w+)}", lambda match: values[match[1]], path)


def ask(client: ApiClient, method: str, path: str, id_: int = 999, **more: Any) -> httpx.Response:
    if method == "POST":
        more["json"] = {"author": "x", "reason": "y"}
    return client.ask(method, filled(path, id_), **more)


@pytest.mark.parametrize("name", SECRETS)
def test_each_role_may_do_on_each_route_what_its_rights_say(
    door: Door, client: ApiClient, name: str
) -> None:
    (grant,) = [one for one in door.tokens.grants() if one.name == name]
    for (method, path), right in RULES.items():
        status = ask(client, method, path, token=SECRETS[name]).status_code
        assert (status == 403) == (right not in RIGHTS[grant.role]), (path, status)
        assert status in (200, 403, 404, 422), (path, status)


REFUSED_HEADERS = {
    "none": None,
    "empty": "",
    "no scheme": SECRETS["engineer"],
    "another scheme": f"Digest {SECRETS['engineer']}",
    "unknown": "Bearer nenghao-nobody-0123456789",
    "its hash": "Bearer " + "a" * 64,
    "half": f"Bearer {SECRETS['engineer'][:-1]}",
    "more": f"Bearer {SECRETS['engineer']}x",
    "basic without colon": "Basic " + base64.b64encode(SECRETS["engineer"].encode()).decode(),
    "basic that is none": "Basic ###",
    "basic not utf-8": "Basic /////w==",
    "token as name": "Basic " + base64.b64encode(f"{SECRETS['engineer']}:".encode()).decode(),
    "revoked": "Bearer nenghao-revoked-0123456789",
    "expired": "Bearer nenghao-expired-0123456789",
}


def test_without_a_token_that_holds_nothing_but_the_public_is_answered(
    door: Door, client: ApiClient
) -> None:
    tokens, more = door.tokens, {"everything": True, "author": "t", "now_ms": 1}
    gone = tokens.add("nenghao-revoked-0123456789", "r", TokenRole.ENGINEER, **more)  # type: ignore[arg-type]
    tokens.revoke(gone.id, "t", NOW_MS)
    tokens.add("nenghao-expired-0123456789", "e", TokenRole.ENGINEER, expires_ms=NOW_MS, **more)  # type: ignore[arg-type]
    for case, header in REFUSED_HEADERS.items():
        headers = {} if header is None else {"Authorization": header}
        for (method, path), right in RULES.items():
            answer = ask(client, method, path, door.event.id, headers=headers)
            if right is Right.PUBLIC:
                assert answer.status_code == 200, (case, path)
                assert not HIDDEN.search(answer.text) or path == "/openapi.json"
                continue
            assert answer.status_code == 401, (case, path)
            assert answer.json()["error"]["parameter"] == "authorization"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert [told.undone_ms for told in door.facts.events(REGION, "foundry")] == [None]


def shown(client: ApiClient, name: str) -> dict[str, str]:
    """What every readable route tells to a token, asked for nothing special and for the foundry."""
    found = {}
    period = {"from": MIDNIGHT_MS, "to": NOON_MS}
    document = client.get("/openapi.json").json()
    for (method, path), right in RULES.items():
        if method != "GET" or right is Right.PUBLIC:
            continue
        known = {p["name"] for p in document["paths"][path]["get"].get("parameters", ())}
        for more in ({}, period, {"site": "foundry"}, {"site": "foundry"} | period,
                     {"detail": "channels"}, {"level": "interval"} | period,
                     {"format": "csv"},
                     {"site": "foundry", "meter": "grid"} | period):  # fmt: skip
            if more.keys() <= known:
                answer = client.get(filled(path), more, SECRETS[name])
                text = answer.text.replace("no site 'foundry' in", "")
                found[f"{path} {more}"] = f"{answer.status_code} {text}"
    return found


@pytest.mark.parametrize("name", ["office", "elsewhere", "local-machine"])
def test_no_route_tells_anything_of_a_site_out_of_scope(client: ApiClient, name: str) -> None:
    assert [where for where, text in shown(client, name).items() if HIDDEN.search(text)] == []


@pytest.mark.parametrize("name", ["office", "elsewhere", "local-machine"])
def test_an_edge_out_of_scope_is_sent_nothing_and_its_commands_are_not_shown(
    client: ApiClient, name: str
) -> None:
    body = {"name": "poll-now", "args": {}}
    path = "/api/v1/edges/foundry/gw1/commands"
    sent = client.post(path, body, SECRETS["engineer"])
    assert sent.status_code == 202, sent.text
    asked = f"/api/v1/commands/{sent.json()['id']}"
    assert client.get(asked, token=SECRETS["engineer"]).json()["edge"] == "gw1"
    assert client.post(path, body, SECRETS[name]).status_code in (403, 404)
    assert client.get(asked, token=SECRETS[name]).status_code in (403, 404)


def test_a_command_goes_where_the_site_is_now(door: Door, client: ApiClient) -> None:
    body = {"name": "poll-now", "args": {}}
    states, left = door.ledger.live.edge_states, Address(ELSEWHERE, "office", "gw-left")
    states[left] = states[Address(REGION, "office", "gw-o")]
    try:
        for edge, status in (("gw-o", 202), ("gw-left", 404), ("gw-new", 404)):
            path = f"/api/v1/edges/office/{edge}/commands"
            assert client.post(path, body, SECRETS["engineer"]).status_code == status, edge
    finally:
        del states[left]


def test_every_route_that_tells_of_sites_tells_those_in_scope_of_theirs(client: ApiClient) -> None:
    """The test above can fail: the same questions, asked by who may, name the foundry."""
    everything, own, district = (shown(client, name) for name in ("engineer", "foundry", "city"))
    telling = {where.split()[0] for where, text in everything.items() if HIDDEN.search(text)}
    silent = {path for (method, path), right in RULES.items() if right is Right.READ
              and method == "GET"} - telling  # fmt: skip
    # its register has no plans
    quiet = (
        "closings", "factors", "plans", "proposals", "rules", "unit-consumption", "verdicts",
    )  # fmt: skip
    assert silent == {f"/api/v1/{name}" for name in quiet}
    for one in (own, district):
        told = {where.split()[0] for where, text in one.items() if HIDDEN.search(text)}
        assert told == {path for path in telling if RULES["GET", path] is Right.READ}
    assert "office" in everything["/api/v1/sites {}"]
    assert "office" not in own["/api/v1/sites {}"]


def test_a_scope_of_regions_follows_the_tree_of_codes(client: ApiClient) -> None:
    def sites(name: str) -> set[str]:
        rows = client.get("/api/v1/sites", token=SECRETS[name]).json()
        return {row["site"] for row in rows}

    assert sites("district") == sites("city") == sites("engineer") == {"foundry", "office", "empty"}
    assert sites("elsewhere") == set()


def test_what_no_token_of_a_part_may_know_is_null_for_it(client: ApiClient) -> None:
    live = client.get("/api/v1/live", token=SECRETS["office"]).json()
    assert live["readings_per_s"] is None
    assert (live["edges_total"], live["outbox_depth_readings"]) == (2, 10)  # gw1 and gw-o
    rules = client.get("/api/v1/rules", token=SECRETS["office"]).json()["rules"]
    assert {row["verdicts"] for row in rules} == {None}
    health = client.get("/api/v1/health").json()
    assert (health["ok"], health["detail"]) == (True, "")
    metrics = client.get("/metrics", token=SECRETS["local-machine"]).text
    assert "nenghao_aggregator_sites 1\n" in metrics
    assert "committed_readings" not in metrics
    assert "readings_per_second" not in metrics
    every = client.get("/metrics", token=SECRETS["machine"]).text
    assert "committed_readings_total 490" in every
    assert "readings_per_second 12.5\n" in every


def test_a_gateway_that_claims_a_site_of_that_name_elsewhere_is_not_shown(door: Door) -> None:
    """Out of scope by region though the name is in scope."""
    office = replace(door.ledger.reader.register.sites["office"], region=ELSEWHERE)
    register = Register.of([office], [])
    reader = door.ledger.reader
    moved = StoreLedgerReader(
        door.ledger.store, register, reader.factor_set, reader.tariffs, reader.live,
        facts=reader.facts, counters=reader.counters, now_ms=reader.now_ms,
    )  # fmt: skip
    with ApiClient(build_app(moved, None, keeper_of(door.tokens))) as client:
        told = client.get("/api/v1/meters", token=SECRETS["office"]).json()
        assert told == {"meters": [], "unregistered": []}
        claimed = client.get("/api/v1/meters", token=SECRETS["engineer"]).json()["unregistered"]
        assert ("office", "em-01") in {(row["site"], row["meter"]) for row in claimed}


def test_who_decides_decides_of_its_own_sites_only(door: Door, client: ApiClient) -> None:
    body = event_of("foundry", "grid") | {"reason": "another"}
    refused = client.post("/api/v1/events", body, SECRETS["elsewhere"])
    assert (refused.status_code, refused.json()["error"]["parameter"]) == (404, "site")
    told = client.post("/api/v1/events", body, SECRETS["district"])
    assert told.status_code == 201, told.text
    path = f"/api/v1/events/{told.json()['event']['id']}/undo"
    why = {"author": "x", "reason": "not mine"}
    assert client.post(path, why, SECRETS["elsewhere"]).status_code == 404
    assert client.get("/api/v1/events", token=SECRETS["foundry"]).json()["events"][-1]["stands"]
    assert client.post(path, why, SECRETS["city"]).status_code == 200


def test_two_visitors_at_once_see_each_their_own(door: Door) -> None:
    async def many() -> list[tuple[str, set[str]]]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(door.app), base_url="http://a"
        ) as http:
            names = ["office", "foundry", "engineer", "elsewhere"] * 10
            answers = await asyncio.gather(
                *(
                    http.get("/api/v1/sites", headers={"Authorization": f"Bearer {SECRETS[name]}"})
                    for name in names
                )
            )
            told = [{row["site"] for row in answer.json()} for answer in answers]
            return list(zip(names, told, strict=True))

    expected = {
        "office": {"office"}, "foundry": {"foundry", "empty"}, "elsewhere": set(),
        "engineer": {"office", "foundry", "empty"},
    }  # fmt: skip
    assert all(told == expected[name] for name, told in asyncio.run(many()))


def test_a_browser_reads_with_the_token_as_password_and_writes_nothing_with_it(
    door: Door, client: ApiClient
) -> None:
    given = base64.b64encode(f"anybody:{SECRETS['engineer']}".encode()).decode()
    headers = {"Authorization": f"Basic {given}"}
    assert client.ask("GET", "/api/v1/sites", headers=headers).status_code == 200
    assert "Basic" in client.get("/api/v1/sites").headers["WWW-Authenticate"]
    answer = client.ask("POST", "/api/v1/events", headers=headers, json=event_of("office", "em-01"))
    assert answer.status_code == 401
    assert "Basic" not in answer.headers["WWW-Authenticate"]


def test_behind_a_prefix_the_rules_are_the_same(door: Door) -> None:
    async def prefixed(scope: Any, receive: Any, send: Any) -> None:
        await door.app({**scope, "root_path": "/energy"}, receive, send)

    with ApiClient(door.app) as client:
        client._client._transport = httpx.ASGITransport(prefixed)
        assert client.get("/energy/api/v1/sites").status_code == 401
        assert client.get("/energy/api/v1/sites", token=SECRETS["office"]).status_code == 200
        assert client.get("/energy/api/v1/nothing", token=SECRETS["office"]).status_code == 404


# ------------------------------------------------------------------------- before the first token


def test_before_the_first_token_only_the_host_itself_reads(door: Door, tmp_path: Any) -> None:
    with_none = tokens_in(tmp_path)
    for local in (True, False):
        keeper = keeper_of(with_none, open_reading=local)
        with ApiClient(door.application(keeper)) as client:
            for (method, path), right in RULES.items():
                status = ask(client, method, path).status_code
                if right is Right.PUBLIC:
                    assert status == 200
                elif right in WRITES:
                    assert status == 403
                else:
                    assert (status in (200, 422)) if local else (status == 401), (path, status)
    with_none.close()


def test_the_first_token_closes_the_door_and_revoking_the_last_leaves_it_closed(
    door: Door, tmp_path: Any
) -> None:
    tokens = tokens_in(tmp_path)
    with ApiClient(door.application(keeper_of(tokens))) as client:
        assert client.get("/api/v1/sites").status_code == 200
        grant = tokens.add(
            "s",
            "n",
            TokenRole.MACHINE,
            everything=True,
            author="t",
            now_ms=1,
            expires_ms=NOW_MS + 1,
        )
        assert client.get("/api/v1/sites").status_code == 401
        assert client.get("/api/v1/sites", token="s").status_code == 200
        tokens.revoke(grant.id, "t", 2)
        assert client.get("/api/v1/sites").status_code == 401
        assert client.get("/api/v1/sites", token="s").status_code == 401
    tokens.close()


# ------------------------------------------------------------------------------------- who wrote


def test_what_is_written_is_noted_with_token_body_and_answer(door: Door, client: ApiClient) -> None:
    body = event_of("office", "em-01")
    assert client.post("/api/v1/events", body, SECRETS["city"]).status_code == 201
    assert client.post("/api/v1/events", {"kind": "\0密"}, SECRETS["engineer"]).status_code == 422
    assert client.post("/api/v1/events", body, SECRETS["office"]).status_code == 403
    assert client.get("/api/v1/events", token=SECRETS["office"]).status_code == 200
    first, second = door.tokens.written(2)
    assert (first.name, first.role, first.status) == ("city", "supervisor", 201)
    assert (first.method, first.path, first.time_ms) == ("POST", "/api/v1/events", NOW_MS)
    assert '"site":"office"' in first.body.replace(" ", "")
    assert (second.name, second.status) == ("engineer", 422)
    assert SECRETS["city"] not in repr(door.tokens.written(1000))


def test_what_cannot_be_noted_is_not_written(
    door: Door, client: ApiClient, monkeypatch: Any
) -> None:
    from aggregator.store.base import StoreRetriable

    def away(*_: object) -> int:
        raise StoreRetriable("the disk is full")

    before = len(door.facts.events(REGION, "office"))
    monkeypatch.setattr(Tokens, "begin", away)
    body = event_of("office", "em-01") | {"reason": "never"}
    answer = client.post("/api/v1/events", body, SECRETS["engineer"])
    assert (answer.status_code, "disk is full" in answer.text) == (503, True)
    assert len(door.facts.events(REGION, "office")) == before


def test_a_body_without_end_is_refused(door: Door, client: ApiClient) -> None:
    before = len(door.tokens.written(1000))
    body = event_of("office", "em-01") | {"reason": "x" * MAX_BODY_BYTES}
    assert client.post("/api/v1/events", body, SECRETS["engineer"]).status_code == 413
    assert len(door.tokens.written(1000)) == before


def test_a_handler_that_breaks_is_noted_as_broken(door: Door, monkeypatch: Any) -> None:
    monkeypatch.setattr(Facts, "tell", lambda *_: 1 / 0)
    with ApiClient(door.app) as client:
        body = event_of("office", "em-01")
        assert client.post("/api/v1/events", body, SECRETS["engineer"]).status_code == 500
    (last,) = door.tokens.written(1)
    assert last.status == 500


def test_while_tokens_cannot_be_looked_up_nobody_passes(door: Door, monkeypatch: Any) -> None:
    from aggregator.store.base import StoreRetriable

    def away(*_: object) -> None:
        raise StoreRetriable("gone")

    monkeypatch.setattr(Tokens, "find", away)
    with ApiClient(door.app) as client:
        answer = client.get("/api/v1/sites", token=SECRETS["engineer"])
        assert (answer.status_code, answer.json()["error"]["parameter"]) == (503, "")


def test_the_register_that_a_visitor_gets_names_no_site_out_of_scope(tmp_path: Path) -> None:
    whole = load_folder(write_folder(tmp_path, example()))
    cut = visible(whole, Access(frozenset({Right.READ}), sites=("office",)))
    assert "foundry" not in repr(cut)
    assert all((whole.calorific, whole.deductions, whole.contracts, "foundry" in repr(whole)))
