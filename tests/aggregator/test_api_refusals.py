"""Bad requests are told what is wrong with them; no request breaks the API."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.api.main import build_app
from tests.aggregator.api_ledger import MIDNIGHT_MS, NOON_MS, ApiClient, build


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiClient]:
    ledger = build(tmp_path_factory.mktemp("refusals"))
    with ApiClient(build_app(ledger.reader)) as client:
        yield client
    ledger.store.close()


REFUSED: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "unknown site": ("consumption", {"site": "nowhere"}, 404, "site", "nowhere"),
    "unknown site of proof": ("proof", {"site": "nowhere"}, 404, "site", "nowhere"),
    "unknown site of live": ("live", {"site": "nowhere"}, 404, "site", "nowhere"),
    "unknown meter": ("intervals", {"site": "office", "meter": "em-99"}, 404, "meter", "em-99"),
    "meter without site": ("proof", {"meter": "em-01"}, 422, "site", "within its site"),
    "site that is no id": ("meters", {"site": "A b"}, 422, "site", "pattern"),
    "unknown level": ("intervals", {"level": "year"}, 422, "level", "'month'"),
    "unknown carrier": ("intervals", {"carrier": "ash"}, 422, "carrier", "raw_coal"),
    "power has no intervals": ("intervals", {"channel": "power"}, 422, "channel", "cumulative"),
    "unknown parameter": ("intervals", {"metre": "x"}, 422, "metre", "not permitted"),
    "unknown parameter of health-like": ("sites", {"site": "office"}, 422, "site", "not permitted"),
    "unknown format": ("sites", {"format": "xml"}, 422, "format", "'csv'"),
    "words for a time": ("intervals", {"from": "yesterday"}, 422, "from", "RFC 3339"),
    "a time without offset": ("intervals", {"from": "2026-03-02T00:00:00"}, 422, "from", "offset"),
    "a day that is none": ("intervals", {"to": "2026-02-30"}, 422, "to", "2026-02-30"),
    "a time before 1970": ("intervals", {"from": "-1"}, 422, "from", "greater"),
    "a time in the year 9999": ("intervals", {"to": "9999-01-01"}, 422, "to", "less"),
    "from equal to to": ("consumption", {"from": NOON_MS, "to": NOON_MS}, 422, "from", "before"),
    "from after to": ("consumption", {"from": NOON_MS, "to": MIDNIGHT_MS}, 422, "from", "before"),
    "too long a period": (
        "intervals",
        {"level": "interval", "from": "2020-01-01"},
        422,
        "to",
        "at most 50000",
    ),
    "too long a period to sum": ("consumption", {"from": "2000-01-01"}, 422, "to", "longer level"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(client: ApiClient, case: str):
    path, parameters, status, parameter, reason = REFUSED[case]
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"parameter", "reason"}
    assert error["parameter"] == parameter
    assert reason in error["reason"]


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(client: ApiClient):
    assert client.get("/api/v1/nothing").json()["error"]["reason"] == "Not Found"
    refused = client.post("/api/v1/sites")
    assert refused.status_code == 405
    assert set(refused.json()["error"]) == {"parameter", "reason"}


def test_a_proof_of_more_channels_than_it_may_read_is_refused(client: ApiClient, monkeypatch):
    monkeypatch.setattr("aggregator.api.routes.proof.MAX_CHANNELS", 2)
    monkeypatch.setattr("aggregator.api.reader.StoreLedgerReader.history", None)  # nothing is read
    for parameters, named in (({}, "site"), ({"site": "foundry"}, "meter")):
        answer = client.get("/api/v1/proof", params=parameters)
        assert answer.status_code == 422
        assert answer.json()["error"]["parameter"] == named
    monkeypatch.undo()
    one = client.get("/api/v1/proof", params={"site": "office"})
    assert one.status_code == 200, one.text


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T12:00:00+08:00",
        "2026-03-02T12:00:00 08:00",
        "2026-03-02T04:00:00Z",
        "1772424000000",
    ],
)
def test_times_may_be_written_in_several_ways(client: ApiClient, text: str):
    answer = client.get(f"/api/v1/consumption?to={text}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["to_ms"] == NOON_MS
    assert answer.json()["from_ms"] == MIDNIGHT_MS


VALUES = st.one_of(
    st.text(max_size=40),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.dates().map(str),
    st.sampled_from(
        ["foundry", "office", "grid", "em-01", "electricity", "energy_import", "volume"]
    ),
    st.sampled_from(["interval", "hour", "day", "month", "csv", "json", "true", "null", ""]),
)
NAMES = st.sampled_from(
    ["from", "to", "site", "meter", "carrier", "channel", "level", "format", "at", "x"]
)
PATHS = st.sampled_from(["sites", "meters", "intervals", "consumption", "live", "proof", "health"])


@given(PATHS, st.dictionaries(NAMES, VALUES, max_size=5))
def test_no_parameters_break_the_api(client: ApiClient, path: str, parameters: dict[str, str]):
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code in (200, 404, 422), answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["parameter"] in {*parameters, "site", "to", "from"}
        assert error["reason"]


@given(
    st.sampled_from(["intervals", "consumption"]),
    st.integers(0, 2**47),
    st.integers(0, 2**47),
    st.sampled_from(["interval", "hour", "day", "month"]),
)
def test_any_two_times_are_answered_or_refused(
    client: ApiClient, path: str, from_ms: int, to_ms: int, level: str
):
    parameters = {"from": from_ms, "to": to_ms, "level": level, "site": "foundry"}
    answer = client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code in (200, 422), answer.text
    if from_ms >= to_ms:
        assert answer.json()["error"]["parameter"] == "from"
