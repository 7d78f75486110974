"""The rule table says what the code does."""

from datetime import UTC, datetime

from aggregator.events import Counter
from aggregator.ingest.assemble import AHEAD_MS, EARLIEST_MS
from aggregator.kernels.neighbourhood import LONGEST_SUSPECT
from aggregator.kernels.register import MAX_VALUE_MICRO
from aggregator.kernels.verdict import TOLERANCE_MS
from aggregator.ledger.rules import RuleId, rules
from tests.aggregator.api_ledger import ApiClient
from tests.aggregator.works import NOW, Works, minutes


def test_every_rule_has_one_row_and_its_parameters_are_those_of_the_code():
    assert list(rules()) == list(RuleId)
    assert {rule.severity for rule in rules().values()} == {"info", "warning", "error"}
    earliest = datetime.fromtimestamp(EARLIEST_MS / 1000, UTC).date().isoformat()
    assert {id_: dict(rule.parameters) for id_, rule in rules().items() if rule.parameters} == {
        RuleId.IMPOSSIBLE_TIME: {"ahead_s": str(AHEAD_MS // 1000), "earliest": earliest},
        RuleId.VALUE_RANGE: {"largest_micro": str(MAX_VALUE_MICRO)},
        RuleId.SPIKE_AND_RETURN: {"longest_readings": str(LONGEST_SUSPECT)},
        RuleId.STEP_ABOVE_RATING: {"tolerance_s": str(TOLERANCE_MS // 1000)},
    }


def test_a_counter_that_a_rule_names_is_there():
    named = {rule.counter for rule in rules().values() if rule.counter}
    assert named
    assert named <= {str(counter) for counter in Counter}


def test_the_api_serves_them_with_what_was_counted(tmp_path):
    with Works(tmp_path) as works, ApiClient(works.app) as client:
        ahead = NOW + AHEAD_MS + 1
        works.read([*minutes(1, 2), (ahead, 3), (ahead + 1, 4)])
        rows = {row["id"]: row for row in client.get("/api/v1/rules").json()["rules"]}
    assert set(rows) == {str(id_) for id_ in RuleId}
    assert rows["impossible-time"]["verdicts"] == 2
    assert rows["backward-step"]["verdicts"] is None
    assert rows["step-above-rating"]["parameters"] == {"tolerance_s": "60"}
