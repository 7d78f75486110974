"""Events over HTTP change exactly the figures they are about, and nobody writes unasked."""

import time
from concurrent.futures import Future
from typing import Any

import pytest

from aggregator.api.event_shapes import EventFields
from aggregator.api.guard import Doorkeeper
from aggregator.api.writer import PipelineLedgerWriter
from aggregator.facts import Facts
from contract.interval import MINUTE_MS
from tests.aggregator.api_ledger import ApiClient
from tests.aggregator.works import MULTIPLIER, NOW, T0, TOKEN, Works, exchange, minutes

EVENTS = "/api/v1/events"


@pytest.fixture
def works(tmp_path):
    with Works(tmp_path) as works:
        yield works


@pytest.fixture
def client(works):
    with ApiClient(works.app) as client:
        yield client


def figures(client: ApiClient, meter: str = "em-1") -> list[tuple[float, float]]:
    """(booked, held) per interval, in display units."""
    parameters = {"level": "interval", "site": "works", "meter": meter, "from": T0, "to": NOW}
    rows = client.get("/api/v1/intervals", parameters).json()["intervals"]
    names = [next(iter(row["amount"])) for row in rows]
    return [
        (row["amount"][name] / MULTIPLIER, row["amount_held"][name] / MULTIPLIER)
        for row, name in zip(rows, names, strict=True)
    ]


def closes(client: ApiClient) -> bool:
    return bool(client.get("/api/v1/proof", {"site": "works"}).json()["closes"])


def test_an_exchange_clears_what_is_held_and_its_undoing_brings_it_back(works, client):
    works.read(minutes(500, 501, 502, 503, 3, 4, 5))
    held = figures(client)
    assert held[3] == (0.0, -500.0)
    told = client.post(EVENTS, exchange(final_kwh="503.25", start_kwh=2.5), TOKEN)
    answer = told.json()
    assert told.status_code == 201, answer
    assert answer["figures"] == "follow"
    assert answer["intervals_changed"] == 2  # the new register's first step lies in the next one
    assert figures(client)[3:5] == [(0.25, 0), (1.5, 0)]
    assert closes(client)
    (row,) = client.get(EVENTS, {"site": "works"}).json()["events"]
    assert row == answer["event"]
    assert (row["final_kwh"], row["start_kwh"], row["stands"]) == (503.25, 2.5, True)

    path = f"{EVENTS}/{row['id']}/undo"
    undone = client.post(path, {"author": "another", "reason": "it was a reset"}, TOKEN)
    assert undone.status_code == 200, undone.text
    assert undone.json()["intervals_changed"] == 2
    assert figures(client) == held
    assert closes(client)
    (row,) = client.get(EVENTS, {"site": "works"}).json()["events"]
    assert (row["stands"], row["undone_by"], row["undone_why"]) == (
        False, "another", "it was a reset",
    )  # fmt: skip


def test_settled_days_leave_records_with_cause_and_reason(works, client):
    works.read(minutes(500, 501, 502, 503, 3, 4, 5))
    id_ = client.post(EVENTS, exchange(final_kwh=503, start_kwh=3), TOKEN).json()["event"]["id"]
    client.post(f"{EVENTS}/{id_}/undo", {"author": "another", "reason": "wrong day"}, TOKEN)
    parameters = {"site": "works", "from": T0 - 86_400_000, "to": NOW}
    answer = client.get("/api/v1/restatements", parameters).json()
    held = [
        (row["cause"], row["why"], row["from_value"], row["to_value"])
        for row in answer["restatements"]
        if row["measure"] == "amount_held" and row["cause"].startswith("event")
    ]
    assert held == [
        (f"event {id_}", "a new meter", -500.0 * MULTIPLIER, 0.0),
        (f"event {id_} undone", "wrong day", 0.0, -500.0 * MULTIPLIER),
    ]
    later = client.get("/api/v1/restatements", {"site": "works", "from": T0 + 86_400_000}).json()
    assert later["restatements"] == []
    pages: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = client.get("/api/v1/restatements", {**parameters, "after": after, "limit": 3}).json()
        assert 0 < len(page["restatements"]) <= 3
        pages += page["restatements"]
        after = page["next"]
    assert pages == answer["restatements"]
    assert answer["next"] is None
    assert len(pages) > 3
    cut = client.get("/api/v1/restatements", {**parameters, "limit": 3, "format": "csv"})
    assert cut.status_code == 422  # a table that ends early would look whole
    by_default = client.get("/api/v1/restatements").json()
    assert by_default["restatements"] == answer["restatements"]


def test_a_correction_of_the_unit_a_clock_and_water_by_their_own_names(works, client):
    works.read(minutes(500, 0.501, 0.502, 0.503, 504), "em-1")
    works.read(minutes(10, 11, 12.5), "wm-1")
    assert any(held for _, held in figures(client))
    unit = exchange(kind="correction", at_ms=T0 + 1, until_ms=T0 + 40 * MINUTE_MS, factor=1000)
    assert client.post(EVENTS, unit, TOKEN).status_code == 201
    assert figures(client)[:4] == [(1, 0)] * 4
    value = exchange(
        kind="replace", meter="wm-1", channel="volume", at_ms=T0 + 30 * MINUTE_MS, value_m3="13.5"
    )
    answer = client.post(EVENTS, value, TOKEN)
    assert answer.json()["event"]["value_m3"] == 13.5
    assert figures(client, "wm-1")[:2] == [(1, 0), (2.5, 0)]
    clock = {
        "kind": "clock", "site": "works", "edge": "gw-1", "at_ms": T0, "author": "a",
        "reason": "an hour ahead", "until_ms": T0 + 60 * MINUTE_MS, "offset_ms": -3_600_000,
    }  # fmt: skip
    assert client.post(EVENTS, clock, TOKEN).json()["intervals_changed"] > 0
    assert figures(client, "wm-1")[0] == (0, 0)  # of T0 on: nothing is known now
    assert closes(client)


def test_two_people_who_say_the_same_correct_once(works, client):
    works.read(minutes(500, 0.501, 0.502, 0.503, 504), "em-1")
    unit = exchange(kind="correction", at_ms=T0 + 1, until_ms=T0 + 50 * MINUTE_MS, factor="1000")
    assert client.post(EVENTS, unit, TOKEN).json()["intervals_changed"] > 0
    again = client.post(EVENTS, unit | {"author": "another"}, TOKEN)
    assert again.json()["intervals_changed"] == 0
    assert closes(client)
    works.read(minutes(0.5035, start=48), "em-1")  # a late one
    assert figures(client)[:4] == [(1, 0)] * 4


def test_all_events_are_read_in_one_go(tmp_path, monkeypatch):
    asked, real = [], Facts.events

    def events(self, *place):
        asked.append(place)
        return real(self, *place)

    monkeypatch.setattr(Facts, "events", events)
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        client.post(EVENTS, exchange(), TOKEN)
        by_site = client.get(EVENTS, {"site": "works"}).json()
        asked.clear()
        assert client.get(EVENTS).json() == by_site
        assert asked == []  # not site by site


def test_the_same_word_twice_is_one_event(client):
    first = client.post(EVENTS, exchange(), TOKEN).json()
    assert client.post(EVENTS, exchange(), TOKEN).json()["event"] == first["event"]
    assert len(client.get(EVENTS).json()["events"]) == 1


@pytest.mark.parametrize(
    ("change", "status", "named", "reason"),
    [
        ({"site": "nowhere"}, 404, "site", "nowhere"),
        ({"meter": "em-9"}, 404, "meter", "em-9"),
        ({"channel": "power"}, 422, "channel", "no cumulative"),
        ({"channel": "nothing"}, 422, "channel", "no cumulative"),
        ({"channel": None}, 422, "channel", "exchange needs it"),
        ({"channel": None, "final_kwh": 1}, 422, "channel", "unit of final_kwh"),
        ({"kind": "swap"}, 422, "kind", "'exchange'"),
        ({"final_m3": 1}, 422, "final_m3", "final_kwh"),
        ({"final_kwh": "1,5"}, 422, "final_kwh", "not a decimal"),
        ({"final_kwh": True}, 422, "final_kwh", "decimal"),
        ({"final_kwh": "NaN"}, 422, "final_kwh", "can show"),
        ({"final_kwh": "0.0000001"}, 422, "final_kwh", "six decimal places"),
        ({"final_kwh": 4_000_000_001}, 422, "final_kwh", "beyond"),
        ({"value_kwh": 1}, 422, "value_kwh", "takes none"),
        ({"kind": "replace"}, 422, "value_kwh", "needs it"),
        ({"kind": "rollover"}, 422, "final_kwh", "needs it"),
        ({"until_ms": T0}, 422, "until_ms", "takes none"),
        ({"kind": "reject", "until_ms": T0}, 422, "until_ms", "not after"),
        ({"kind": "correction", "until_ms": NOW, "factor": "0"}, 422, "factor", "not above 0"),
        ({"kind": "correction", "until_ms": NOW, "factor": "much"}, 422, "factor", "not a number"),
        ({"kind": "correction", "until_ms": NOW, "factor": "1e999999999"}, 422, "factor", "number"),
        ({"at_ms": 2**47 - 1}, 422, "at_ms", "2050"),
        ({"at_ms": NOW + 121_000}, 422, "at_ms", "121 s ahead of the aggregator's clock; at most"),
        ({"kind": "accept", "at_ms": T0 + 10 * 365 * 86_400_000}, 422, "at_ms", "ahead"),
        ({"author": " "}, 422, "author", "1 to 500"),
        ({"author": "a\0b"}, 422, "author", "U+0000"),
        ({"reason": "red \x1b[31m"}, 422, "reason", "U+001B"),
        ({"reason": None}, 422, "reason", "required"),
        ({"at_ms": "yesterday"}, 422, "at_ms", "RFC 3339"),
        ({"colour": "red"}, 422, "colour", "not permitted"),
    ],
)
def test_a_word_that_cannot_be_meant_names_its_field(client, change, status, named, reason):
    answer = client.post(EVENTS, exchange(**change), TOKEN)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["parameter"] == named, error
    assert reason in error["reason"]
    assert client.get(EVENTS).json()["events"] == []


def test_what_no_figure_could_follow_is_refused_once_the_meter_has_spoken(works, client):
    export = exchange(channel="energy_export", final_kwh=1, start_kwh=0)
    assert client.post(EVENTS, export, TOKEN).status_code == 201  # before its first reading
    works.read(minutes(500, 501, 502))
    for change, named, reason in (
        ({"channel": "energy_export", "reason": "again"}, "channel", "it has: energy_import"),
        ({"kind": "clock", "meter": None, "channel": None, "edge": "gw-9",
          "until_ms": NOW, "offset_ms": 5}, "edge", "there are: gw-1"),
    ):  # fmt: skip
        answer = client.post(EVENTS, exchange(**change), TOKEN)
        assert answer.status_code == 422, answer.text
        error = answer.json()["error"]
        assert (error["parameter"], reason in error["reason"]) == (named, True), error
    assert len(client.get(EVENTS).json()["events"]) == 1


def test_an_undoing_word_is_text_too_and_text_has_lines(client):
    told = client.post(EVENTS, exchange(reason="slip 7\nsecond line\t好"), TOKEN)
    assert told.status_code == 201, told.text
    path = f"{EVENTS}/{told.json()['event']['id']}/undo"
    for name in ("author", "reason"):
        body = {"author": "a", "reason": "b"} | {name: "x\0y"}
        answer = client.post(path, body, TOKEN)
        assert (answer.status_code, answer.json()["error"]["parameter"]) == (422, name)
    assert client.get(EVENTS).json()["events"][0]["stands"]


def test_a_clock_that_was_ahead_is_told_in_its_own_time_and_a_span_may_end_later(client):
    hour = 3_600_000
    clock: dict[str, Any] = {"kind": "clock", "site": "works", "edge": "gw-1"}
    clock |= {"author": "a", "reason": "b", "at_ms": NOW + hour, "until_ms": NOW + 9 * hour}
    refused = client.post(EVENTS, clock | {"offset_ms": hour}, TOKEN)
    assert (refused.status_code, refused.json()["error"]["parameter"]) == (422, "at_ms")
    assert client.post(EVENTS, clock | {"offset_ms": -hour}, TOKEN).status_code == 201
    ends = exchange(kind="correction", factor="2", until_ms=NOW + 9 * hour)
    assert client.post(EVENTS, ends, TOKEN).status_code == 201


def test_who_does_not_know_the_token_writes_nothing(works, client):
    for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "x", "密"):
        for path, body in ((EVENTS, exchange()), (f"{EVENTS}/1/undo", {"author": "a"})):
            if token is not None and not token.isascii():
                continue  # no client can send it in a header
            answer = client.post(path, body, token)
            assert answer.status_code == 401, (token, answer.text)
            assert answer.json()["error"]["parameter"] == "authorization"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert works.facts.events("370114", "works") == ()


def test_before_a_token_is_made_nobody_writes_and_everybody_reads(tmp_path):
    with (
        Works(tmp_path, Doorkeeper(), running=False) as works,
        ApiClient(works.app) as client,
    ):
        for token in (None, "", "None", TOKEN):
            answer = client.post(EVENTS, exchange(), token)
            assert answer.status_code == 403
            assert "nenghao tokens" in answer.json()["error"]["reason"]
        assert client.get(EVENTS).json() == {"events": []}


def test_an_event_whose_figures_take_long_says_so_and_is_done_after_a_restart(tmp_path):
    with Works(tmp_path) as works:
        works.read(minutes(500, 501, 502, 503, 3, 4, 5))
    with (
        Works(tmp_path, running=False, wait_s=0.01) as works,
        ApiClient(works.app) as client,
    ):
        answer = client.post(EVENTS, exchange(final_kwh=503, start_kwh=3), TOKEN)
        assert answer.status_code == 202, answer.text
        assert answer.json()["figures"] == "under_way"
        assert answer.json()["intervals_changed"] is None
        assert figures(client)[3] == (0, -500)
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.pipeline.amend("370114", "works").result(20)
        assert figures(client)[3] == (0, 0)


def test_an_event_told_when_the_pipeline_has_ended_is_kept_and_nobody_waits(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.pipeline.stop()
        works.ended()
        began = time.monotonic()
        assert client.post(EVENTS, exchange(), TOKEN).status_code == 202
        assert time.monotonic() - began < 10
        assert len(works.facts.events("370114", "works")) == 1


def test_a_pipeline_that_fails_over_an_event_leaves_it_kept(works):
    failed: Future[int] = Future()
    failed.set_exception(OSError("the disk is gone"))
    writer = PipelineLedgerWriter(works.facts, works.restatements, lambda *_: failed, lambda: NOW)
    event = EventFields.model_validate(exchange()).event("370114", NOW)
    said = writer.tell(event)
    assert (said.changed, said.event.event) == (None, event)


def test_an_event_that_nobody_told_cannot_be_undone(client):
    answer = client.post(f"{EVENTS}/7/undo", {"author": "a", "reason": "b"}, TOKEN)
    assert answer.status_code == 404
    assert answer.json()["error"]["parameter"] == "id"
    for body, named in (({"author": "a"}, "reason"), ({"author": " ", "reason": "b"}, "author")):
        answer = client.post(f"{EVENTS}/7/undo", body, TOKEN)
        assert (answer.status_code, answer.json()["error"]["parameter"]) == (422, named)
    answer = client.post(f"{EVENTS}/seven/undo", {"author": "a", "reason": "b"}, TOKEN)
    assert (answer.status_code, answer.json()["error"]["parameter"]) == (422, "id")
