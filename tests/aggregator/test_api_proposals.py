"""Held energy is shown with its readings, and what is proposed clears it when it is said."""

from typing import Any

import pytest

from tests.aggregator.api_ledger import ApiClient
from tests.aggregator.works import MULTIPLIER, NOW, T0, TOKEN, Works, minutes

QUARTER_MS = 900_000

# name -> display at each quarter; finding; time of it [quarters]; kinds proposed, likeliest first
CASES = {
    "a new meter": ((500, 501, 502, 120, 121, 122), "fall", 3, ["exchange", "reset"]),
    "set back": ((500, 501, 502, 0.1, 1, 2), "fall", 3, ["reset", "exchange"]),
    "set back during a gap": ((500, 501, None, None, 0.5, 1, 2, 3), "fall", 4,
                              ["reset", "exchange"]),
    "a lasting rise": ((500, 501, 2501, 2502, 2503), "rise", 2, ["accept", "exchange"]),
    "a rise and nothing after": ((500, 501, 2501), "rise", 2, ["accept", "reject"]),
    "a peak of two": ((500, 501, 2501, 2502, 502, 503, 504), "rise", 2, ["reject", "accept"]),
    "a dip of three": ((500, 501, 50, 51, 52, 502, 503), "fall", 2,
                       ["reject", "exchange", "reset"]),
}  # fmt: skip


def found(client: ApiClient, **more: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/proposals", {"site": "works"} | more)
    assert answer.status_code == 200, answer.text
    assert answer.json()["complete"]
    found: list[dict[str, Any]] = answer.json()["findings"]
    return found


def held(client: ApiClient) -> float:
    parameters = {"level": "interval", "site": "works", "from": T0, "to": NOW}
    rows = client.get("/api/v1/intervals", parameters).json()["intervals"]
    return float(sum(abs(row["amount_held"]["energy_kwh"]) for row in rows))


@pytest.mark.parametrize("name", CASES)
def test_any_proposal_clears_its_finding_as_it_was_given(tmp_path, name):
    values, what, quarter, kinds = CASES[name]
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read([(T0 + at * QUARTER_MS, shown) for at, shown in enumerate(values) if shown])
        first = found(client)[0]
        assert (first["found"], first["at_ms"]) == (what, T0 + quarter * QUARTER_MS)
        assert [one["kind"] for one in first["proposals"]] == kinds
        assert first["waits_for"] == 0
        others = [one["at_ms"] for one in found(client)[1:]]
        for proposal in first["proposals"]:
            before = held(client)
            told = client.post("/api/v1/events", proposal, TOKEN)
            assert told.status_code == 201, told.text
            assert told.json()["intervals_changed"] > 0
            left = [one["at_ms"] for one in found(client)]
            assert first["at_ms"] not in left
            assert set(left) <= set(others)
            assert held(client) < before
            assert client.get("/api/v1/proof", {"site": "works"}).json()["closes"]
            path = f"/api/v1/events/{told.json()['event']['id']}/undo"
            client.post(path, {"author": "a", "reason": "b"}, TOKEN)
            assert found(client)[0] == first


def test_a_fall_waits_for_two_readings_that_confirm_it(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 120))
        for more, waits_for in ((121, 2), (122, 1)):
            (one,) = found(client)
            assert (one["waits_for"], one["proposals"]) == (waits_for, [])
            works.read(minutes(more, start=15 * (more - 118)))
        (one,) = found(client)
        assert one["waits_for"] == 0
        reset = one["proposals"][0]
        assert (reset["final_kwh"], reset["start_kwh"]) == (501, 120)
        assert one["held"] == {"energy_kwh": -381 * MULTIPLIER}


def test_the_evidence_names_readings_edges_and_rules(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 502, 503, 120, 121, 122, 123, 124, 125))
        (one,) = found(client)
        assert one["rule"] == "backward-step"
        assert [row["display"] for row in one["evidence"]] == [
            500, 501, 502, 503, 120, 121, 122, 123,
        ]  # fmt: skip
        assert {row["edge"] for row in one["evidence"]} == {"gw-1"}
        assert {row["quality"] for row in one["evidence"]} == {"good"}
        rules = {row["display"]: row["rule"] for row in one["evidence"]}
        assert {display for display, rule in rules.items() if rule} == {120}
        known = {row["id"] for row in client.get("/api/v1/rules").json()["rules"]}
        assert one["rule"] in known


def test_a_lone_spike_is_shown_and_nothing_is_proposed(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 9_000, 503, 504))
        (one,) = found(client)
        assert (one["found"], one["rule"], one["proposals"]) == ("left_out", "spike-and-return", [])
        assert [(row["display"], row["counts"]) for row in one["evidence"]] == [
            (500, True), (501, True), (9_000, False), (503, True), (504, True),
        ]  # fmt: skip


def test_what_an_event_declares_is_marked_as_such(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 502, 120, 121, 122))
        wrong = found(client)[0]["proposals"][0] | {"final_kwh": 490}  # less than was read before
        assert client.post("/api/v1/events", wrong, TOKEN).status_code == 201
        (one,) = found(client)
        declared = [row for row in one["evidence"] if row["declared"]]
        assert [(row["display"], row["quality"]) for row in declared] == [
            (490, None), (120, None),
        ]  # fmt: skip
        assert one["found"] == "fall"
        assert one["proposals"] == []


def test_nothing_odd_and_other_periods_find_nothing(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 502, 503))
        works.read(minutes(9, 10, 3, 4, 5), "wm-1")
        assert [one["meter"] for one in found(client)] == ["wm-1"]
        assert found(client, meter="em-1") == []
        assert found(client, **{"from": T0 + 20 * QUARTER_MS}) == []
        (one,) = found(client)
        assert one["proposals"][0]["final_m3"] == 10
        long = client.get("/api/v1/proposals", {"from": "2020-01-01"})
        assert (long.status_code, long.json()["error"]["parameter"]) == (422, "to")
        assert client.get("/api/v1/proposals", {"site": "nowhere"}).status_code == 404


def test_more_findings_than_an_answer_holds_are_said_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr("aggregator.api.routes.proposals.MAX_FINDINGS", 1)
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 2501, 2502, 502, 503, 504))
        answer = client.get("/api/v1/proposals", {"site": "works"}).json()
        assert not answer["complete"]
        assert len(answer["findings"]) == 1


def test_of_all_sites_the_days_that_are_summed_up_say_where_to_look(tmp_path):
    with Works(tmp_path) as works:
        works.read(minutes(500, 501, 502, 120, 121, 122))
        works.read(minutes(9, 10, 11, 12, 13), "wm-1")
    with Works(tmp_path) as works, ApiClient(works.app) as client:  # ended: all is summed up
        of_site = found(client)
        assert [one["meter"] for one in of_site] == ["em-1"]
        assert client.get("/api/v1/proposals").json()["findings"] == of_site
        late = client.get("/api/v1/proposals", {"from": T0 + 20 * QUARTER_MS}).json()
        assert late["findings"] == []


def test_evidence_goes_on_behind_readings_that_were_rejected(tmp_path):
    shown = [500 + i for i in range(21)] + [700 + i for i in range(20)] + [540, 120, 121, 122]
    rejected = {
        "kind": "reject", "site": "works", "meter": "em-1", "channel": "energy_import",
        "at_ms": T0 + 21 * QUARTER_MS, "until_ms": T0 + 41 * QUARTER_MS, "author": "a",
        "reason": "another meter's",
    }  # fmt: skip
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(*shown))
        assert client.post("/api/v1/events", rejected, TOKEN).status_code == 201
        (one,) = found(client)
        assert one["at_ms"] == T0 + 42 * QUARTER_MS
        assert [row["display"] for row in one["evidence"]] == [518, 519, 520, 540, 120, 121, 122]
