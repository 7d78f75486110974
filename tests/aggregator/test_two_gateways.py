"""Two gateways read one meter: the primary one counts, the other fills its gaps, in any order."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.ledger.meter_events import EventKind
from aggregator.register.model import Meter, Role
from contract.interval import MINUTE_MS
from contract.meta import Meta, MetaMeter
from tests.aggregator.test_book import ADDRESS, T0, register_walks
from tests.aggregator.test_book_events import CHANNEL, Told, event, expected
from tests.aggregator.test_vee import took
from tests.oracle.lives import Declared
from tests.oracle.verdicts import Came, verdicts

OTHER = replace(ADDRESS, edge="gw-2")
KWH = 1_000_000
HOUR_MS = 60 * MINUTE_MS


class Shared(Told):
    """Rows of the register that name the gateway that counts."""

    def __init__(self, primary: dict[int, str], *, other: bool = True) -> None:
        self.primary, self.other = primary, other
        super().__init__({0: 40})

    def rows(self, registered):
        for name in registered:
            for since, edge in self.primary.items():
                role = Role.BOUNDARY_IN
                yield Meter("works", name, "electricity", role, "", 40, edge, since, "")

    def restart(self, registered=("em-1", "em-2")) -> None:
        super().restart(registered)
        if self.other:
            self.another_reads()

    def another_reads(self) -> None:
        self.other = True
        meters = (MetaMeter("em-1", "s", "m", ()),)
        self.parameters.note_readers(OTHER, Meta(meters))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_of_two_gateways_readings_ends_in_the_oracles_figures_and_verdicts(data):
    walks = {edge: data.draw(register_walks(), label=edge) for edge in ("gw-1", "gw-2")}
    came = [Came(at, value, edge=edge) for edge, walk in walks.items() for at, value in walk]
    times = sorted({one.time for one in came}) or [T0]
    exact = st.sampled_from(times)
    first = data.draw(st.sampled_from(["gw-1", "gw-2"]))
    later = data.draw(st.dictionaries(exact, st.sampled_from(["gw-1", "gw-2", ""]), max_size=2))
    # Some of the other's readings at the same moments.
    twice = data.draw(st.lists(st.sampled_from(came), max_size=3)) if came else []
    there = {(one.time, one.edge) for one in came}
    for one in twice:
        edge = {"gw-1": "gw-2", "gw-2": "gw-1"}[one.edge]
        if (one.time, edge) not in there:
            there.add((one.time, edge))
            came.append(Came(one.time, data.draw(st.sampled_from([one.value, 7])), edge=edge))
    rejected = data.draw(st.frozensets(exact, max_size=3))
    declared = Declared({0: 40}, rejected=rejected, primary={0: first} | later)
    facts = [event(EventKind.REJECT, at) for at in sorted(rejected)]
    shared = Shared(declared.primary)
    deeds = data.draw(st.permutations([*facts, *([None] * len(came))]))
    in_time = sorted(came, key=lambda one: (one.time, one.edge))
    order = data.draw(st.permutations(came)) if data.draw(st.booleans()) else in_time
    for deed in deeds:
        if deed is not None:
            shared.say(deed)
        elif order:
            size = data.draw(st.integers(1, len(order)))
            took(shared, order[:size])
            order = order[size:]
        if data.draw(st.sampled_from([False] * 9 + [True])):
            shared.restart()
    read = [(one.time, one.value, one.edge) for one in came]
    known, wanted = shared.known(), expected(declared, read)
    assert {
        k: (known.get(k), wanted.get(k))
        for k in known.keys() | wanted.keys()
        if known.get(k) != wanted.get(k)
    } == {}
    assert shared.series < 0 or shared.proves()
    assert shared.verdicts("em-1") == verdicts(CHANNEL, declared, came)


@pytest.mark.parametrize("after", ["gw-1", "gw-2"])
@pytest.mark.parametrize("restarts", [False, True])
def test_what_waits_for_the_primary_one_counts_once_it_is_seen_to_be_silent(after, restarts):
    """Both fall silent within half an hour, for a day: only then is it a gap that was filled."""
    first = [(T0 + i * MINUTE_MS, KWH * (100 + i)) for i in range(30)]
    second = [(T0 + i * MINUTE_MS + 20_000, KWH * (100 + i)) for i in range(30, 55)]
    shared = Shared({0: "gw-1"})
    shared.take([("em-1", *one) for one in first], 1)
    shared.take([("em-1", *one) for one in second[:20]], 1, edge="gw-2")
    shared.take([("em-1", *one) for one in second[20:]], 2, edge="gw-2")
    read = [(*one, "gw-1") for one in first] + [(*one, "gw-2") for one in second]
    declared = Declared({0: 40}, primary={0: "gw-1"})
    assert shared.known() == expected(declared, first)
    if restarts:
        shared.restart()
    back = (T0 + 30 * HOUR_MS, KWH * 700)
    shared.take([("em-1", *back)], 3, edge=after)
    assert shared.known() == expected(declared, [*read, (*back, after)])
    assert sum(row[3] for row in shared.known().values()) >= 54 * MINUTE_MS
    assert shared.proves()


def test_a_meter_that_only_the_other_gateway_reads_takes_the_plain_road():
    shared = Shared({0: "gw-3"})
    shared.take([("em-1", T0, KWH)], 1, edge="gw-2")
    assert shared.parameters.plain.all()
    shared.another_reads()
    shared.book.refresh()
    assert shared.parameters.plain.all()
    raw = shared.columns([("em-1", T0 + MINUTE_MS, 2 * KWH)], 2, edge="gw-2")
    assert not shared.book.is_late(shared.book.counted(raw))


def test_the_primary_ones_readings_take_the_plain_road_though_others_wait():
    shared = Shared({0: "gw-1"})
    times = [T0 + i * 5 * MINUTE_MS for i in range(6)]
    for i, at in enumerate(times):
        mine = shared.columns([("em-1", at, KWH * i)], i + 1)
        assert not shared.book.is_late(shared.book.counted(mine))
        shared.take_raw(mine)
        other = shared.columns([("em-1", at + MINUTE_MS, KWH * i)], i + 1, edge="gw-2")
        assert shared.book.is_late(other)
        shared.take_raw(other)
    beyond = shared.columns([("em-1", times[-1] + 31 * MINUTE_MS, KWH * 9)], 9)
    assert shared.book.is_late(beyond)
