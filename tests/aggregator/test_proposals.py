"""Findings are the book's held energy, step by step, and each proposal clears its own."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ledger.meter_events import EventKind
from aggregator.proposals import Finding, What, findings
from contract.interval import MINUTE_MS
from contract.stored import Level
from tests.aggregator.test_book import register_walks
from tests.aggregator.test_book_events import Told, event


def found(district: Told) -> list[Finding]:
    raw = district.store.readings(np.array([district.series], np.int32), 0, 2**60)
    readings = district.book.counted(raw)
    facts = district.parameters.facts(district.series)
    key = district.store.directory.series.key(district.series)
    return list(findings(key, facts, readings.time_ms, readings.value.astype(np.int64)))


def held(district: Told) -> int:
    rows = district.store.intervals(Level.INTERVAL, np.array([district.series], np.int32), 0, 2**60)
    return int(rows.amount_held.sum())


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_is_found_is_what_is_held_and_each_proposal_clears_it(data):
    walk = data.draw(register_walks())
    if not walk:
        return
    first = walk[0][0]
    ratios = {0: 40} | data.draw(
        st.dictionaries(
            st.integers(0, 300).map(lambda m: first + m * MINUTE_MS), st.just(80), max_size=1
        )
    )
    shown = st.none() | st.integers(0, 999_000_000)
    cuts = data.draw(
        st.dictionaries(st.sampled_from([time for time, _ in walk]), st.tuples(shown, shown),
                        max_size=1)
    )  # fmt: skip
    told = [
        event(EventKind.EXCHANGE, at, final_micro=final, start_micro=start)
        for at, (final, start) in cuts.items()
    ]

    def district() -> Told:
        made = Told(ratios)
        made.take([("em-1", *reading) for reading in walk], 1)
        made.say(*told)
        return made

    before = district()
    known = found(before)
    assert sum(one.held_micro for one in known) == held(before)
    for one in known:
        assert (one.held_micro == 0) == (one.what is What.LEFT_OUT)
        if one.what is What.LEFT_OUT:
            assert not one.proposals
    offered = [(one, proposal) for one in known for proposal in one.proposals]
    if offered:
        one, proposal = data.draw(st.sampled_from(offered))
        after = district()
        after.say(proposal)
        left = found(after)
        assert {other.at_ms for other in left if other.held_micro} <= {
            other.at_ms for other in known if other.held_micro and other is not one
        }
        assert sum(other.held_micro for other in left) == held(after)
        assert after.proves()
