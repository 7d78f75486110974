"""What holds of the book of events on any database."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from aggregator.basis import Basis
from aggregator.facts import Facts
from aggregator.ledger.meter_events import EventKind, MeterEvent

AT_MS = 1_800_000_000_000
EVENT = MeterEvent(
    EventKind.RESET, "370114", "works", AT_MS, author="li", reason="set back", meter="em-1",
    channel="energy_import", final_micro=None, start_micro=0,
)  # fmt: skip
TOGETHER = 8


class FactsSuite:
    """Subclasses give `url`."""

    @pytest.fixture
    def facts(self, url):
        facts = Facts(url)
        facts.open()
        yield facts
        facts.close()

    def test_the_same_again_changes_nothing_while_it_stands(self, facts):
        told = facts.tell(EVENT, AT_MS)
        assert facts.tell(EVENT, AT_MS + 1) == told
        assert facts.tell(replace(EVENT, start_micro=1), AT_MS).id != told.id
        facts.undo(told.id, "li", "no", AT_MS + 2)
        again = facts.tell(EVENT, AT_MS + 3)
        assert again.id != told.id
        assert [one.id for one in facts.events("370114", "works")][-1] == again.id

    def test_events_of_regions_are_those_of_their_sites(self, facts):
        first = facts.tell(EVENT, AT_MS)
        second = facts.tell(replace(EVENT, site="hall"), AT_MS)
        elsewhere = facts.tell(replace(EVENT, region="370112"), AT_MS)
        facts.undo(first.id, "li", "no", AT_MS + 2)
        assert [one.id for one in facts.events_of({"370114"})] == [first.id, second.id]
        both = facts.events_of({"370114", "370112"})
        assert [one.id for one in both] == [first.id, second.id, elsewhere.id]
        assert facts.events_of(()) == ()

    def test_what_many_say_at_once_is_kept_once(self, facts, url):
        for trial in range(5):
            said, start = replace(EVENT, at_ms=AT_MS + trial), threading.Barrier(TOGETHER)

            def tell(said=said, start=start):
                own = Facts(url)
                try:
                    own.find(1)  # connected
                    start.wait(10)
                    return own.tell(said, AT_MS).id
                finally:
                    own.close()

            with ThreadPoolExecutor(TOGETHER) as pool:
                ids = [one.result() for one in [pool.submit(tell) for _ in range(TOGETHER)]]
            assert len(set(ids)) == 1
        assert len(facts.events("370114", "works")) == 5

    def test_what_measures_were_made_with_stays_noted_until_it_is_applied(self, facts):
        was, now = Basis("national", "a" * 64), Basis("demo", "b" * 64)
        assert not facts.begin_bases({"works": was, "hall": was}, {"works"})
        assert set(facts.begin_bases({"works": now, "hall": now, "new": now}, {"works"})) == {
            "works"
        }
        assert facts.bases() == {"works": was, "hall": now, "new": now}  # the hall has no figures
        facts.put_bases({"works": now})
        assert not facts.begin_bases({"works": now, "hall": now, "new": now}, {"works", "new"})
