"""The rule table says what the code does."""

from datetime import UTC, datetime
from importlib.resources import files

import pytest

from aggregator.events import VERDICT_COUNTERS, Counter
from aggregator.ingest.assemble import EARLIEST_MS
from aggregator.kernels.neighbourhood import LONGEST_SUSPECT
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.kernels.verdict import TOLERANCE_MS
from aggregator.ledger.meter_events import AHEAD_MS
from aggregator.ledger.rules import FIRST_DAY, RuleTableError, load_rules, rule_at, rules
from aggregator.verdict import Outcome, RuleId
from tests.aggregator.api_ledger import ApiClient
from tests.aggregator.works import NOW, Works, minutes

TABLE = files("aggregator.ledger").joinpath("tables", "rules.csv").read_text("utf-8")
STUCK = next(line for line in TABLE.splitlines() if line.startswith("stuck-register"))


def test_every_rule_is_in_force_since_ever_and_its_parameters_are_those_of_the_code():
    assert set(rules()) == set(RuleId)
    now = {id_: rows[-1] for id_, rows in rules().items()}
    assert {rule.severity for rule in now.values()} == {"info", "warning", "error"}
    assert {rows[0].valid_from for rows in rules().values()} == {FIRST_DAY}
    earliest = datetime.fromtimestamp(EARLIEST_MS / 1000, UTC).date().isoformat()
    assert {id_: dict(rule.parameters) for id_, rule in now.items() if rule.parameters} == {
        RuleId.IMPOSSIBLE_TIME: {"ahead_s": str(AHEAD_MS // 1000), "earliest": earliest},
        RuleId.VALUE_RANGE: {"largest_micro": str(MAX_VALUE_MICRO)},
        RuleId.SPIKE_AND_RETURN: {"longest_readings": str(LONGEST_SUSPECT)},
        RuleId.STEP_ABOVE_RATING: {"tolerance_s": str(TOLERANCE_MS // 1000)},
        RuleId.STUCK_REGISTER: {"hours": "6", "percent": "5"},
    }


def test_every_verdict_that_is_stored_has_the_counter_that_its_rule_names():
    stored = {id_ for id_, rows in rules().items() if rows[-1].effect in set(Outcome)}
    assert stored == set(VERDICT_COUNTERS)
    assert {id_: rules()[id_][-1].counter for id_ in stored} == VERDICT_COUNTERS
    assert {rows[-1].counter for rows in rules().values()} <= {"", *map(str, Counter)}


def test_the_row_of_the_day_judges():
    """Beijing days: the last millisecond of one belongs to the row before."""
    old = STUCK.replace("2020-01-01,,", "2020-01-01,2026-03-02,").replace("hours=6", "hours=12")
    table = load_rules(TABLE.replace(STUCK, f"{STUCK.replace('2020-01-01', '2026-03-02')}\n{old}"))
    border = 1_772_380_800_000  # 2026-03-02T00:00:00+08:00
    hours = [
        rule_at(table, RuleId.STUCK_REGISTER, at).parameters["hours"]
        for at in (0, border - 1, border, border + 10**11)
    ]
    assert hours == ["12", "12", "6", "6"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (STUCK.replace(",,", ",2026-03-02,"), r"line 12 .*valid_until: gap: no row follows"),
        (f"{STUCK}\n{STUCK.replace('2020-01-01', '2026-03-02')}", "line 13 .*: overlap"),
        (
            f"{STUCK.replace(',,', ',2026-03-01,')}\n{STUCK.replace('2020-01-01', '2026-03-02')}",
            r"line 13 \(stuck-register\): valid_from: gap: .* valid until 2026-03-01",
        ),
        (STUCK.replace("2020-01-01", "2021-01-01"), "valid_from: 2020-01-01 expected"),
        (STUCK.replace("2020-01-01", "soon"), "valid_from: 'soon' is not a date"),
        (STUCK.replace("hours=6", "hours=7"), "hours: a whole number that divides 24"),
        (STUCK.replace("percent=5", "percent=0"), "percent: a whole number above 0"),
        (STUCK.replace("flagged", "ignored"), "effect: one of left_out, held"),
        (STUCK.replace("warning", "loud"), "severity: one of info"),
        (STUCK.replace("stuck-register,", "stuck,"), "id: no such rule"),
        ("", "no row of stuck-register"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(row, message):
    with pytest.raises(RuleTableError, match=message):
        load_rules(TABLE.replace(STUCK, row))


def test_the_api_serves_them_with_what_was_counted(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        ahead = NOW + AHEAD_MS + 1
        works.read([*minutes(1, 2), (ahead, 3), (ahead + 1, 4)])
        works.read(minutes(0.5, start=30))
        rows = {row["id"]: row for row in client.get("/api/v1/rules").json()["rules"]}
        metrics = client.get("/metrics").text
    assert set(rows) == {str(id_) for id_ in RuleId}
    assert rows["impossible-time"]["verdicts"] == 2
    assert rows["backward-step"]["verdicts"] == 1
    assert rows["long-gap"]["verdicts"] is None
    assert rows["step-above-rating"]["parameters"] == {"tolerance_s": "60"}
    assert (rows["rollover"]["valid_from"], rows["rollover"]["valid_until"]) == ("2020-01-01", None)
    assert "\nnenghao_aggregator_backward_step_verdicts_total 1\n" in metrics
