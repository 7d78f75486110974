"""GET /verdicts: what stands about a meter's readings, page by page."""

import csv
import io

import pytest

from tests.aggregator.api_ledger import ApiClient
from tests.aggregator.works import T0, Works, minutes

PATH = "/api/v1/verdicts"
QUARTER = 900_000
ASK = {"site": "works", "meter": "em-1", "from": T0 - QUARTER, "to": T0 + 20 * QUARTER}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Works(tmp_path_factory.mktemp("works")) as works, ApiClient(works.app) as client:
        works.read(minutes(500, 501, 502, 600, 601, 480, 602, 3, 4, 5))
        works.read([(T0, 499.5)])
        works.read(minutes(1, 2, 3), meter="wm-1")
        yield client


def rows(answer):
    assert answer.status_code == 200, answer.text
    return [
        ((row["time_ms"] - T0) // QUARTER, row["rule"], row["outcome"], row["value"])
        for row in answer.json()["verdicts"]
    ]


ALL = [
    (0, "duplicate-time", "left_out", 499.5),
    (3, "step-above-rating", "held", 600.0),
    (5, "spike-and-return", "left_out", 480.0),
    (7, "backward-step", "held", 3.0),
]


def test_all_that_stands(client):
    answer = client.get(PATH, ASK)
    assert rows(answer) == ALL
    body = answer.json()
    assert (body["total"], body["next_offset"]) == (4, None)
    assert {(row["meter"], row["channel"], row["unit"]) for row in body["verdicts"]} == {
        ("em-1", "energy_import", "kWh")
    }
    assert body["verdicts"][0]["time"] == "2026-03-02T00:00:00Z"
    assert rows(client.get(PATH, ASK | {"meter": "wm-1"})) == []


def test_page_by_page(client):
    first = client.get(PATH, ASK | {"limit": 3})
    assert (rows(first), first.json()["total"], first.json()["next_offset"]) == (ALL[:3], 4, 3)
    last = client.get(PATH, ASK | {"limit": 3, "offset": 3})
    assert (rows(last), last.json()["total"], last.json()["next_offset"]) == (ALL[3:], 4, None)


def test_a_period_a_rule_a_channel(client):
    assert rows(client.get(PATH, ASK | {"from": T0 + 3 * QUARTER, "to": T0 + 5 * QUARTER})) == [
        ALL[1]
    ]
    assert rows(client.get(PATH, ASK | {"rule": "backward-step"})) == [ALL[3]]
    assert rows(client.get(PATH, ASK | {"channel": "energy_export"})) == []


def test_csv(client):
    answer = client.get(PATH, ASK | {"format": "csv"})
    table = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["rule"] for row in table] == [rule for _, rule, _, _ in ALL]


@pytest.mark.parametrize(
    ("more", "status", "parameter"),
    [
        ({"site": "nowhere"}, 404, "site"),
        ({"meter": "em-7"}, 404, "meter"),
        ({"rule": "no-such"}, 422, "rule"),
        ({"limit": 0}, 422, "limit"),
        ({"limit": 10_001}, 422, "limit"),
        ({"offset": -1}, 422, "offset"),
        ({"to": T0 - 2 * QUARTER}, 422, "from"),
    ],
)
def test_what_cannot_be_meant_is_refused(client, more, status, parameter):
    answer = client.get(PATH, ASK | more)
    assert (answer.status_code, answer.json()["error"]["parameter"]) == (status, parameter)
