"""The fleet's plan, payloads and books: what is due, on the way, acknowledged, and how late."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.register.folder import load_folder
from contract.ack import Ack, OutboxAck, encode_ack
from contract.channels import catalogue
from contract.data import decode_data
from contract.meta import decode_meta, meta_hash
from contract.state import decode_state
from contract.topics import MessageKind
from simulators.fleet.edges import WINDOW, Edges, Patience
from simulators.fleet.latency import Delays, merged
from simulators.fleet.messages import Messages, meter_id
from simulators.fleet.plan import CUMULATIVE, ORIGIN_MS, Plan, PlanError, plan_fleet
from simulators.fleet.register import write_register
from simulators.fleet.samples import Second, pace

START_MS = ORIGIN_MS + 86_400_123
RUN = "00c0ffee"


def small(meters: int = 60, per_edge: int = 3, samples: int = 4) -> Plan:
    return plan_fleet(
        meters=meters, meters_per_edge=per_edge, start_ms=START_MS, poll_s=0.5, samples=samples
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"meters": 7, "poll_s": 1}, "whole edges"),
        ({"poll_s": 1, "rate": 5}, "not both"),
        ({"rate": 1e9}, "more often"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        plan_fleet(**{"meters": 10, "meters_per_edge": 5, "start_ms": START_MS} | arguments)


def test_a_batch_too_long_for_the_contract_is_refused() -> None:
    with pytest.raises(PlanError, match="at most 61440"):
        Messages(small(meters=200, per_edge=100, samples=40), RUN)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(1, 70_000))
def test_turns_come_in_order_of_due_time_and_each_batch_once(
    edges: int, per_edge: int, samples: int, poll_ms: int
) -> None:
    plan = Plan(edges * per_edge, per_edge, poll_ms, samples, START_MS)
    turns = [plan.turn(number) for number in range(3 * edges)]
    due = [plan.due_ms(edge, seq) for edge, seq in turns]
    assert due == sorted(due)
    assert Counter(turns) == Counter((edge, seq) for edge in range(edges) for seq in (1, 2, 3))
    assert all(plan.due_ms(e, 2) - plan.due_ms(e, 1) == plan.commit_ms for e in range(edges))
    assert due[edges - 1] - due[0] < plan.commit_ms


def test_payloads_keep_the_contract_and_say_what_the_plan_says_is_true() -> None:
    plan = small()
    messages = Messages(plan, RUN)
    for edge, seq in ((0, 1), (17, 1), (17, 2), (19, 7)):
        payload = messages.data(edge, seq)
        assert payload == Messages(plan, RUN).data(edge, seq), "the same bytes each time"
        batch = decode_data(payload)
        meta = messages.meta(edge)
        assert (batch.outbox, batch.seq) == (messages.outbox(edge), seq)
        assert batch.meta == meta_hash(meta)
        declared = {m.id: {c.name for c in m.channels} for m in decode_meta(meta).meters}
        assert {block.meter: set(block.columns) for block in batch.blocks} == declared
        rows = range((seq - 1) * plan.samples, seq * plan.samples)
        for meter, block in enumerate(batch.blocks):
            assert block.times_ms == tuple(plan.reading_ms(edge, row) for row in rows)
            for name in CUMULATIVE:
                true = [plan.register_micro(edge, meter, name, ms) for ms in block.times_ms]
                assert list(block.columns[name]) == true
        assert plan.due_ms(edge, seq) == batch.blocks[0].times_ms[-1]
    serials = {m.serial for e in range(plan.edges) for m in decode_meta(messages.meta(e)).meters}
    assert len(serials) == plan.meters
    state = decode_state(messages.state(17, START_MS, 9, 4))
    assert (state.outbox.id, state.outbox.next_seq, state.outbox.upto) == (batch_outbox(17), 10, 4)
    assert state.outbox.depth_readings == 5 * plan.readings_per_batch
    assert not decode_state(messages.offline(START_MS)).online


def batch_outbox(edge: int) -> str:
    return f"{RUN}{edge:08x}"


@given(st.integers(0, 19), st.integers(0, 2), st.integers(0, 10**6))
def test_registers_never_count_back_and_never_beyond_their_rating(
    edge: int, meter: int, row: int
) -> None:
    plan = small()
    rating = plan.rating()
    for name in CUMULATIVE:
        first, second = (
            plan.register_micro(edge, meter, name, plan.reading_ms(edge, n)) for n in (row, row + 1)
        )
        assert 0 <= second - first <= rating * 1e6 * plan.poll_ms / 3_600_000
        assert catalogue()[name].cumulative


def test_the_register_folder_is_the_plan(tmp_path) -> None:
    plan = small()
    write_register(plan, tmp_path)
    register = load_folder(tmp_path)
    assert len(register.sites) == plan.edges
    assert {
        (site, meter): rows[-1].multiplier for (site, meter), rows in register.rows.items()
    } == {
        (plan.address(edge).site, meter_id(meter)): plan.multiplier(edge, meter)
        for edge in range(plan.edges)
        for meter in range(plan.meters_per_edge)
    }
    assert len({plan.multiplier(edge, 0) for edge in range(plan.edges)}) > 5


@given(st.lists(st.floats(-5, 1e6), min_size=1), st.integers(1, 100))
def test_percentiles_are_never_understated_and_close(delays: list[float], percent: int) -> None:
    half = len(delays) // 2
    parts = Delays(), Delays()
    for delay in delays[:half]:
        parts[0].add(delay)
    for delay in delays[half:]:
        parts[1].add(delay)
    exact = sorted(delays)[max(0, -(-len(delays) * percent // 100) - 1)]
    found = merged(parts).percentile(percent)
    assert found is not None
    assert max(exact, 0) <= found <= max(exact, 0) * 1.01 + 1
    assert merged(parts).count == len(delays)


class Wire:
    """What edges published; each batch that came by, by (edge, seq)."""

    def __init__(self) -> None:
        self.data: Counter[tuple[int, int]] = Counter()
        self.kinds: list[tuple[int, MessageKind]] = []

    def send(self, edge: int, kind: MessageKind, payload: bytes) -> None:
        self.kinds.append((edge, kind))
        if kind is MessageKind.DATA:
            self.data[edge, decode_data(payload).seq] += 1


def edges_on(wire: Wire, plan: Plan) -> tuple[Edges, Messages]:
    messages = Messages(plan, RUN)
    return Edges(plan, messages, wire.send, Patience(1_000, 4_000)), messages


def ack(
    messages: Messages, edge: int, upto: int, ranges: Sequence[tuple[int, int]] = (), need: str = ""
) -> bytes:
    settled = {messages.outbox(edge): OutboxAck(upto, tuple(ranges))}
    return encode_ack(Ack(START_MS, settled, (need,) if need else ()))


def test_a_window_that_is_full_holds_batches_back_and_their_delay_counts_from_due() -> None:
    plan, wire = small(meters=3, samples=1), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    assert wire.kinds == [(0, MessageKind.META), (0, MessageKind.STATE)]
    for seq in range(1, 11):
        edges.tick(plan.due_ms(0, seq) + 3, plan.due_ms(0, 99))
        edges.take_ack(0, ack(messages, 0, 0), plan.due_ms(0, seq) + 3)
    held = {(0, 9), (0, 10)}
    assert set(wire.data) == {(0, seq) for seq in range(1, WINDOW + 1)}
    now_ms = plan.due_ms(0, 10) + 10
    edges.take_ack(0, ack(messages, 0, 1, [(3, 4)]), now_ms)
    assert held <= set(wire.data)
    tally = edges.tally
    assert (tally.due_batches, tally.acked_batches, edges.unsettled) == (10, 3, 7)
    assert tally.due_to_ack.largest == pytest.approx(now_ms - plan.due_ms(0, 1), rel=0.01)
    assert tally.lateness.largest == pytest.approx(now_ms - plan.due_ms(0, 9), rel=0.01)
    assert tally.late_batches == 1


def test_what_is_not_acked_in_time_goes_again_and_waits_longer_each_time() -> None:
    plan, wire = small(meters=3), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    due = plan.due_ms(0, 1)
    sent: list[int] = []
    for ms in range(0, 16_000, 10):
        edges.tick(due + ms, due + 1)
        if wire.data[0, 1] > len(sent):
            sent.append(ms)
    waits = [after - before for before, after in pairwise(sent)]
    for wait, nominal in zip(waits, (1_000, 2_000, 4_000, 4_000), strict=False):
        assert 0.8 * nominal <= wait <= 1.2 * nominal + 10
    assert edges.tally.resent_batches == len(waits) >= 3
    edges.take_ack(0, ack(messages, 0, 1), due + 20_000)
    edges.tick(due + 60_000, due + 1)
    assert edges.unsettled == 0
    assert wire.data[0, 1] == len(sent)


def test_an_unknown_meta_is_published_again_and_its_batches_after_it() -> None:
    plan, wire = small(meters=3), Wire()
    edges, messages = edges_on(wire, plan)
    edges.connected([0], START_MS)
    now_ms = plan.due_ms(0, 1)
    edges.tick(now_ms, now_ms + 1)
    wire.kinds.clear()
    name = meta_hash(messages.meta(0))
    edges.take_ack(0, ack(messages, 0, 0, need=name), now_ms + 5_000)
    edges.take_ack(0, ack(messages, 0, 0, need=name), now_ms + 5_010)
    assert wire.kinds == [(0, MessageKind.META), (0, MessageKind.DATA)]


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_whatever_happens_every_batch_that_was_due_is_settled_once(seed: int) -> None:
    chance = random.Random(seed)
    plan, wire = small(meters=4, per_edge=1, samples=2), Wire()
    edges, messages = edges_on(wire, plan)
    now_ms, end_ms, up = float(START_MS), START_MS + 20_000, [False] * plan.edges
    while now_ms < end_ms:
        now_ms += chance.uniform(1, 900)
        edges.tick(now_ms, end_ms)
        edge = chance.randrange(plan.edges)
        if chance.random() < 0.2:
            up[edge] = not up[edge]
            if up[edge]:
                edges.connected([edge], now_ms)
            else:
                edges.lost([edge])
        elif up[edge]:
            seqs = sorted(seq for number, seq in wire.data if number == edge)
            if seqs:
                whole = next(seq for seq in range(1, 99) if seq not in seqs) - 1
                upto = chance.randint(0, whole)
                above = chance.choice(seqs)
                ranges = [(above, above)] if above > upto else []
                edges.take_ack(edge, ack(messages, edge, upto, ranges), now_ms)
        assert all(len(edge.flying) <= WINDOW for edge in edges._edges)
        assert edges.unsettled == edges.tally.due_batches - edges.tally.acked_batches
    edges.connected(range(plan.edges), now_ms)
    for _ in range(20):
        for edge, made in enumerate(edges.made()):
            edges.take_ack(edge, ack(messages, edge, made), now_ms)
    tally = edges.tally
    assert edges.unsettled == 0
    assert tally.acked_batches == tally.due_batches == sum(edges.made()) == len(wire.data)
    assert tally.due_to_ack.count == tally.due_batches
    assert tally.resent_batches == wire.data.total() - len(wire.data)


def test_a_lag_that_grows_is_not_sustained() -> None:
    plan = small()
    calm = Second(0, 24_000, 24_000, 0, 0, 40, 90, 200, 3)
    steady = [replace(calm, at_s=float(s)) for s in range(30)]
    assert pace(plan, steady).sustained
    growing = [replace(s, acked=23_000, unsettled=int(40 + 10 * s.at_s)) for s in steady]
    found = pace(plan, growing)
    assert not found.sustained
    assert found.acked_per_s == pytest.approx(23_000)
    assert json.dumps(asdict(found))
