"""A gateway whose batches come from the future: what is proposed puts its clock right."""

import json

import pytest

from aggregator.clock_proposals import Misdated, clock_findings
from aggregator.events import Counter
from aggregator.events_command.text import findings_text
from contract.interval import DAY_MS, HOUR_MS, MINUTE_MS
from contract.topics import Address
from tests.aggregator.api_ledger import ApiClient
from tests.aggregator.works import NOW, TOKEN, Works, minutes

ONE, TWO = Address("370114", "works", "gw-1"), Address("370114", "works", "gw-2")
T = 1_772_409_600_000


def batch(arrived, ahead, *, length=MINUTE_MS, edge=ONE):
    last = T + arrived + ahead
    return Misdated(edge, T + arrived, last - length, last, 5)


def said(batches):
    return [
        (f.address.edge, f.from_ms - T, f.to_ms - T, f.waits_for,
         [(e.at_ms - T, (e.until_ms or 0) - T, e.offset_ms) for e in f.proposals])
        for f in clock_findings(batches)
    ]  # fmt: skip


def test_the_batch_that_was_least_under_way_tells_how_far_and_whole_minutes_are_meant():
    batches = [batch(i * 30_000, HOUR_MS - 5_000 - 1_000 * (i % 7)) for i in range(60)]
    first, last = HOUR_MS - 5_000 - MINUTE_MS, max(b.last_ms for b in batches) - T
    assert said(reversed(batches)) == [("gw-1", first, last, 0, [(first, last + 1, -HOUR_MS)])]
    (found,) = clock_findings(batches)
    assert found.proposals[0].reason == "60 batches end up to 3595 s ahead of their arrival"
    assert found.ahead_ms == HOUR_MS - 5_000


def test_a_backlog_of_the_same_fault_does_not_make_it_look_smaller():
    backlog = [batch(20 * MINUTE_MS, HOUR_MS - (20 - i) * MINUTE_MS) for i in range(20)]
    live = [batch((20 + i) * MINUTE_MS, HOUR_MS - 2_000) for i in range(5)]
    ((*_, proposals),) = said(backlog + live)
    assert [offset for *_, offset in proposals] == [-HOUR_MS]


def test_two_faults_and_two_gateways_are_told_apart():
    batches = [batch(i * MINUTE_MS, HOUR_MS) for i in range(3)]
    batches += [batch(5 * HOUR_MS + i * MINUTE_MS, 2 * HOUR_MS) for i in range(3)]
    batches += [batch(0, DAY_MS, edge=TWO)]
    batches += [batch(i * HOUR_MS, HOUR_MS, edge=TWO) for i in (30, 33)]  # read each three hours
    assert [
        (edge, waits, [e[2] for e in events]) for edge, _, _, waits, events in said(batches)
    ] == [
        ("gw-1", 0, [-HOUR_MS]),
        ("gw-1", 0, [-2 * HOUR_MS]),
        ("gw-2", 1, []),
        ("gw-2", 0, [-HOUR_MS]),
    ]


@pytest.mark.parametrize("ahead", [500 * DAY_MS, -40 * 365 * DAY_MS])
def test_what_is_no_clock_is_shown_without_proposal(ahead):
    ((*_, waits, proposals),) = said([batch(0, ahead), batch(1_000, ahead)])
    assert (waits, proposals) == (0, [])


def test_the_proposal_lets_the_readings_in_as_it_was_given(tmp_path):
    ahead = HOUR_MS - 1_000
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        works.read(minutes(1, 2, 3))

        def clocks():
            answer = client.get("/api/v1/proposals", {"site": "works"})
            assert answer.status_code == 200, answer.text
            return answer.json()["clocks"]

        def counted():
            answer = client.get("/api/v1/proof", {"site": "works"}).json()
            return [channel["received"] for channel in answer["channels"]]

        assert clocks() == []
        works.read([(NOW + ahead - MINUTE_MS, 3.5), (NOW + ahead - 30_000, 3.6)])
        (found,) = clocks()
        assert (found["waits_for"], found["proposals"]) == (1, [])
        works.read([(NOW + ahead, 3.7)])
        (found,) = clocks()
        assert (found["edge"], found["batches"], found["readings"]) == ("gw-1", 2, 3)
        assert found["ahead_s"] == ahead / 1_000
        assert found["evidence"][-1] == {
            "arrived_ms": NOW, "last_ms": NOW + ahead, "ahead_s": ahead / 1_000, "readings": 1,
        }  # fmt: skip
        text = findings_text([], [found])
        assert "works/gw-1 from 2026-03-05T08:58:59+08:00" in text
        assert json.loads(text.splitlines()[-1].removeprefix("proposed: ")) == found["proposals"][0]

        before = counted()
        told = client.post("/api/v1/events", found["proposals"][0] | {"author": "li"}, TOKEN)
        assert told.status_code == 201, told.text
        assert told.json()["intervals_changed"] > 0
        assert clocks() == []
        assert sum(counted()) == sum(before) + 3
        assert works.events.counts()[Counter.RELEASED] == 3
        assert works.records.quarantine_size() == (0, 0)
        assert client.get("/api/v1/proof", {"site": "works"}).json()["closes"]
